"""Filters: examples by hand, an obviously right core, and that runs hold on to them."""

import numpy as np
import pandas as pd
import pytest

import ufnrec_tf as ufn
from tests.helpers.runs import LIGHT, TINY, read, run
from tests.reading.test_prepare import by_user
from tests.reading.test_readers import assert_parts, message, raw
from ufnrec_tf.common.errors import UserError
from ufnrec_tf.common.files import write_json
from ufnrec_tf.config import load_config
from ufnrec_tf.data.events import batch_of
from ufnrec_tf.data.summary import summary, summary_lines
from ufnrec_tf.reading.filters import Filters, apply_filters, core
from ufnrec_tf.reading.prepare.prepared_folder import read_prepared
from ufnrec_tf.reading.readers import read_interactions
from ufnrec_tf.reading.sources import load, make_split
from ufnrec_tf.runs.workdir import Workdir

pytestmark = pytest.mark.usefixtures("eagerly")

# user, item, rating, day of 2019's January. u has a twice; w has one item that others have.
LOG = """user,item,rating,date
u,a,5,2019-01-01
u,b,4,2019-01-02
u,a,3,2019-01-03
v,a,2,2019-01-04
v,b,5,2019-01-05
v,c,5,2019-01-06
w,c,4,2019-01-07
"""


def steps(path, *, repeats="keep", **filters):
    data = read_interactions(path, repeats=repeats, filters=Filters(**filters))
    assert data.reading is not None
    shown = [
        (step.name, *step.before.values(), *step.after.values()) for step in data.reading.steps
    ]
    return raw(data), shown


@pytest.mark.parametrize(
    ("filters", "left", "shown"),
    [
        (
            {"min_rating": 4},
            {"u": ["a", "b"], "v": ["b", "c"], "w": ["c"]},
            [("min_rating", 7, 3, 3, 5, 3, 3)],
        ),
        (
            {"start": "2019-01-02", "end": "2019-01-05"},
            {"u": ["b", "a"], "v": ["a"]},
            [("window", 7, 3, 3, 3, 2, 2)],
        ),
        # Round 1 takes w (one event), which leaves c one event: round 2 takes it.
        (
            {"k_core": 2},
            {"u": ["a", "b", "a"], "v": ["a", "b"]},
            [("k_core", 7, 3, 3, 5, 2, 2)],
        ),
        (
            {"min_item_events": 3},
            {"u": ["a", "a"], "v": ["a"]},
            [("k_core", 7, 3, 3, 3, 2, 1)],
        ),
        (
            {"min_length": 3},
            {"u": ["a", "b", "a"], "v": ["a", "b", "c"]},
            [("min_length", 7, 3, 3, 6, 2, 3)],
        ),
    ],
)
def test_filters_by_hand(write, filters, left, shown):
    assert steps(write(LOG), **filters) == (left, shown)


def test_order_of_filters(write):
    rows = "u,a,5 u,b,5 u,c,5 u,a,5 v,a,5 v,b,5 w,c,5 w,d,1 x,c,5 x,a,5"
    path = write("user,item,rating\n" + rows.replace(" ", "\n") + "\n")
    filters = {"min_rating": 2, "k_core": 2, "min_length": 3}
    left, shown = steps(path, repeats="drop", **filters)
    # The rating takes d, and so leaves w one event, which the core takes; v and x have two each.
    assert left == {"u": ["a", "b", "c"]}
    assert shown == [
        ("min_rating", 10, 4, 4, 9, 4, 3),
        ("repeats", 9, 4, 3, 8, 4, 3),
        ("k_core", 8, 4, 3, 7, 3, 3),
        ("min_length", 7, 3, 3, 3, 1, 3),
    ]


def slow_core(events, least_user, least_item):
    """Takes out one user or item at a time until none has too few."""
    events = list(events)
    while True:
        for place, least in ((0, least_user), (1, least_item)):
            ids = [event[place] for event in events]
            poor = next((id for id in sorted(set(ids)) if ids.count(id) < least), None)
            if poor is not None:
                events = [event for event in events if event[place] != poor]
                break
        else:
            return events


@pytest.mark.parametrize("seed", range(12))
def test_core_equals_a_slow_one(seed):
    rng = np.random.default_rng(seed)
    users = rng.zipf(1.6, 120) % 25
    items = rng.zipf(1.5, 120) % 20
    least_user, least_item = (int(k) for k in rng.integers(1, 6, 2))
    is_core, rounds = core(users, items, least_user=least_user, least_item=least_item)
    events = list(zip(users.tolist(), items.tolist(), strict=True))
    kept = [event for event, stays in zip(events, is_core, strict=True) if stays]
    assert kept == slow_core(events, least_user, least_item)
    assert (rounds == 0) == bool(is_core.all())


