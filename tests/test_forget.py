"""Users removed from a work directory: gone from every file, the others untouched."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from tests.helpers.runs import LIGHT, TINY, contents, read, run
from ufnrec_tf import forget as forgetting
from ufnrec_tf import forget_tables
from ufnrec_tf.data.windows import RowOwners
from ufnrec_tf.reading.prepare.prepared_folder import read_items, read_manifest, read_prepared
from ufnrec_tf.report.suspects import without_users as page_without_users
from ufnrec_tf.runs.checkpoints import CheckpointStore
from ufnrec_tf.runs.raw_ids import read_ids
from ufnrec_tf.runs.worker_state import WorkerPart, part_prefix, read_part, write_part
from ufnrec_tf.training.shown_results import without_users as log_without_users
from ufnrec_tf.training.tensorboard_content import markdown
from ufnrec_tf.training.tensorboard_content import without_users as card_without_users

NUM_USERS = 20
GONE = {"user-03x", "user-07x"}
SETTINGS = (
    *TINY,
    *LIGHT,
    "--config.comparison.sample_users=20",
    "--config.backbone.max_length=4",
    "--config.gate.epochs=0",
    "--config.training.num_epochs=3",
    "--config.training.checkpoint_steps=1",
)


def write_log(path, *, without=()):
    users = [f"user-{number:02d}x" for number in range(NUM_USERS)]
    lines = [
        f"{user},i{(number * 3 + event * (2 + number % 3)) % 13}"
        for number, user in enumerate(users)
        for event in range(7 if number else 3)  # the first user has one event to train on
        if user not in without
    ]
    Path(path).write_text("user,item\n" + "\n".join(lines) + "\n", encoding="utf-8")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run with another one inside it, as --mode=train leaves them, and the screen's log."""
    folder = tmp_path_factory.mktemp("trained")
    write_log(folder / "log.csv")
    arguments = (f"--data={folder / 'log.csv'}", f"--workdir={folder / 'w'}", *SETTINGS)
    assert run(*arguments) == 0
    shutil.copytree(folder / "w", folder / "inner")
    shutil.copytree(folder / "inner", folder / "w" / "baselines" / "ufnrec")
    return folder


@pytest.fixture(autouse=True)
def _a_copy(trained, tmp_path, monkeypatch):
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    Path("gone.txt").write_text("\n".join(sorted(GONE)) + "\n", encoding="utf-8")


def forget(*arguments, users="gone.txt", workdir="w"):
    return run("--mode=forget", f"--users={users}", f"--workdir={workdir}", *arguments)


def tables_of(workdir):
    """(checkpoint, table) -> array [rows, ...] of all checkpoints of steps."""
    folder = Path(workdir) / "checkpoints"
    names = CheckpointStore(folder).steps()
    assert len(names) == 2
    return {
        (name, table): value
        for name in names
        for table, value in read_part(folder / name, 0, 1).tables.items()
    }


def files_that_name(workdir, users=GONE):
    """Files in which one of the users stands, parquet files decoded."""
    found = set()
    for path in Path(workdir).rglob("*"):
        if not path.is_file():
            continue
        text = path.read_bytes()
        if path.suffix == ".parquet":
            text += pd.read_parquet(path).to_csv().encode()
        if any(user.encode() in text for user in users):
            found.add(str(path.relative_to(workdir)))
    return found


def is_of(users, names):
    return np.isin(np.asarray(names, str), sorted(users))


def check_forgotten(workdir, before, ids):
    """Nothing of the users is left, everything of the others is."""
    after, is_gone = tables_of(workdir), is_of(GONE, ids.users[ids.users_of_rows])
    assert is_gone.sum() == 2 * 4
    for key, table in after.items():
        assert not table[is_gone].any()
        np.testing.assert_array_equal(table[~is_gone], before[key][~is_gone])
    assert files_that_name(workdir) == set()
    now, stays = read_ids(Path(workdir)), ~is_of(GONE, ids.users)
    assert (now.users[stays] == ids.users[stays]).all()
    assert all(re.fullmatch("forgotten-[0-9a-f]{16}", name) for name in now.users[~stays])
    np.testing.assert_array_equal(now.num_rows, ids.num_rows)
    is_gone_event = np.repeat(~stays, ids.num_rows + 1)
    np.testing.assert_array_equal(now.events, np.where(is_gone_event, 0, ids.events))
    assert not list(Path(workdir).rglob(".*.new")) and not list(Path(workdir).rglob(".*.old"))


# The whole of it, from the command line.


