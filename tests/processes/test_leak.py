"""Nothing held out reaches training: other held-out items, the same weights, bit by bit."""

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from tests.helpers.runs import metric_lines, read
from tests.processes.forks import run_module
from tests.processes.leak_run import FIXED_RUNS, FURTHER, SPLITS, events_of_test, make_log, permuted
from ufnrec_tf.data.splits import SplitSettings, leave_one_out, temporal
from ufnrec_tf.runs.worker_state import read_part


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Work directories of `tests.processes.leak_run`."""
    folder = tmp_path_factory.mktemp("leak")
    run_module("tests.processes.leak_run", folder)
    return folder


def variables(workdir: Path, *groups: str) -> dict[str, np.ndarray]:
    """All variables of the newest checkpoint, or those of some groups."""
    (step,) = (workdir / "checkpoints").glob("step-*")
    reader = tf.train.load_checkpoint(str(step / "variables"))
    found = {
        key: reader.get_tensor(key)
        for key in reader.get_variable_to_shape_map()
        if key != "_CHECKPOINTABLE_OBJECT_GRAPH"
    }
    part = read_part(step, 0, 1)
    found |= {f"memory/{name}": table for name, table in part.tables.items()}
    found |= {f"sums/{name}": total for name, total in part.sums.items()}
    return {key: value for key, value in found.items() if not groups or key.split("/")[0] in groups}


def assert_same(workdir: Path, other: Path) -> None:
    """Weights, averages, moments, counts and the selected weights are equal to the bit."""
    mine, theirs = variables(workdir), variables(other)
    assert set(mine) == set(theirs)
    assert {"student", "optimizer", "host", "best"} <= {key.split("/")[0] for key in mine}
    for key, values in mine.items():
        np.testing.assert_array_equal(values, theirs[key], err_msg=key)


def assert_other_test(workdir: Path, other: Path) -> None:
    results = [read(path / "result.json") for path in (workdir, other)]
    assert results[0]["test"]["mrr"] != results[1]["test"]["mrr"]
    items = [pd.read_parquet(path / "ranks.parquet")["item"].tolist() for path in (workdir, other)]
    assert items[0] != items[1] and sorted(items[0]) != items[0]


@pytest.mark.parametrize(
    ("split", "arm"),
    [
        *itertools.product(SPLITS, FIXED_RUNS),
        (SPLITS[0], "runs"),
        *((name, "ufnrec") for name in FURTHER),
    ],
)
def test_nothing_held_out_reaches_a_fixed_number_of_epochs(runs, split, arm):
    folder = runs / split / arm
    assert_same(folder / "log", folder / "permuted")
    assert_other_test(folder / "log", folder / "permuted")
    lines = [metric_lines(folder / which) for which in ("log", "permuted")]
    assert lines[0][-1]["mrr"] != lines[1][-1]["mrr"]  # validation was permuted too
    found = read(folder / "log" / "result.json")["false_negatives"]
    assert (found["flips"] > 0) == (arm == "ufnrec")


@pytest.mark.parametrize(
    ("split", "arm"), [(SPLITS[0], "hindsight"), (SPLITS[1], "hindsight"), (SPLITS[0], "runs")]
)
def test_nothing_held_out_reaches_a_teacher(runs, split, arm):
    teachers = [runs / split / arm / which / "teacher" for which in ("log", "permuted")]
    if arm == "hindsight":
        assert_same(*teachers)
        assert metric_lines(teachers[0]) == metric_lines(teachers[1])
    labels = []
    for teacher in teachers:
        (folder,) = teacher.glob("labels-*")
        labels.append([(folder / name).read_bytes() for name in ("items.i32", "shares.f32")])
    assert labels[0] == labels[1]
    items = np.frombuffer(labels[0][0], "<i4")
    log = make_log()
    # Under `temporal` items that only exist later are no labels.
    assert len(np.unique(items[items > 0])) == log.num_items - 3 * (split == "temporal")


@pytest.mark.parametrize("split", SPLITS)
def test_test_targets_change_nothing_but_the_test_metrics(runs, split):
    folder = runs / split / "selected"
    assert_same(folder / "log", folder / "permuted")
    assert_other_test(folder / "log", folder / "permuted")
    mine, theirs = (read(folder / which / "result.json") for which in ("log", "permuted"))
    for key in ("validation", "steps", "epochs", "stopped_early", "totals"):
        assert mine[key] == theirs[key], key
    chosen = [result["protocol"]["selected_epoch"] for result in (mine, theirs)]
    assert chosen[0] == chosen[1]
    for key in ("flips", "gate_epoch", "suspects", "most_flagged"):
        assert mine["false_negatives"][key] == theirs["false_negatives"][key], key
    lines = [
        [line for line in metric_lines(folder / which) if line["split"] == "validation"]
        for which in ("log", "permuted")
    ]
    for ours, others in zip(*lines, strict=True):
        assert ours["ndcg@10"] == others["ndcg@10"]
    assert {line["split"] for line in metric_lines(folder / "log")} == {"validation", "test"}


def test_train_items_do_reach_the_weights(runs):
    """So that equality above is no accident."""
    workdir, other = runs / SPLITS[0] / "ufnrec" / "log", runs / "control"
    for key, values in variables(workdir, "student").items():
        if np.ndim(values) == 2:
            assert (values != variables(other, "student")[key]).any()


def test_permuted_logs_are_what_they_should_be():
    log = make_log()
    for split in (
        leave_one_out(log),
        temporal(log, SplitSettings(validation_time=60, test_time=80)),
    ):
        for is_chosen in (~split.is_train, events_of_test(split)):
            other = permuted(log, is_chosen)
            assert (other.items[~is_chosen] == log.items[~is_chosen]).all()
            assert (other.items != log.items).sum() > 0.5 * is_chosen.sum() > 10
            assert sorted(other.items) == sorted(log.items)
    assert len(split.heldout_only_items) == 3