def test_rounds_of_a_chain():
    # Users 0..3 share items in a chain; each round takes the end of it. User 4 and 5 are a core.
    users = np.array([0, 0, 1, 1, 2, 2, 4, 4, 5, 5])
    items = np.array([9, 0, 0, 1, 1, 2, 3, 4, 3, 4])
    is_core, rounds = core(users, items, least_user=2, least_item=2)
    # Round 1: items 9 and 2. Round 2: users 0 and 2. Round 3: items 0 and 1. Round 4: user 1 is
    # gone with them.
    assert is_core.tolist() == [False] * 6 + [True] * 4
    assert rounds == 3


def test_repeats_before_a_core(write):
    path = write("user,item\n" + "u,a\nu,a\nu,b\nv,a\nv,b\nw,b\nw,b\n")
    data = read_interactions(path, repeats="drop", filters=Filters(k_core=2))
    # Without repeats w has one event and goes; with them it would stay.
    assert raw(data) == {"u": ["a", "b"], "v": ["a", "b"]}
    assert data.num_repeats == 2
    assert data.reading is not None
    assert [step.name for step in data.reading.steps] == ["repeats", "k_core"]
    assert data.reading.steps[0].after == {"events": 5, "users": 3, "items": 2}
    assert "(1 round)" in data.reading.steps[1].words


@pytest.mark.parametrize(
    ("filters", "parts"),
    [
        ({"min_rating": 9}, ["no event is left", "rating of at least 9", "of 7 before"]),
        ({"start": "2020-01-01"}, ["no event is left", "from 2020-01-01T00:00:00Z"]),
        ({"k_core": 5}, ["no event is left", "at least 5 events a user and 5 an item"]),
        ({"start": "yesterday"}, ["`data.start`", "ISO 8601", "'yesterday'"]),
        ({"start": "2019"}, ["write a year as a date", "2019-01-01"]),
        ({"start": "2020-01-01", "end": "2019-01-01"}, ["`data.start` must lie before"]),
        ({"k_core": 5, "min_user_events": 3}, ["sets both", "3 and 0"]),
    ],
)
def test_bad_filters(write, filters, parts):
    assert_parts(message(write(LOG), filters=Filters(**filters)), *parts)


@pytest.mark.parametrize(
    ("filters", "parts"),
    [
        ({"min_rating": 2}, ["log.txt: no rating column", "rating_column=NAME"]),
        ({"end": "2019-01-01"}, ["log.txt: no times", "--config.data.end", "time_column=NAME"]),
    ],
)
def test_filters_of_columns_that_are_not_there(write, filters, parts):
    assert_parts(message(write("u a\nu b\n"), filters=Filters(**filters)), *parts)


def test_date_where_times_are_ranks(write):
    path = write("user,item,time\nu,a,1\nu,b,2\nu,c,3\n")
    text = message(path, filters=Filters(start="2019-01-01"))
    assert_parts(text, "order alone", "`data.start` cannot be a date", "data.time_unit=")
    assert raw(read_interactions(path, filters=Filters(start="2"))) == {"u": ["b", "c"]}
    assert raw(read_interactions(path, filters=Filters(end="3"))) == {"u": ["a", "b"]}


def test_nothing_asked_changes_nothing():
    events = batch_of(np.array(["u"], object), np.array(["a"], object))
    left = apply_filters(events, Filters(), repeats="keep", is_epoch=False, source="x")
    assert left.events is events and left.steps == ()


# ---- users that a file names


@pytest.fixture
def listed(tmp_path):
    """Writes a list of users; returns its path."""

    def write_list(*users, name="gone.txt", end="\n"):
        (tmp_path / name).write_text("".join(user + end for user in users), encoding="utf-8")
        return str(tmp_path / name)

    return write_list


def test_excluded_users_by_hand(write, listed):
    data = read_interactions(write(LOG), filters=Filters(exclude_users=listed("v", "x", "v")))
    assert raw(data) == {"u": ["a", "b", "a"], "w": ["c"]}
    assert data.item_ids.tolist() == ["", "a", "b", "c"]
    assert data.reading is not None
    (step,) = data.reading.steps
    assert step.name == "exclude_users"
    assert step.words == "excluded users: 1 users, 3 events; 1 ids of the list are not in the log"
    assert (step.before, step.after) == (
        {"events": 7, "users": 3, "items": 3},
        {"events": 4, "users": 2, "items": 3},
    )