def test_nothing_of_the_users_is_left_and_everything_of_the_others(capfd):
    before, ids, result = tables_of("w"), read_ids(Path("w")), read("w/result.json")
    ranks = pd.read_parquet("w/ranks.parquet")
    pairs = pd.read_parquet("w/false_negatives.parquet")
    events = next(
        name for name in files_that_name("w") if "tfevents" in name and "baselines" not in name
    )
    own = {
        "ids/rows.parquet",
        "ranks.parquet",
        "ranks_validation.parquet",
        "false_negatives.parquet",
        "result.json",
        events,
    }
    assert files_that_name("w") == own | {f"baselines/ufnrec/{name}" for name in own}
    weights = contents("w/export")
    assert forget() == 0
    for path in ("w", "w/baselines/ufnrec"):
        check_forgotten(path, before, ids)
    assert contents("w/export") == weights
    now = pd.read_parquet("w/ranks.parquet")
    pd.testing.assert_frame_equal(now, ranks[~is_of(GONE, ranks["user"])].reset_index(drop=True))
    kept = pd.read_parquet("w/false_negatives.parquet")
    assert kept.attrs == pairs.attrs
    assert len(pairs) - len(kept) == is_of(GONE, pairs["user"]).sum() > 0
    users = [sample["user"] for sample in result["samples"]]
    left = read("w/result.json")
    assert [s["user"] for s in left["samples"]] == [u for u in users if u not in GONE]
    assert left["test"] == result["test"]
    is_gone = is_of(GONE, ids.users[ids.users_of_rows])
    num_items = int((before[max(before)[0], "items"][is_gone] > 0).sum())
    assert num_items > 0
    shown = capfd.readouterr().out
    assert f"memory: 8 rows with {num_items} items" in shown
    assert f"files: 4 ranks, {len(pairs) - len(kept)} suspects" in shown
    assert "2 of 2 users were known and are removed" in shown
    assert "what the weights have learnt" in shown


def card_of(workdir):
    paths = sorted(map(str, Path(workdir, "tensorboard/train").glob("*tfevents*")))
    texts = [
        value.tensor.string_val[0].decode()
        for data in tf.data.TFRecordDataset(paths).as_numpy_iterator()
        for value in tf.compat.v1.Event.FromString(data).summary.value
        if value.tag == "false_negatives/summary"
    ]
    return texts, len(list(tf.data.TFRecordDataset(paths)))


def test_the_card_of_the_board_is_that_of_what_is_left():
    (before,), num_before = card_of("w")
    assert "user-07x" in before
    assert forget() == 0
    (after,), num_after = card_of("w")
    assert num_after == num_before
    assert after == markdown(read("w/result.json")["false_negatives"])


def test_the_page_of_a_run_forgets_them_too():
    page = Path("w/report.html")
    assert run("--mode=report", "--workdir=w") == 0
    text = page.read_text(encoding="utf-8")
    shown = sum(text.count(f"<p>User <b>{user}") for user in GONE)
    assert shown >= 2 and sum(text.count(user) for user in GONE) == shown
    assert forget() == 0
    assert files_that_name("w") == set()
    assert text.count("<p>User") - page.read_text(encoding="utf-8").count("<p>User") == shown
    assert run("--mode=report", "--workdir=w") == 0  # made anew, from the log that has them still
    assert files_that_name("w") == set()
    assert "over 18 users" in page.read_text(encoding="utf-8")


def test_the_same_command_again_changes_nothing(capfd):
    assert forget() == 0
    before = contents("w")
    capfd.readouterr()
    assert forget() == 0
    assert contents("w") == before
    assert "0 of 2 users were known" in capfd.readouterr().out


def test_unknown_users_are_told_and_only_all_of_them_an_error(capfd):
    before = contents("w")
    Path("nobody.txt").write_text("somebody\nuser-3x\n", encoding="utf-8")
    assert forget(users="nobody.txt") == 1
    assert "knows none of the 2 users" in capfd.readouterr().err
    assert contents("w") == before
    Path("some.txt").write_bytes("\ufeffsomebody\r\n\r\nuser-03x\r\n".encode())
    assert forget(users="some.txt") == 0
    shown = capfd.readouterr().out
    assert "1 of 2 users were known" in shown and "1 (somebody)" in shown
    assert files_that_name("w", {"user-03x"}) == set()
    assert len(files_that_name("w", {"user-07x"})) == 12


def test_a_user_without_rows_is_forgotten_too():
    assert "user-00x" not in read_ids(Path("w")).users
    Path("first.txt").write_text("user-00x\n", encoding="utf-8")
    before = tables_of("w")
    assert forget(users="first.txt") == 0
    assert files_that_name("w", {"user-00x"}) == set()
    for key, table in tables_of("w").items():
        np.testing.assert_array_equal(table, before[key])


