"""An older run taken over on another log: weights and memory by raw ids, by hand and end to end."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from tests.helpers.runs import LIGHT, TINY, contents, read, run
from ufnrec_tf.common.errors import UserError
from ufnrec_tf.data.splits import leave_one_out, seen_train_items
from ufnrec_tf.data.windows import RowOwners, make_samples
from ufnrec_tf.method.memory import FalseNegativeMemory
from ufnrec_tf.reading.readers import read_interactions
from ufnrec_tf.runs.checkpoints import CheckpointStore
from ufnrec_tf.runs.raw_ids import RunIds, match_items, match_rows, read_ids, write_ids
from ufnrec_tf.runs.record import ids_of_samples
from ufnrec_tf.runs.worker_state import (
    WorkerPart,
    named_arrays,
    part_prefix,
    read_part,
    write_arrays,
)
from ufnrec_tf.training.memory_transfer import Carrier, Rows, fit_rows

pytestmark = pytest.mark.usefixtures("eagerly")

WINDOW = 4


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def objects(*values):
    return np.array(values, object)


# Rows, by hand.


def ids(items, users):
    """RunIds of users (raw id, first position, raw items of their events)."""
    numbers = {raw: number for number, raw in enumerate(items, 1)}
    return RunIds(
        items=objects("", *items),
        users=objects(*(user for user, _, _ in users)),
        first_positions=np.array([first for _, first, _ in users], np.int32),
        num_rows=np.array([len(events) - 1 for _, _, events in users], np.int64),
        events=np.array([numbers[e] for _, _, events in users for e in events], np.int32),
    )


def test_rows_are_found_by_user_position_and_transition():
    old = ids("abcde", [("u", 0, "abc"), ("v", 2, "cdea"), ("w", 0, "ab"), ("x", 0, "bc")])
    # v's window has moved on by one; u took d between a and b; w is gone; e is gone from the items.
    new = ids("dcbaf", [("x", 0, "bcd"), ("v", 1, "bcdf"), ("u", 0, "adb")])
    items = match_items(old, new)
    assert items.tolist() == [0, 4, 3, 2, 1, 0]
    # Rows of old: u 0 1, v 2 3 4, w 5, x 6; of new: x 0 1, v 2 3 4, u 5 6.
    # v at position 2 is c -> d in both: old row 2, new row 3.
    assert match_rows(old, new, items).tolist() == [-1, -1, 3, -1, -1, -1, 0]


def test_ids_come_back_from_the_disk():
    written = ids(["é", " b", "c"], [("u 1", 3, ["c", "é"]), ("", 0, [" b", "c", "c"])])
    write_ids(Path(), written)
    found = read_ids(Path())
    for before, after in zip(written, found, strict=True):
        assert before.tolist() == after.tolist()
    assert found.first_rows.tolist() == [0, 1]
    assert found.first_events.tolist() == [0, 2]
    assert found.users_of_rows.tolist() == [0, 1, 1]


def test_damaged_or_missing_ids_are_told():
    with pytest.raises(UserError, match=r"items\.parquet: not found.*once more"):
        read_ids(Path())
    write_ids(Path(), ids("ab", [("u", 0, "ab")]))
    Path("ids/rows.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match="is damaged"):
        read_ids(Path())
    write_ids(Path(), ids("ab", [("u", 0, "ab")])._replace(events=np.array([1, 2, 2], np.int32)))
    with pytest.raises(UserError, match="differ in length"):
        read_ids(Path())


@pytest.mark.parametrize("windows", ["last", "all", "prefixes"])
def test_ids_of_a_run_name_its_rows(windows):
    histories = [("u", "abcdefgh"), ("v", "abcd"), ("w", "ab"), ("x", "abc")]
    Path("log.txt").write_text("".join(f"{u} {i}\n" for u, es in histories for i in es))
    split = leave_one_out(read_interactions("log.txt"))
    found = ids_of_samples(split, make_samples(split, max_length=3, windows=windows))
    # The last two events are held out, of w none: 5, 1, 1 and 0 transitions.
    assert found.users.tolist() == ["u", "v", "w"]
    is_whole = windows != "last"
    assert found.first_positions.tolist() == [0 if is_whole else 2, 0, 0]
    assert found.num_rows.tolist() == [5 if is_whole else 3, 1, 1]
    events = "".join(found.items[found.events])
    assert events == ("abcdef" if is_whole else "cdef") + "ab" + "ab"


def fitted(items, states, lists=None, **settings):
    items, states = np.array([items], np.int32), np.array([states], np.int32)
    rows = Rows(items, states, np.array([lists], np.int32) if lists else None)
    found = fit_rows(rows, **settings)
    return [None if x is None else x[0].tolist() for x in found]


def test_rows_are_sorted_by_their_new_items():
    found = fitted([0, 9, 0, 4, 7], [0, 3, 8, 6, 1], num_slots=5, capacity=9, has_lists=False)
    assert found == [[0, 0, 4, 7, 9], [0, 0, 6, 1, 3], None]
    found = fitted([3, 2], [2, 1], num_slots=4, capacity=9, has_lists=False)
    assert found == [[0, 0, 2, 3], [0, 0, 1, 2], None]


def test_who_stays_in_fewer_slots():
    # 5 is remembered, then the counts: 4 twice as 7, whose id is higher, and 2 once.
    items, states = [2, 4, 5, 7], [2, 4, 1, 4]
    for num_slots, kept in ((3, [4, 5, 7]), (2, [4, 5]), (1, [5])):
        found = fitted(items, states, num_slots=num_slots, capacity=9, has_lists=False)
        assert found[0] == kept
    # Two may be remembered: those of the highest counts; 3, never counted, is forgotten whole.
    found = fitted([2, 3, 4, 5], [3, 1, 7, 5], num_slots=4, capacity=2, has_lists=False)
    assert found == [[0, 2, 4, 5], [0, 2, 7, 5], None]


def test_lists_keep_their_order_and_agree_with_the_slots():
    # 8 was written first and twice; 6 is gone and 0 in its list.
    items, states, lists = [0, 3, 5, 8], [5, 3, 4, 9], [8, 0, 3, 8, 0]
    found = fitted(items, states, lists, num_slots=4, capacity=5, has_lists=True)
    assert found == [[0, 3, 5, 8], [0, 3, 4, 9], [8, 3, 8, 0, 0]]
    # One entry may be remembered: 3 is counted alone, with one slot less for 5 of more counts.
    found = fitted(items, states, lists, num_slots=2, capacity=1, has_lists=True)
    assert found == [[5, 8], [4, 9], [8]]
    # One slot: the entries of 3 leave with it.
    found = fitted(items, states, lists, num_slots=1, capacity=5, has_lists=True)
    assert found == [[8], [9], [8, 8, 0, 0, 0]]
    found = fitted([3, 8], [1, 4], num_slots=2, capacity=3, has_lists=True)
    assert found == [[3, 8], [1, 4], [3, 0, 0]]
    assert fitted(items, states, lists, num_slots=3, capacity=5, has_lists=False)[1] == [3, 4, 9]


# From a log to one with new users and items, in another order.

OLD = {
    f"u{user}": [f"i{(user * 3 + event * (2 + user % 3)) % 13}" for event in range(7)]
    for user in range(20)
}


def new_histories():
    """OLD without u3 and i5, in another order; u0 to u7 go on, there are new users and items."""
    histories = {user: [i for i in items if i != "i5"] for user, items in OLD.items()}
    for number in range(8):
        # What was held out trains now: it is no negative any more.
        histories[f"u{number}"] += ["new 1", "new 2"]
    del histories["u3"]
    newcomers = {f"n{user}": ["new 1", f"i{user}", "new 2", "i0", "i1"] for user in range(4)}
    return newcomers | dict(reversed(histories.items()))


def write_log(path, histories):
    lines = [f"{user},{item}" for user, items in histories.items() for item in items]
    Path(path).write_text("user,item\n" + "\n".join(lines) + "\n", encoding="utf-8")


def split_of_file(path):
    return leave_one_out(read_interactions(path))


def seen_of(split):
    offsets, items = seen_train_items(split)
    log = split.interactions
    return {
        str(user): {log.item_ids[i] for i in items[offsets[n] : offsets[n + 1]]}
        for n, user in enumerate(log.user_ids)
    }


def content(split, samples, tables, rows):
    """The set of (user, position, item, count, remembered) that tables [n, S] of `rows` hold."""
    log, found = split.interactions, set()
    user_of, begin = samples.users_of_rows(), {}
    for window in range(len(samples.users)):
        begin[samples.users[window]] = (samples.first_rows[window], samples.first_positions[window])
    for place, row in enumerate(rows):
        first_row, first_position = begin[user_of[row]]
        for item, state in zip(tables["items"][place], tables["states"][place], strict=True):
            if item:
                user = log.user_ids[user_of[row]]
                position = first_position + row - first_row
                found.add((user, position, log.item_ids[item], state // 2, state % 2))
    return found


def random_tables(split, samples, num_slots, seed=0):
    """Tables of all rows as a memory could have them: sorted, outside of what users took."""
    rng = np.random.default_rng(seed)
    offsets, seen = seen_train_items(split)
    items = np.zeros([samples.num_rows, num_slots], np.int32)
    states = np.zeros_like(items)
    for row, user in enumerate(samples.users_of_rows()):
        outside = np.setdiff1d(
            np.arange(1, split.interactions.num_items + 1), seen[offsets[user] : offsets[user + 1]]
        )
        chosen = np.sort(rng.choice(outside, size=rng.integers(0, num_slots + 1), replace=False))
        items[row, num_slots - len(chosen) :] = chosen
        states[row, num_slots - len(chosen) :] = rng.integers(1, 12, size=len(chosen))
    return {"items": items, "states": states}


def both_runs():
    runs = []
    for name, histories in (("old", OLD), ("new", new_histories())):
        write_log(f"{name}.csv", histories)
        split = split_of_file(f"{name}.csv")
        samples = make_samples(split, max_length=WINDOW)
        runs.append((split, samples, ids_of_samples(split, samples)))
    return runs


def same_transitions():
    """(user, position) whose user took the same items there before and now, both in training."""
    before, now = OLD, new_histories()
    return {
        (user, position)
        for user in before.keys() & now.keys()
        for position in range(len(before[user]) - 3)
        if before[user][position : position + 2] == now[user][position : position + 2]
        and len(now[user]) - 3 - WINDOW <= position < len(now[user]) - 3
    }


@pytest.mark.parametrize(("old_workers", "new_workers"), [(1, 1), (3, 2)])
def test_the_memory_comes_over_whatever_the_number_of_workers(old_workers, new_workers):
    (old_split, old_samples, old), (new_split, new_samples, new) = both_runs()
    tables = random_tables(old_split, old_samples, 3)
    tables["substitutes"] = tables["items"][:, -1].copy()
    before = content(old_split, old_samples, tables, range(old_samples.num_rows))
    owners = RowOwners(old.users, old.users_of_rows)
    for worker in range(old_workers):
        rows = owners.rows_of(worker, old_workers)
        part = WorkerPart({name: table[rows] for name, table in tables.items()}, {})
        prefix = part_prefix(Path(), worker, old_workers)
        write_arrays(prefix, named_arrays(part.tables, part.sums))
        assert sorted(read_part(Path(), worker, old_workers).tables) == sorted(tables)
    new_items = match_items(old, new)
    new_owners = RowOwners(new_split.interactions.user_ids, new_samples.users_of_rows())
    after, counts = set(), []
    for worker in range(new_workers):
        own = new_owners.rows_of(worker, new_workers)
        memory = FalseNegativeMemory(
            num_rows=len(own), num_items=15, num_slots=3, num_negatives=5, patience=2
        )
        carrier = Carrier(
            split=new_split,
            users_of_rows=new_samples.users_of_rows(),
            own_rows=own,
            new_rows=match_rows(old, new, new_items),
            new_items=new_items,
            memory=memory,
        )
        variables = {**memory.tables, "substitutes": tf.Variable(tf.zeros([len(own)], tf.int32))}
        counts.append(carrier.carry(variables, Path(), old, num_workers=old_workers))
        found = {name: variable.numpy() for name, variable in variables.items()}
        assert (np.sort(found["items"], axis=1) == found["items"]).all()
        is_last = found["substitutes"] > 0
        assert is_last.any()
        assert (found["substitutes"] == found["items"][:, -1])[is_last].mean() > 0.3
        after |= content(new_split, new_samples, found, own)
    same, seen = same_transitions(), seen_of(new_split)
    items = {item for items in new_histories().values() for item in items}
    expected = {
        entry
        for entry in before
        if entry[:2] in same and entry[2] in items and entry[2] not in seen[entry[0]]
    }
    assert after == expected
    assert 0 < len(expected) < len(before)
    here = [entry for entry in before if entry[:2] in same]
    assert any(entry[2] in seen[entry[0]] for entry in here)
    assert any(entry[2] not in items for entry in here)
    assert sum(count.items_carried for count in counts) == len(expected)
    remembered = sum(entry[4] for entry in expected)
    assert sum(count.remembered_carried for count in counts) == remembered
    assert all(sum(count[2:4]) == len(before) for count in counts)


# From the command line.


def selected(workdir):
    reader = tf.train.load_checkpoint(str(Path(workdir) / "checkpoints/best/variables"))
    keys = sorted(key for key in reader.get_variable_to_shape_map() if key.startswith("weights/"))
    return [reader.get_tensor(key) for key in keys]


COMMON = (
    *TINY,
    *LIGHT,
    f"--config.backbone.max_length={WINDOW}",
    "--config.gate.epochs=0",
    "--config.memory.max_flips=0",
)


def train_on(log, workdir, *arguments):
    return run(f"--data={log}", f"--workdir={workdir}", *COMMON, *arguments)


@pytest.fixture(scope="module")
def older(tmp_path_factory):
    """Two logs and a run on the older one, in a folder."""
    folder = tmp_path_factory.mktemp("older")
    write_log(folder / "old.csv", OLD)
    write_log(folder / "new.csv", new_histories())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ufnrec_tf.training.finish.export", lambda *_: None)
        assert train_on(folder / "old.csv", folder / "w", "--config.training.num_epochs=3") == 0
    return folder


@pytest.fixture
def logs(older, tmp_path):
    shutil.copytree(older, tmp_path, dirs_exist_ok=True)


def by_raw_id(weights, split):
    """Item tables, those of the weights [num_items + 1, D], as raw id to row."""
    names = split.interactions.item_ids
    tables = [weight for weight in weights if weight.shape == (len(names), 8)]
    assert tables
    return {raw: [table[i].tolist() for table in tables] for i, raw in enumerate(names)}


@pytest.mark.slow
@pytest.mark.usefixtures("logs", "without_export")
def test_known_ids_keep_weights_and_memory(capfd):
    before = contents("w")
    arguments = ("--config.training.num_epochs=0", "--config.training.warm_start=w")
    assert train_on("new.csv", "w2", *arguments) == 0
    assert contents("w") == before
    shown = capfd.readouterr().out
    assert "Warm start from" in shown and "items: 12 known, 2 new, 1 gone" in shown
    found = read("w2/result.json")["warm_start"]
    assert found["items"] == {"known": 12, "new": 2, "gone": 1}
    assert found["from"] == str(Path("w").resolve())
    assert found["weights"] == read("w/result.json")["protocol"]["weights"]
    assert found["epoch"] == read("w/result.json")["protocol"]["selected_epoch"]
    old_split, new_split = split_of_file("old.csv"), split_of_file("new.csv")
    old, new = (by_raw_id(selected(w), s) for w, s in (("w", old_split), ("w2", new_split)))
    known = old.keys() & new.keys()
    assert len(known) == 12 + 1  # padding
    assert all(old[raw] == new[raw] for raw in known)
    assert np.abs(new["new 1"]).max() > 0
    shapes = [x.shape for x in selected("w")]
    whole = [n for n, shape in enumerate(shapes) if shape[0] != 14]
    assert len(whole) > 1
    for number in whole:
        np.testing.assert_array_equal(selected("w")[number], selected("w2")[number])


@pytest.mark.slow
@pytest.mark.usefixtures("logs", "without_export")
def test_a_run_goes_on_from_the_memory_and_takes_it_over_once(capfd):
    warm = ("--config.training.warm_start=w", "--config.training.num_epochs=1")
    # The first step does not come: what is written at the end is what was taken over.
    assert train_on("new.csv", "w2", *warm, "--config.training.num_epochs=0") == 0
    carried = read("w2/result.json")["warm_start"]["memory"]
    assert not list(Path("w2/checkpoints").glob("step-*"))
    assert carried["items_carried"] > 5 and carried["items_dropped"] > 5
    assert read("w2/result.json")["memory"]["counted"] <= carried["items_carried"]
    assert read("w2/result.json")["memory"]["remembered"] == carried["remembered_carried"]
    assert train_on("new.csv", "w3", *warm, "--config.training.max_steps=1") == 0
    assert read("w3/result.json")["totals"]["shown"] > 0  # in the first step of the run
    capfd.readouterr()
    assert train_on("new.csv", "w3", "--config.training.num_epochs=1") == 1
    assert "training.warm_start" in capfd.readouterr().err
    shutil.rmtree("w")  # not needed again
    assert train_on("new.csv", "w3", *warm, "--config.training.max_steps=2") == 0
    assert "Warm start from" not in capfd.readouterr().out
    result = read("w3/result.json")
    assert result["steps"] == 2 and result["warm_start"]["memory"] == carried


@pytest.mark.slow
@pytest.mark.usefixtures("logs", "without_export")
def test_another_policy_takes_the_weights_alone():
    arguments = ("--config.training.num_epochs=0", "--config.training.warm_start=w")
    safe = "--config.memory.policy=ufnrec_safe"
    assert train_on("new.csv", "w2", *arguments, safe, "--config.loss.name=cross_entropy") == 0
    found = read("w2/result.json")["warm_start"]
    assert found["memory"] is None and "different things" in found["memory_left_out"]
    assert found["items"]["known"] == 12


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--config.training.warm_start=none"], ["warm_start=none", "config.json"]),
        (["--config.training.warm_start=w2"], ["own work directory"]),
        (
            ["--config.training.warm_start=w", "--config.backbone.width=4"],
            ["backbone.width 8", "now 4"],
        ),
    ],
)
@pytest.mark.usefixtures("logs")
def test_what_does_not_fit_is_told(capfd, arguments, words):
    assert train_on("new.csv", "w2", *arguments) == 1
    error = capfd.readouterr().err
    assert error.count("\n") == 1
    for word in words:
        assert word in error
    assert not Path("w2/config.json").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("logs")
def test_a_damaged_older_run_is_told(capfd):
    warm = "--config.training.warm_start=w"
    newest = CheckpointStore(Path("w/checkpoints")).newest()
    next(Path("w/checkpoints", newest).glob("worker-*.json")).unlink()
    assert train_on("new.csv", "w2", warm) == 1
    assert f"the memory in checkpoints/{newest} cannot be read" in capfd.readouterr().err
    next(Path("w/checkpoints/best").glob("variables.index")).write_bytes(b"")
    assert train_on("new.csv", "w2", warm) == 1
    assert "checkpoints/best is damaged or of another backbone" in capfd.readouterr().err
    shutil.rmtree("w/checkpoints/best")
    assert train_on("new.csv", "w2", warm) == 1
    assert "has no selected weights" in capfd.readouterr().err


@pytest.mark.slow
@pytest.mark.usefixtures("logs", "without_export")
def test_a_run_of_an_older_version_gets_its_ids_when_it_is_shown_again(capfd):
    rows = pd.read_parquet("w/ids/rows.parquet")
    shutil.rmtree("w/ids")
    assert train_on("new.csv", "w2", "--config.training.warm_start=w") == 1
    assert "once more" in capfd.readouterr().err
    assert train_on("old.csv", "w", "--config.training.num_epochs=3") == 0
    pd.testing.assert_frame_equal(pd.read_parquet("w/ids/rows.parquet"), rows)