def test_no_other_filter_counts_an_excluded_user(write, listed):
    # Without v, c has one event and goes, and w with it; with v, c would have two and stay.
    left, shown = steps(write(LOG), exclude_users=listed("v", end="\r\n"), min_item_events=2)
    assert left == {"u": ["a", "a"]}
    assert shown == [("exclude_users", 7, 3, 3, 4, 2, 3), ("k_core", 4, 2, 3, 2, 1, 1)]
    # Three of the seven events before this filter were v's.
    with pytest.raises(UserError, match=r"no event is left after the filter 'time from .* of 4"):
        steps(write(LOG), exclude_users=listed("v"), start="2019-01-08")


def test_a_list_of_nobody_in_the_log_is_said_to_be_one(write, listed):
    data = read_interactions(write(LOG), filters=Filters(exclude_users=listed("U", "u u")))
    assert data.num_events == 7 and data.reading is not None
    words = "excluded users: 0 users, 0 events; 2 ids of the list are not in the log"
    assert data.reading.steps[0].words == words


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (None, ["cannot be read (", "No such file"]),
        (b"", ["names nobody", "one raw user id a line"]),
        (b"\n\r\n", ["names nobody"]),
        (b"u\n\xff\n", ["cannot be read (", "Give a UTF-8 file"]),
        (b"u\nv\nw\n", ["no event is left", "excluded users: 3 users, 7 events", "of 7 before"]),
    ],
)
@pytest.mark.parametrize("mode", ["inspect", "prepare", "train"])
def test_bad_lists_of_users(write, tmp_path, capsys, content, parts, mode):
    path = tmp_path / "gone.txt"
    if content is not None:
        path.write_bytes(content)
    flag = f"--config.data.exclude_users={path}"
    arguments = [f"--mode={mode}", f"--data={write(LOG)}", flag]
    if mode != "inspect":
        arguments.append(f"--workdir={tmp_path / 'w'}")
    assert run(*arguments) == 1
    text = capsys.readouterr().err
    assert text.count("\n") == 1
    assert_parts(text, *parts)
    assert "no event" in text or flag in text
    assert not (tmp_path / "w" / "config.json").exists()


def test_a_path_that_can_be_none_is_refused_in_one_line(write):
    text = message(write(LOG), filters=Filters(exclude_users="\0"))
    assert_parts(text, "cannot be read (", "one raw user id a line")


def test_excluded_users_of_a_frame(listed):
    frame = pd.DataFrame({"user": [1, 1, 2, 2, 3], "item": list("abacb")})
    log = ufn.read(frame, settings={"data.exclude_users": listed("2")})
    assert raw(log) == {"1": ["a", "b"], "3": ["b"]}
    assert log.item_ids.tolist() == ["", "a", "b"]


def test_inspection_counts_excluded_users(write, listed, tmp_path, capsys):
    flag = f"--config.data.exclude_users={listed('v', 'x')}"
    output = tmp_path / "found.json"
    assert run("--mode=inspect", f"--data={write(LOG)}", flag, f"--output={output}") == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "excluded users: 1 users, 3 events; 1 ids of the list are not in the log" in shown
    assert "7 -> 4 events, 3 -> 2 users, 3 -> 3 items" in shown
    (step,) = read(output)["reading"]["filters"]
    assert step["name"] == "exclude_users" and step["after"]["events"] == 4
    assert flag in " ".join(read(output)["next"].split("\\")).replace("'", "")


