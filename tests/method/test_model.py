"""The training step in `keras.Model.fit` against the oracle's, step by step."""

import functools
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.tiny import (
    NUM_ITEMS,
    Run,
    RunSettings,
    StepTrace,
    make_run,
    split_of,
    tiny_histories,
    train,
)
from tests.reference.oracle_run import OracleRun
from ufnrec_tf.method.candidates import decide, propose
from ufnrec_tf.method.model import UFNRecModel
from ufnrec_tf.method.policies import POLICIES
from ufnrec_tf.method.positions import pack_batch
from ufnrec_tf.method.step_state import NEVER, SUM_NAMES

RUNS = {
    "faithful": RunSettings(
        duplicates=True,
        consistency_mean="flipped",
        draw="with_replacement",
        num_slots=64,
        max_flips=0,
        agreement="none",
    ),
    "default": RunSettings(open_at=4, l2=0.01),
    "corrected": RunSettings(
        variant="corrected",
        is_cumulative=False,
        is_sticky=True,
        soft_label_only=True,
        capacity=2,
        windows="all",
        max_flips=0,
        agreement="half",
        has_teacher_always=True,
        num_steps=24,
    ),
    "flip": RunSettings(policy="flip", num_slots=2, is_sticky=True, max_flips=0),
    "remove": RunSettings(
        policy="remove",
        duplicates=True,
        max_flips=2,
        num_steps=24,
        compiles=True,
        smaller_capacities=(8,),
    ),
    "replay": RunSettings(policy="replay", num_steps=24),
    "prefixes": RunSettings(
        windows="prefixes",
        batch_size=16,
        max_flips=0,
        compiles=True,
        smaller_capacities=(8,),
    ),
    # Every step visits everybody and one showing is enough, so that flips come at once.
    "timing": RunSettings(
        open_at=2,
        patience=0,
        batch_size=12,
        soft_label_only=True,
        max_flips=0,
        agreement="none",
        num_steps=6,
    ),
    "shut": RunSettings(open_at=None, num_steps=6),
    "plain": RunSettings(policy="plain", has_teacher_always=True, num_steps=12),
}
RUNS |= {  # as few programs to compile as it takes: one alone, one of two by the batch's size
    f"compiled {name}": replace(RUNS[name], compiles=True, smaller_capacities=smaller)
    for name, smaller in (("default", ()), ("faithful", (8,)))
}


@functools.cache
def trained(name: str) -> Run:
    return train(make_run(RUNS[name], split_of(tiny_histories(), NUM_ITEMS)))


@pytest.mark.parametrize(
    "name",
    [name if name == "default" else pytest.param(name, marks=pytest.mark.slow) for name in RUNS],
)
def test_run_equals_the_oracles(name):
    seen = OracleRun(trained(name)).compare()
    name = name.removeprefix("compiled ")
    policy = RUNS[name].policy
    is_open = policy != "plain" and RUNS[name].open_at is not None
    assert (seen["shown"] > 100) == is_open
    assert (seen["flips"] > 20) == (is_open and policy in ("flip", "ufnrec"))
    assert (seen["removals"] > 20) == (policy == "remove")
    assert (seen["taught_steps"] > 1) == (is_open and policy == "ufnrec")
    assert (seen["evictions"] > 10) == (name == "flip")
    assert (seen["fresh_excluded"] > 0) == (is_open and not RUNS[name].duplicates)
    assert (seen["vetoes"] > 5) == (name in ("default", "corrected", "prefixes"))
    assert (seen["over_limit"] > 20) == (
        name in ("default", "remove", "corrected", "replay", "prefixes")
    )


def is_empty(step: StepTrace) -> bool:
    return not any(step.tables[name].any() for name in ("items", "states"))


def assert_equal_weights(found: list[np.ndarray], expected: list[np.ndarray]) -> None:
    for mine, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_gate_opens_recording_then_teacher_then_its_scores():
    """a = 2: recorded in step 2, teacher made in step 3, its scores from step 4."""
    steps = trained("timing").steps
    assert [is_empty(step) for step in steps] == [True, True, False, False, False, False]
    assert [step.sums["shown"] > 0 for step in steps] == [False] * 3 + [True] * 3
    # Flips come with the first showing, a step before the teacher's first scores.
    assert [step.sums["flips"] > 0 for step in steps] == [False] * 3 + [True] * 3
    assert [step.sums["teacher_users"] > 0 for step in steps] == [False] * 4 + [True] * 2
    assert [step.sums["consistency"] > 0 for step in steps] == [False] * 4 + [True] * 2


def test_teacher_is_made_of_the_weights_before_the_step_after_the_activating_one():
    steps = trained("timing").steps
    for step in steps[:3]:
        assert_equal_weights(step.teacher_after, step.weights_after)
    first = [
        2 / 11 * before + 9 / 11 * after
        for before, after in zip(steps[3].weights, steps[3].weights_after, strict=True)
    ]
    for mine, theirs in zip(steps[3].teacher_after, first, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=2e-7)
    second = [
        3 / 12 * before + 9 / 12 * after
        for before, after in zip(steps[3].teacher_after, steps[4].weights_after, strict=True)
    ]
    for mine, theirs in zip(steps[4].teacher_after, second, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=2e-7)


@pytest.mark.slow
def test_shut_gate_is_plain_training():
    """Bit for bit what `plain` does: nothing is shown, recorded, flipped or taught."""
    shut, plain = trained("shut"), trained("plain")
    for mine, theirs in zip(shut.steps, plain.steps, strict=False):
        assert is_empty(mine)
        assert_equal_weights(mine.weights_after, theirs.weights_after)
        assert_equal_weights(mine.teacher_after, mine.weights_after)
    assert plain.memory is None and shut.memory is not None


