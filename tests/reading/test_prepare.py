"""--mode=prepare: the folder holds what the log does, in bounded memory, whole or not at all."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.helpers.runs import LIGHT, ROOT, contents, environment, read, run, train
from tests.processes.prepare_run import make_small
from ufnrec_tf.common.errors import UserError
from ufnrec_tf.common.files import held_workdir
from ufnrec_tf.config import load_config
from ufnrec_tf.reading import sources
from ufnrec_tf.reading.prepare import prepared_folder, user_buckets
from ufnrec_tf.reading.prepare.prepared_folder import read_prepared
from ufnrec_tf.reading.readers import read_interactions, read_log
from ufnrec_tf.reading.sources import load

pytestmark = pytest.mark.usefixtures("eagerly")

SIMPLE = "user,item,time\nu,a,2\nv,b,1\nu,b,1\n"
QUOTED = (
    'user_id,note,item_id,timestamp\n"Müller, J.",x,"a ""b"" c",3\nv,"two\nlines",日本,1\n'
    '"Müller, J.",,日本,3\n\nv,y,plain,0.5\nw w,"",plain,-2\n'
)


@pytest.fixture
def small(monkeypatch):
    make_small(monkeypatch.setattr)


def random_rows(num_events=600, *, num_users=25, num_items=30, num_times=9, seed=0):
    rng = np.random.default_rng(seed)
    columns = (rng.integers(0, most, num_events) for most in (num_users, num_items, num_times))
    return [(f"u{u}", f"i{i}", int(t)) for u, i, t in zip(*columns, strict=True)]


def random_text(separator=",", header="user,item,time", **sizes):
    rows = (separator.join(map(str, row)) for row in random_rows(**sizes))
    return "\n".join([header.replace(",", separator), *rows]) + "\n"


def prepare(log, folder, *arguments):
    return run("--mode=prepare", f"--data={log}", f"--workdir={folder}", *arguments)


def by_user(data):
    """Raw user id -> raw items and times, oldest first."""
    found = {}
    for user, name in enumerate(data.user_ids):
        own = slice(data.offsets[user], data.offsets[user + 1])
        times = None if data.timestamps is None else data.timestamps[own].tolist()
        found[name] = (data.item_ids[data.items[own]].tolist(), times)
    return found


def assert_same_data(data, expected):
    """The same but for the order of the users."""
    assert by_user(data) == by_user(expected)
    assert data.item_ids.tolist() == expected.item_ids.tolist()
    assert data.num_repeats == expected.num_repeats
    assert (data.items.dtype, data.offsets.dtype) == (np.int32, np.int64)
    if expected.item_titles is None:
        assert data.item_titles is None
    else:
        assert data.item_titles.tolist() == expected.item_titles.tolist()


def refused(capsys, *parts, got):
    assert got == 1
    text = capsys.readouterr().err
    assert text.startswith("error: ") and text.count("\n") == 1, text
    for part in parts:
        assert part in text, f"{part!r} is not in {text!r}"


@pytest.mark.parametrize("repeats", ["keep", "drop"])
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("log.csv", random_text()),
        ("log.tsv", random_text("\t", "reviewerID,asin,unixReviewTime")),
        ("log.inter", random_text("\t", "user_id:token,item_id:token,timestamp:float")),
        ("quoted.csv", QUOTED),
        ("many_quotes.csv", QUOTED + QUOTED.partition("\n")[2] * 60),
        ("windows.csv", random_text().replace("\n", "\r\n")),
        ("returns.csv", SIMPLE.replace("\n", "\r")),
        ("mixed.csv", random_text().replace("\n", "\r", 300)),
        ("mark.csv", "\ufeff\n  \n" + SIMPLE),
        ("mark_of_an_id.csv", "user\titem\r\n\ufeffu\ta"),
        ("no_time.csv", "item,user\nb,u\na,u\n\n\nb,v"),
        ("rated.csv", "user,item,rating\nu,a,4.5\nv,b,1\n"),
    ],
)
def test_folder_holds_what_the_log_does(write, tmp_path, monkeypatch, name, text, repeats):
    log, folder = write(text, name), tmp_path / "folder"
    if name.endswith(".inter"):
        write("item_id:token\titem_title:token_seq\ni3\tThree\n", "log.item")
    setting = f"--config.data.repeats={repeats}"
    expected = read_interactions(log, repeats=repeats)
    make_small(monkeypatch.setattr)  # only now: the whole log was one block
    assert prepare(log, folder, setting) == 0
    assert_same_data(read_prepared(folder), expected)
    assert (len(list(folder.glob("shard-*"))) > 1) == (len(text) > 2048)


def test_one_shard_is_the_log_as_it_is(write, tmp_path):
    log = write(random_text())
    assert prepare(log, tmp_path / "folder") == 0
    data, expected = read_prepared(tmp_path / "folder"), read_interactions(log)
    for name in ("items", "offsets", "timestamps", "user_ids", "item_ids"):
        np.testing.assert_array_equal(getattr(data, name), getattr(expected, name), err_msg=name)


def test_order_of_equal_times_by_hand(write, tmp_path):
    folder = tmp_path / "folder"
    assert prepare(write("user,item,time\nu,c,5\nu,a,5\nu,b,1\nu,c,5\n"), folder) == 0
    assert by_user(read_prepared(folder)) == {"u": (["b", "c", "a", "c"], [1, 5, 5, 5])}
    manifest = read(folder / "manifest.json")
    assert manifest["counts"] == {"users": 1, "events": 4, "repeats": 1, "items": 3}
    items = pd.read_parquet(folder / "items.parquet")
    assert items.to_dict("list") == {"item": ["c", "a", "b"], "events": [2, 1, 1]}


def test_parquet_file_and_folder(tmp_path, small):
    frame = pd.DataFrame(random_rows(), columns=["user", "item", "time"])
    frame["item"] = frame["item"].str[1:].astype(int)
    whole, parts = tmp_path / "log.parquet", tmp_path / "parts"
    frame.to_parquet(whole)
    parts.mkdir()
    frame[:250].to_parquet(parts / "a.parquet")
    frame[250:].to_parquet(parts / "b.parquet")
    text = tmp_path / "log.csv"
    frame.to_csv(text, index=False)
    expected = read_interactions(text)
    plain = read_interactions(whole)
    np.testing.assert_array_equal(plain.items, expected.items)
    assert_same_data(plain, expected)
    for log in (whole, parts):
        folder = tmp_path / f"folder_{log.name}"
        assert prepare(log, folder) == 0
        assert_same_data(read_prepared(folder), expected)


def test_dates_of_parquet_are_seconds(tmp_path):
    days = pd.to_datetime(["1970-01-02 00:00:00.0", "1970-01-01 00:00:01.5"])
    log = tmp_path / "log.parquet"
    pd.DataFrame({"user": ["u", "u"], "item": ["a", "b"], "date": days}).to_parquet(log)
    assert by_user(read_interactions(log)) == {"u": (["b", "a"], [1.5, 86400.0])}


def test_prepared_dates_of_parquet_are_dates(tmp_path):
    """Those before 1980 too, which as numbers would be of no known unit."""
    log, folder = tmp_path / "log.parquet", tmp_path / "folder"
    days = pd.to_datetime(["1970-01-02", "2019-01-01"])
    pd.DataFrame({"user": ["u", "u"], "item": ["a", "b"], "date": days}).to_parquet(log)
    assert prepare(log, folder, "--config.data.end=2019-01-01") == 0
    data = read_prepared(folder)
    assert by_user(data) == {"u": (["a"], [86400.0])}
    assert data.reading is not None
    assert data.reading._replace(steps=()) == read_log(log).reading


@pytest.mark.parametrize(
    ("column", "values", "part"),
    [
        ("user", ["u", None], "log.parquet, row 2: no user id"),
        ("item", ["", "a"], "log.parquet, row 1: an empty item id"),
        ("item", [0.5, 1.5], "the item column 'item' holds double"),
        ("time", [1.0, float("inf")], "row 2: no finite time"),
        ("time", ["noon", "one"], "the time column 'time' holds"),
    ],
)
def test_bad_parquet_is_told(tmp_path, capsys, column, values, part):
    log = tmp_path / "log.parquet"
    values = {"user": ["u", "v"], "item": ["a", "b"], "time": [1, 2]} | {column: values}
    pd.DataFrame(values).to_parquet(log)
    refused(capsys, part, got=prepare(log, tmp_path / "folder"))
    assert contents(tmp_path / "folder") == {}


@pytest.mark.parametrize(
    ("bad", "line", "part"),
    [
        ("u,a\n", 602, "2 field(s) where the header has 3"),
        ('"u,a,1\n', 602, "not readable as a table"),
        ("u, ,1\n", 602, "an empty item id"),
        ("u,a,noon\n", 602, "time 'noon' is not a number"),
        ("u,a,\u0000\n", 602, "a NUL byte"),
        (b"u,a\xff,1\n", 602, "byte 0xff at byte offset"),
    ],
)
def test_bad_line_deep_in_a_log_is_told_as_by_the_plain_reader(
    write, tmp_path, small, capsys, bad, line, part
):
    bad = bad if isinstance(bad, bytes) else bad.encode()
    log = write(random_text().encode() + bad + b"v,b,1\n" * 3)
    with pytest.raises(UserError) as plain:
        read_interactions(log)
    refused(capsys, f"line {line}", part, str(plain.value), got=prepare(log, tmp_path / "folder"))
    assert contents(tmp_path / "folder") == {}


def test_no_step_holds_the_whole_log(write, tmp_path, small, monkeypatch):
    """With batches of 512 bytes and shards of 2 KiB, a log of 60 KiB."""
    held = {"batch": 0, "bucket": 0}
    add, take = user_buckets.UserBuckets.add, user_buckets.UserBuckets.take

    def counted_add(buckets, batch, items):
        held["batch"] = max(held["batch"], len(items))
        add(buckets, batch, items)

    def counted_take(buckets, number):
        events = take(buckets, number)
        assert events is not None
        held["bucket"] = max(held["bucket"], len(events))
        return events

    monkeypatch.setattr(user_buckets.UserBuckets, "add", counted_add)
    monkeypatch.setattr(user_buckets.UserBuckets, "take", counted_take)
    log = write(random_text(num_events=6000, num_users=900))
    assert prepare(log, tmp_path / "folder") == 0
    assert 10 < held["batch"] <= 512 // len("u1,i1,1\n")
    assert 100 < held["bucket"] < 6000 / 8


@pytest.mark.slow
@pytest.mark.parametrize(
    ("point", "call"),
    [("bucket", 4), ("shard", 2), ("items", 1), ("move", 2), ("manifest", 1)],
)
def test_killed_in_the_middle_starts_clean(write, tmp_path, small, capsys, point, call):
    log, folder = write(random_text()), tmp_path / "folder"
    assert prepare(log, tmp_path / "undisturbed") == 0
    killed = subprocess.run(
        [sys.executable, "-m", "tests.processes.prepare_run", log, folder, point, str(call)],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert any(folder.iterdir())
    capsys.readouterr()
    refused(
        capsys,
        "is a directory without manifest.json",
        got=train(tmp_path / "w", data=(f"--data={folder}",)),
    )
    assert prepare(log, folder) == 0
    assert "an earlier preparation was stopped; starting again" in capsys.readouterr().out
    assert contents(folder) == contents(tmp_path / "undisturbed")


def test_finished_folder_says_so_and_stays(write, tmp_path, capsys):
    log, folder = write(SIMPLE), tmp_path / "folder"
    assert prepare(log, folder) == 0
    before = contents(folder)
    assert prepare(log, folder) == 0
    assert "prepared already" in capsys.readouterr().out
    other = write(SIMPLE.replace("u,a,2", "u,a,3"), "other.csv")
    refused(capsys, "was prepared from 'log.txt'", "another log", got=prepare(other, folder))
    got = prepare(log, folder, "--config.data.repeats=drop")
    refused(capsys, "was prepared with repeats 'keep', now 'drop'", got=got)
    refused(capsys, "is prepared already", got=prepare(folder, tmp_path / "again"))
    assert contents(folder) == before


def test_folder_of_something_else_is_refused(write, tmp_path, capsys):
    log, folder = write(SIMPLE), tmp_path / "folder"
    folder.mkdir()
    (folder / "items.parquet").write_text("mine")
    refused(capsys, "holds other files (items.parquet)", got=prepare(log, folder))
    assert [path.name for path in folder.iterdir()] == ["items.parquet"]


def test_what_cannot_be_prepared_is_told(write, tmp_path, capsys):
    folder = tmp_path / "folder"
    refused(capsys, "read as pairs", got=prepare(write("u a\nv b\n"), folder))
    refused(capsys, "log.txt: the file is empty", got=prepare(write(""), folder))
    refused(capsys, "a header and no events", got=prepare(write("user,item\n"), folder))
    refused(capsys, "no item column", got=prepare(write("user,thing\nu,a\n"), folder))
    refused(capsys, "no such file", got=prepare(tmp_path / "gone.csv", folder))
    (tmp_path / "empty").mkdir()
    refused(capsys, "a directory without a file of a log", got=prepare(tmp_path / "empty", folder))
    got = prepare(write(SIMPLE), folder, "--config.data.format=parquet")
    refused(capsys, "cannot be read as Parquet", got=got)
    refused(capsys, "needs --workdir", got=run("--mode=prepare", f"--data={write(SIMPLE)}"))
    got = prepare(write(SIMPLE), folder, "--config.memory.slots=8")
    refused(capsys, "memory.slots has no effect", got=got)


def test_full_disk_is_told_and_leaves_nothing(write, tmp_path, small, capsys, monkeypatch):
    def no_space(*arguments, **named):
        raise OSError(28, "No space left on device")

    folder = tmp_path / "folder"
    monkeypatch.setattr(prepared_folder.pq, "write_table", no_space)
    got = prepare(write(random_text()), folder)
    refused(capsys, "shard-00000", "No space left on device", got=got)
    assert contents(folder) == {}


def read_folder(folder, **settings):
    config = load_config("", [(f"data.{key}", value) for key, value in settings.items()])
    return load(config, str(folder)).interactions


@pytest.fixture
def folder(write, tmp_path, small):
    assert prepare(write(random_text()), tmp_path / "folder") == 0
    return tmp_path / "folder"


def message(folder, **settings):
    with pytest.raises(UserError) as caught:
        read_folder(folder, **settings)
    return str(caught.value)


def test_damage_is_told(folder):
    shard = next(iter(sorted(folder.glob("shard-*"))))
    data = shard.read_bytes()
    shard.write_bytes(data[:100] + bytes([data[100] ^ 1]) + data[101:])
    assert f"{shard}: damaged" in message(folder)
    shard.unlink()
    assert f"{shard}: cannot be read" in message(folder)
    manifest = folder / "manifest.json"
    values = read(manifest)
    manifest.write_text(json.dumps(values | {"format_version": 2}))
    assert "format 2 is newer than this program's 1" in message(folder)
    for key, value in (
        ("filters", [{"name": "window", "before": {}, "after": {}}]),
        ("filters", [{"name": "window", "words": "", "before": {"events": 1}, "after": {}}]),
        ("columns", {"user": 3}),
        ("asked", []),
    ):
        settings = values["settings"] | {key: value}
        manifest.write_text(json.dumps(values | {"settings": settings}))
        assert f"{manifest}: damaged" in message(folder)
    manifest.write_text(json.dumps(values)[:-30])
    assert f"{manifest}: damaged" in message(folder)
    manifest.unlink()
    assert "is a directory without manifest.json" in message(folder)


@pytest.mark.parametrize("text", ['{"name": "app"}', "[]", "3", '{"format": "other"}', "{", ""])
def test_a_folder_of_another_program_stays(text, write, tmp_path, capsys):
    folder = tmp_path / "app"
    folder.mkdir()
    (folder / "manifest.json").write_text(text, encoding="utf-8")
    before = contents(folder)
    assert prepare(write(SIMPLE), folder) == 1
    for said in (message(folder), capsys.readouterr().err):
        is_json = text not in ("{", "")
        assert ("was not written by --mode=prepare" if is_json else "damaged") in said
        assert "remove" not in said.lower()
    assert contents(folder) == before


def test_settings_of_the_folder_hold(folder, monkeypatch):
    assert "repeats=keep, now drop" in message(folder, repeats="drop")
    assert "data.user_column=user has no effect" in message(folder, user_column="user")
    assert "data.separator=tab has no effect" in message(folder, separator="tab")
    assert read_folder(folder).timestamps is not None  # they say what leaks
    monkeypatch.setattr(sources, "MOST_TIMES", 599)
    assert read_folder(folder).timestamps is None  # of a large folder, only dates need them


def test_changed_shard_makes_another_whole_folder(folder):
    """What removing users does: shards, counts and manifest written anew."""
    manifest = prepared_folder.read_manifest(folder)
    before = read_prepared(folder)
    shard = prepared_folder.read_shard(folder, manifest.shards[1])
    assert shard.times is not None
    end = int(shard.offsets[-2])
    less = prepared_folder.Shard(
        shard.user_ids[:-1], shard.offsets[:-1], shard.items[:end], shard.times[:end],
        shard.repeats[:-1],
    )  # fmt: skip
    entry = prepared_folder.write_shard(folder / manifest.shards[1].file, less)
    shards = [manifest.shards[0], entry, *manifest.shards[2:]]
    changed = manifest._asdict() | {"shards": shards}
    del changed["content_sha256"]
    prepared_folder.write_manifest(folder, prepared_folder.make_manifest(**changed))
    after = read_prepared(folder)
    assert after.sha256 != before.sha256
    expected = by_user(before)
    del expected[shard.user_ids[-1]]
    assert by_user(after) == expected


def test_content_hash_is_of_values_alone(folder, monkeypatch):
    manifest = prepared_folder.read_manifest(folder)
    shard = prepared_folder.read_shard(folder, manifest.shards[0])
    assert shard.times is not None
    monkeypatch.setattr(prepared_folder, "_ROW_GROUP", 3)
    again = prepared_folder.write_shard(folder / manifest.shards[0].file, shard)
    assert again.sha256 != manifest.shards[0].sha256
    assert again.content_sha256 == manifest.shards[0].content_sha256
    repeated = prepared_folder.read_shard(folder, again)
    for name in prepared_folder.Shard._fields:
        np.testing.assert_array_equal(getattr(repeated, name), getattr(shard, name))
    moved = shard._replace(times=shard.times + np.arange(len(shard.times)))
    assert prepared_folder.write_shard(folder / "x", moved).content_sha256 != again.content_sha256


def test_two_preparations_at_once_are_refused(write, tmp_path, capsys):
    with held_workdir(tmp_path / "folder"):
        got = prepare(write(SIMPLE), tmp_path / "folder")
    refused(capsys, "another run is using it", got=got)


@pytest.mark.slow
def test_training_takes_a_folder(folder, tmp_path, capsys):
    workdir = tmp_path / "run"
    settings = (
        *LIGHT,
        "--config.training.num_epochs=1",
        "--config.training.windows=all",
        "--config.split.name=temporal",
    )
    assert train(workdir, *settings, data=(f"--data={folder}",)) == 0
    result = read(workdir / "result.json")
    reading = result["data"].pop("reading")
    assert reading["columns"] == {"user": "user", "item": "item", "time": "time"}
    assert result["data"] == {
        "source": "folder",
        "sha256": prepared_folder.read_manifest(folder).content_sha256,
        "users": 25,
        "items": 30,
        "interactions": 600,
    }
    assert result["steps"] > 0
    assert run("--mode=evaluate", f"--workdir={workdir}") == 0
    assert Path(workdir / "export" / "1").is_dir()