def test_prepared_folder_without_excluded_users(write, listed, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("ufnrec_tf.reading.text_files.BLOCK_BYTES", 500)  # several batches
    log, folder = write(RATED), tmp_path / "folder"
    flags = (f"--config.data.exclude_users={listed('u2', 'u5', 'x')}", "--config.data.min_rating=2")
    prepare = ("--mode=prepare", f"--data={log}", f"--workdir={folder}")
    assert run(*prepare, *flags) == 0
    shown = " ".join(capsys.readouterr().out.split())
    # n % 7 is 2 for 29 and 5 for 28 of the 200 events.
    words = "excluded users: 2 users, 57 events; 1 ids of the list are not in the log"
    assert f"{words}: 200 -> 143 events" in shown
    expected = read_interactions(
        log, filters=Filters(exclude_users=listed("u2", "u5", "x"), min_rating=2)
    )
    data = read_prepared(folder)
    assert by_user(data) == by_user(expected)
    assert set(data.user_ids) == {"u0", "u1", "u3", "u4", "u6"}
    assert data.item_ids.tolist() == expected.item_ids.tolist()
    assert data.reading is not None
    assert [step.words for step in data.reading.steps] == [words, "rating of at least 2"]
    # The same list in another order and file, or none, is that of the folder.
    same = f"--config.data.exclude_users={listed('x', 'u5', 'u2', name='moved.txt')}"
    assert run(*prepare, same, flags[1]) == 0
    for flag in (same, flags[0]):
        assert run("--mode=inspect", f"--data={folder}", flag) == 0
    assert run("--mode=inspect", f"--data={folder}") == 0
    capsys.readouterr()
    other = f"--config.data.exclude_users={listed('u1')}"  # the same file, changed
    assert run("--mode=inspect", f"--data={folder}", other) == 1
    text = capsys.readouterr().err
    assert_parts(
        text, "was prepared with --config.data.exclude_users='3 users of sha256", "'1 user"
    )
    assert run(*prepare, other, flags[1]) == 1
    assert "was prepared with exclude_users '3 users of sha256" in capsys.readouterr().err


def test_a_folder_prepared_with_all_users_excludes_none_later(write, listed, tmp_path, capsys):
    folder = tmp_path / "folder"
    assert run("--mode=prepare", f"--data={write(RATED)}", f"--workdir={folder}") == 0
    flag = f"--config.data.exclude_users={listed('u1')}"
    assert run("--mode=train", f"--data={folder}", flag, f"--workdir={tmp_path / 'w'}") == 1
    text = capsys.readouterr().err
    assert_parts(text, "was prepared with --config.data.exclude_users=''", "into another folder")


def test_a_run_notices_a_changed_list(write, listed, tmp_path):
    from ufnrec_tf.runs.record import identity

    log = write(RATED)
    flags = [("data.exclude_users", listed("u1", "u2"))]
    config = load_config("", flags)
    source = load(config, str(log))
    described = identity(config, source, 0)
    record = {"config": {}, "seed": 0, "data_path": "", "identity": described}
    write_json(tmp_path / "config.json", record)
    workdir = Workdir(tmp_path)
    listed("u2", "u1", "u2")  # the same users
    workdir.check_same(identity(config, source, 0))
    with pytest.raises(UserError, match=r"with data.exclude_users '2 users .*', now ''"):
        workdir.check_same(identity(load_config("", []), source, 0))
    listed("u1", "u3")
    with pytest.raises(UserError, match=r"with data.exclude_users '2 users .*', now '2 users"):
        workdir.check_same(identity(config, source, 0))
    # A run of before there was the setting had all users.
    del described["data.exclude_users"]
    write_json(tmp_path / "config.json", {**record, "identity": described})
    workdir.check_same(identity(load_config("", []), source, 0))
    with pytest.raises(UserError, match=r"with data.exclude_users '', now '2 users"):
        workdir.check_same(identity(config, source, 0))


@pytest.mark.slow
@pytest.mark.usefixtures("without_export")
def test_a_run_that_goes_on_from_an_older_one_has_nothing_of_excluded_users(
    write, listed, tmp_path, capsys
):
    rows = [f"u{n % 7},i{(n % 7 * 2 + n // 7 * 3) % 17}\n" for n in range(42)]  # six a user
    log, settings = (
        write("user,item\n" + "".join(rows)),
        (
            *(*TINY, *LIGHT),
            "--config.gate.epochs=0",
            "--config.training.num_epochs=4",
        ),
    )
    assert run(f"--data={log}", f"--workdir={tmp_path / 'old'}", *settings) == 0
    capsys.readouterr()
    flags = (
        f"--config.data.exclude_users={listed('u3', 'x')}",
        f"--config.training.warm_start={tmp_path / 'old'}",
    )
    assert run(f"--data={log}", f"--workdir={tmp_path / 'new'}", *settings, *flags) == 0
    words = "excluded users: 1 users, 6 events; 1 ids of the list are not in the log"
    assert words in " ".join(capsys.readouterr().out.split())
    assert read(tmp_path / "new" / "config.json")["config"]["data"]["exclude_users"]
    step = read(tmp_path / "new" / "result.json")["data"]["reading"]["filters"][0]
    assert step["words"] == words and step["after"]["events"] == 36
    for old, table in ((True, "old"), (False, "new")):
        for name in ("ids/rows.parquet", "ranks.parquet", "false_negatives.parquet"):
            assert ("u3" in set(pd.read_parquet(tmp_path / table / name)["user"])) == old, name


# ---- with prepared folders and runs

RATED = "user,item,rating,timestamp\n" + "".join(
    f"u{n % 7},i{n % 11},{n % 5},{1_546_300_800_000 + n * 60_000}\n" for n in range(200)
)


def test_prepared_folder_by_rating_and_date(write, tmp_path, capsys):
    log, folder = write(RATED), tmp_path / "folder"
    flags = ("--config.data.min_rating=2", "--config.data.start=2019-01-01T01:00:00Z")
    assert run("--mode=prepare", f"--data={log}", f"--workdir={folder}", *flags) == 0
    assert "milliseconds since 1970" in capsys.readouterr().out
    expected = read_interactions(log, filters=Filters(min_rating=2, start="2019-01-01T01:00:00Z"))
    data = read_prepared(folder)
    assert by_user(data) == by_user(expected)
    assert data.item_ids.tolist() == expected.item_ids.tolist()
    # n from 60 on, three of five ratings: 140 * 3 / 5.
    assert data.num_events == 84 and data.is_epoch
    assert data.reading is not None
    assert [(s.name, s.before, s.after) for s in data.reading.steps] == [
        ("min_rating", {"events": 200}, {"events": 120}),
        ("window", {"events": 120}, {"events": 84}),
    ]
    # The same settings again, or none, are those of the folder; others are refused.
    assert run("--mode=prepare", f"--data={log}", f"--workdir={folder}", *flags) == 0
    assert run("--mode=inspect", f"--data={folder}", flags[0]) == 0
    assert run("--mode=inspect", f"--data={folder}", "--config.data.min_rating=3") == 1
    assert "was prepared with --config.data.min_rating=2.0, now 3.0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flag", "part"),
    [
        ("k_core=5", "need all of it"),
        ("min_length=2", "need all of it"),
        ("min_rating=9", "no event is left after the filter 'rating of at least 9'"),
        ("start=noon", "`data.start` must be"),
    ],
)
def test_what_prepare_refuses(write, tmp_path, capsys, flag, part):
    folder = tmp_path / "folder"
    log = write(RATED)
    assert (
        run("--mode=prepare", f"--data={log}", f"--workdir={folder}", f"--config.data.{flag}") == 1
    )
    text = capsys.readouterr().err
    assert part in text and text.count("\n") == 1
    assert not (folder / "manifest.json").exists()