@pytest.mark.slow
def test_remove_leaves_suspects_out_and_replay_finds_none():
    removed, replayed = (
        {name: sum(step.sums[name] for step in trained(policy).steps) for name in SUM_NAMES}
        for policy in ("remove", "replay")
    )
    assert removed["removals"] > 0 and removed["flips"] == removed["consistency"] == 0
    assert replayed["shown"] > 0
    assert replayed["flips"] == replayed["removals"] == replayed["consistency"] == 0
    for policy, sums in (("remove", removed), ("replay", replayed)):
        memory = trained(policy).memory
        assert memory is not None and memory.read_counters()["ripe"] == sums["removals"]


def test_every_user_is_counted_once_an_epoch_and_no_step_repeats_another():
    run = trained("default")
    assert len({round(loss, 6) for loss in run.losses}) == len(run.losses)
    users = [step.sums["users"] for step in run.steps]
    assert users == [4, 4, 2] * 12


@pytest.mark.usefixtures("without_graphs")
def test_first_step_that_is_not_finite_is_noted():
    settings = replace(RUNS["plain"], has_teacher_always=False, num_steps=3)
    run = make_run(settings, split_of(tiny_histories(), NUM_ITEMS))
    train(run)
    assert int(run.host.first_bad_step) == NEVER
    table = run.model.backbone.item_table
    table.assign(table * np.nan)
    run.model.fit(run.dataset(), steps_per_epoch=2, shuffle=False, verbose=0)
    assert int(run.host.first_bad_step) == 3


@pytest.mark.usefixtures("without_graphs")
@pytest.mark.parametrize("policy", ["plain", "ufnrec"])
def test_shared_negatives_scored_in_one_product_train_as_scored_one_by_one(policy):
    """The memory shows up to two candidates of six: four columns are shared."""
    settings = RunSettings(
        policy=policy, shares=True, num_slots=2, patience=0, agreement="none", num_steps=6
    )
    runs = []
    for shares in (True, False):
        runs.append(make_run(settings, split_of(tiny_histories(), NUM_ITEMS)))
        runs[-1].model._shares_negatives = shares
        train(runs[-1])
    together, apart = runs
    np.testing.assert_allclose(together.losses, apart.losses, rtol=1e-6)
    for mine, theirs in zip(together.steps, apart.steps, strict=True):
        assert mine.sums["flips"] == theirs.sums["flips"]
        for weight, other in zip(mine.weights_after, theirs.weights_after, strict=True):
            np.testing.assert_allclose(weight, other, rtol=0, atol=1e-5)
    assert (sum(step.sums["flips"] for step in together.steps) > 5) == (policy == "ufnrec")


@pytest.mark.usefixtures("without_graphs")
@pytest.mark.parametrize("shares", [False, True])
def test_lazy_rows_move_only_in_steps_that_read_them(shares):
    """The first step is Adam's, the average in each step that of all rows."""
    settings = RunSettings(policy="plain", has_teacher_always=True, shares=shares, num_steps=3)
    split = split_of(tiny_histories(), 200)
    dense, lazy = (
        train(make_run(replace(settings, lazy_rows=on), split)).steps for on in (False, True)
    )
    for mine, theirs in zip(lazy[0].weights_after, dense[0].weights_after, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-6)
    moved = [
        [(step.weights[0] != step.weights_after[0]).any(axis=1).sum() for step in steps]
        for steps in (dense, lazy)
    ]
    assert moved[0][2] > moved[1][2] > 10
    average = lazy[0].weights
    for number, step in enumerate(lazy, 1):
        decay = (1 + number) / (10 + number)
        average = [
            decay * old + (1 - decay) * new
            for old, new in zip(average, step.weights_after, strict=True)
        ]
        for mine, theirs in zip(step.teacher_after, average, strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-6)


def test_random_flips_spend_the_suspects_in_whose_place_others_were_flipped():
    settings = RunSettings(policy="random", num_negatives=4, patience=0, max_flips=1)
    run = make_run(settings, split_of(tiny_histories(), NUM_ITEMS))
    positions = pack_batch(next(iter(run.dataset())))
    rows, num_rows = positions.rows, len(positions.rows)
    is_hard = tf.ones([num_rows, 4], tf.bool)
    four = tf.tile([[1, 2, 3, 4]], [num_rows, 1])
    assert run.memory is not None
    run.memory.record(rows, run.memory.lookup(rows, four), is_hard)
    found = run.memory.lookup(rows, tf.fill([num_rows, 4], 5))
    assert found.is_suspect.numpy().sum(axis=1).tolist() == [1] * num_rows
    run.host.open_gate(0)
    run.model.optimizer.iterations.assign(1)
    entries = decide(propose(POLICIES["random"], positions, found), num_probes=0)
    run.model._record(positions, found, is_hard, entries)
    left = run.memory.lookup(rows, tf.fill([num_rows, 4], 5))
    suspects = found.negatives[found.is_suspect]
    assert not (left.negatives == suspects[:, None]).numpy().any()
    assert left.is_shown.numpy().sum(axis=1).tolist() == [3] * num_rows


def test_keras_still_asks_for_the_symbolic_build_that_the_model_leaves_out(monkeypatch):
    """A private name: if Keras gives it up, what the model overrides must be found anew."""

    class AskedError(Exception):
        pass

    def ask(self, iterator=None, data_batch=None):
        raise AskedError

    monkeypatch.setattr(UFNRecModel, "_maybe_symbolic_build", ask)
    run = make_run(RUNS["plain"], split_of(tiny_histories(), NUM_ITEMS))
    with pytest.raises(AskedError):
        run.model.fit(run.dataset(), steps_per_epoch=1, shuffle=False, verbose=0)