def test_training_does_not_go_on_but_anew_on_the_log_without_them(capfd):
    remembered = read("w/result.json")["memory"]["remembered"]
    ids, newest = read_ids(Path("w")), CheckpointStore(Path("w/checkpoints")).newest()
    is_gone = is_of(GONE, ids.users[ids.users_of_rows])
    tables = {table: value for (name, table), value in tables_of("w").items() if name == newest}
    assert remembered == (tables["states"] % 2).sum()
    theirs = int((tables["states"][is_gone] % 2).sum())
    assert forget() == 0
    assert run("--data=log.csv", "--workdir=w", *SETTINGS) == 1
    assert "users were forgotten here" in capfd.readouterr().err
    # What it still is: a trained model, with checkpoints that can be read.
    scored = ("--mode=evaluate", "--workdir=w", "--config.evaluation.weights=student")
    assert run(*scored, "--data=log.csv") == 0
    write_log("less.csv", without=GONE)
    arguments = ("--config.training.warm_start=w", "--config.training.num_epochs=0")
    assert run("--data=less.csv", "--workdir=w2", *SETTINGS, *arguments) == 0
    found = read("w2/result.json")
    assert found["warm_start"]["users"] == {"known": 17, "new": 0, "gone": 2}
    assert found["warm_start"]["memory"]["remembered_dropped"] == 0
    assert found["memory"]["remembered"] == remembered - theirs > 0


# Killed in the middle, several workers, what else may lie there.


class Killed(BaseException):
    pass


@pytest.mark.parametrize("place", range(5))
def test_killed_in_the_middle_the_same_command_finishes(monkeypatch, place):
    before, ids = tables_of("inner"), read_ids(Path("inner"))
    module, name = (
        (forgetting, "clear_tables"),
        (forget_tables, "_replace"),
        (forgetting, "drop_from_texts"),
        (forgetting, "drop_from_parquet"),
        (forgetting, "clear_ids"),
    )[place]
    original, calls = getattr(module, name), []

    def killed(*arguments):
        calls.append(name)
        if name != "_replace" or len(calls) == 2:  # in the second checkpoint
            raise Killed
        return original(*arguments)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(module, name, killed)
        forgetting.forget_run(Path("inner"), GONE)
    assert read("inner/config.json")["has_forgotten"] is True
    assert forgetting.forget_run(Path("inner"), GONE).users == GONE
    check_forgotten("inner", before, ids)


def test_killed_between_two_renames_the_checkpoint_comes_back():
    before, ids = tables_of("inner"), read_ids(Path("inner"))
    newest = CheckpointStore(Path("inner/checkpoints")).newest()
    folder = Path("inner/checkpoints")
    (folder / newest).rename(folder / f".{newest}.old")
    (folder / f".{newest}.new").mkdir()
    (folder / "damaged-step-00000001").mkdir()
    assert forgetting.forget_run(Path("inner"), GONE).damaged == 1
    check_forgotten("inner", before, ids)
    assert not (folder / "damaged-step-00000001").exists()


def test_rows_of_others_keep_their_worker():
    folder, ids = Path("inner/checkpoints"), read_ids(Path("inner"))
    owners = RowOwners(ids.users, ids.users_of_rows)
    before = tables_of("inner")
    for number, name in enumerate(CheckpointStore(folder).steps(), 2):  # by 2 and by 3 workers
        whole = read_part(folder / name, 0, 1)
        for worker in range(number):
            rows = owners.rows_of(worker, number)
            part = WorkerPart({key: table[rows] for key, table in whole.tables.items()}, whole.sums)
            write_part(folder / name, worker, number, part)
        for path in folder.glob(f"{name}/{part_prefix(Path(), 0, 1).name}*"):
            path.unlink()
        state = read(folder / name / "state.json") | {"num_workers": number}
        del state["sha256"]
        (folder / name / "state.json").write_text(json.dumps(state), encoding="utf-8")
    forgetting.forget_run(Path("inner"), GONE)
    now = read_ids(Path("inner"))
    owners = RowOwners(now.users, now.users_of_rows)
    is_gone = is_of(GONE, ids.users[ids.users_of_rows])
    for number, name in enumerate(CheckpointStore(folder).steps(), 2):
        for worker in range(number):
            rows = owners.rows_of(worker, number)
            for key, table in read_part(folder / name, worker, number).tables.items():
                expected = np.where(is_gone[rows, None], 0, before[name, key][rows])
                np.testing.assert_array_equal(table, expected)