def test_unit_that_changes_in_a_streamed_log(write, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("ufnrec_tf.reading.text_files.BLOCK_BYTES", 2000)
    log = write(RATED + "u0,i0,3,5\n")
    assert run("--mode=prepare", f"--data={log}", f"--workdir={tmp_path / 'f'}") == 1
    text = capsys.readouterr().err
    assert "seemed to be milliseconds since 1970" in text and "time_unit=s|ms|us|ns" in text


def test_what_a_run_shows_and_holds_on_to(write, tmp_path):
    from ufnrec_tf.runs.record import identity

    log, flags = write(RATED), [("data.min_rating", "1")]
    config = load_config("", flags)
    source = load(config, str(log))
    lines = "\n".join(summary_lines(summary(make_split(config, source.interactions))))
    assert "user=user, item=item, time=timestamp (milliseconds since 1970), rating=rating" in lines
    assert "rating of at least 1: 200 -> 160 events, 7 -> 7 users, 11 -> 11 items" in lines
    record = {"config": {}, "seed": 0, "data_path": "", "identity": identity(config, source, 0)}
    write_json(tmp_path / "config.json", record)
    workdir = Workdir(tmp_path)
    workdir.check_same(identity(load_config("", flags), source, 0))
    for other, words in (
        ([], "data.min_rating 1.0, now 0.0"),
        ([*flags, ("data.k_core", "2")], "data.k_core 0, now 2"),
        ([*flags, ("data.start", "2019-01-01")], "data.start '', now '2019-01-01'"),
        ([*flags, ("data.repeats", "drop")], "data.repeats 'keep', now 'drop'"),
    ):
        with pytest.raises(UserError, match=f"was trained with {words}"):
            workdir.check_same(identity(load_config("", other), source, 0))


def test_planted_data_take_no_filter():
    config = load_config("", [("data.name", "planted"), ("data.exclude_users", "gone.txt")])
    with pytest.raises(UserError, match=r"exclude_users=gone.txt has no effect on the planted log"):
        load(config, "")
    config = load_config("", [("data.name", "planted"), ("data.k_core", "5")])
    with pytest.raises(UserError, match=r"data.k_core=5 has no effect on the planted log"):
        load(config, "")