def test_a_damaged_checkpoint_is_told(capfd):
    newest = CheckpointStore(Path("w/checkpoints")).newest()
    next(Path("w/checkpoints", newest).glob("worker-*.json")).unlink()
    assert forget() == 1
    error = capfd.readouterr().err
    assert newest in error and "Remove this folder and run the same command again" in error
    shutil.rmtree(Path("w/checkpoints", newest))
    assert forget() == 0
    assert files_that_name("w") == set()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--workdir=w"], "needs --users"),
        (["--users=gone.txt"], "needs --workdir"),
        (["--users=none.txt", "--workdir=w"], "--users=none.txt: cannot be read"),
        (["--users=empty.txt", "--workdir=w"], "names nobody"),
        (["--users=gone.txt", "--workdir=none"], "not a trained work directory"),
        (["--users=gone.txt", "--workdir=w", "--config.backbone.width=3"], "has no effect"),
        (["--users=gone.txt", "--data=folder"], "folder: is a directory without manifest.json"),
    ],
)
def test_bad_input_is_told(capfd, arguments, words):
    Path("empty.txt").write_text("\n\r\n", encoding="utf-8")
    assert run("--mode=forget", *arguments) == 1
    error = capfd.readouterr().err
    assert words in error and error.count("\n") == 1


# What shows users, without some of them.


def test_a_screen_without_users():
    shown = [
        "Recommendations",
        *("  user a: ... x, y", "    next: z", "    took: w"),
        *("  user a: ... b: ... x", "    next: z", "    took: v"),
        "Next",
    ]
    text = "\n".join(shown)
    assert log_without_users(text, {"b"}) == text
    assert log_without_users(text, {"a: ... b"}) == "\n".join([*shown[:4], shown[-1]])
    assert log_without_users(text, {"a"}) == "\n".join([shown[0], shown[-1]])


def test_a_card_without_users():
    example = {"history": ["** had x"], "num_flagged": 0, "flagged": [], "later": ["y"]}
    found = {
        "future": dict.fromkeys(("num_flagged", "users", "hits"), 1)
        | {f"matched_on_popularity{end}": {"lift": None} for end in ("", "_and_score")},
        "most_flagged": [],
    }
    cards = {
        users: markdown(found | {"examples": [{"user": user, **example} for user in users]})
        for users in (("a*b", "c", "** had"), ("c", "** had"), ("a*b", "c"), ())
    }
    everyone = cards["a*b", "c", "** had"]
    assert card_without_users(everyone, {"a*b"}) == cards["c", "** had"]
    assert card_without_users(everyone, {"** had"}) == cards["a*b", "c"]
    assert card_without_users(everyone, {"a*b", "c", "** had"}) == cards[()]
    assert card_without_users(everyone, {"a", "b"}) == everyone


def test_a_page_without_users():
    page = "<p>x</p><p>User <b>a&amp;b</b>, newest: y<br>z</p>\n<p>User <b>c</b>, newest: y</p>"
    assert page_without_users(page, {"a&b"}) == "<p>x</p>\n<p>User <b>c</b>, newest: y</p>"
    assert page_without_users(page, {"a", "b"}) == page


def prepare(folder, log="log.csv"):
    assert run("--mode=prepare", f"--data={log}", f"--workdir={folder}") == 0


def by_user(folder):
    """Raw user id -> raw items of a prepared folder."""
    log = read_prepared(Path(folder))
    return {
        user: log.item_ids[log.items[log.offsets[place] : log.offsets[place + 1]]].tolist()
        for place, user in enumerate(log.user_ids)
    }


def test_prepared_data_is_that_of_the_others(capsys):
    prepare("data")
    before, old = by_user("data"), read_manifest(Path("data"))
    assert run("--mode=forget", "--users=gone.txt", "--data=data") == 0
    num_events = sum(len(before[user]) for user in GONE)
    assert f"{num_events:,} events removed" in capsys.readouterr().out
    assert by_user("data") == {user: items for user, items in before.items() if user not in GONE}
    new = read_manifest(Path("data"))
    assert new.content_sha256 != old.content_sha256
    assert new.counts["users"] == NUM_USERS - 2
    assert new.counts["events"] == old.counts["events"] - num_events
    # The items' ids stay; their counts are those of what is left.
    write_log("others.csv", without=GONE)
    prepare("others", "others.csv")
    counts = [
        dict(zip(items.ids, items.counts.tolist(), strict=True))
        for items in (
            read_items(Path(name), read_manifest(Path(name)).items) for name in ("data", "others")
        )
    ]
    assert {item: count for item, count in counts[0].items() if count} == counts[1]
    for path in Path("data").iterdir():
        assert not any(user.encode() in path.read_bytes() for user in GONE)
    assert not list(Path().glob(".data.*"))
    assert run(*SETTINGS, "--data=data", "--workdir=again") == 0
    assert run("--mode=forget", "--users=gone.txt", "--data=data") == 1


def test_killed_between_its_renames_prepared_data_is_put_back():
    prepare("data")
    before = by_user("data")
    Path("data").rename(".data.old")
    assert run("--mode=forget", "--users=gone.txt", "--data=data") == 0
    assert by_user("data") == {user: items for user, items in before.items() if user not in GONE}
