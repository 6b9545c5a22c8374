"""Tests of the gate against the oracle and by hand; its state in a checkpoint."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from tests.helpers.tiny import split_of
from tests.reference.oracle_training import plateau_epoch
from ufnrec_tf.config import load_config
from ufnrec_tf.evaluation.baselines import Popularity, baseline_ranks
from ufnrec_tf.evaluation.metrics import metrics_from_ranks
from ufnrec_tf.method.gate import GATES, EpochsGate, NeverGate, PlateauGate, ValidationGate
from ufnrec_tf.training.train import _floor


def opening(gate, losses=None, metrics=None, *, through_json=False, make=None):
    """Returns the number of epochs completed when the gate opens, or None."""
    if gate.opens_at_start():
        return 0
    length = len(losses if losses is not None else metrics)
    for epoch in range(1, length + 1):
        if through_json:  # as when a run stops after each epoch
            state = json.loads(json.dumps(gate.state))
            gate = make()
            gate.state = state
        loss = float(losses[epoch - 1]) if losses is not None else 1.0
        metric = metrics[epoch - 1] if metrics is not None else None
        if gate.opens_after(epoch=epoch, loss_sum=loss, metric=metric):
            return epoch
    return None


def random_losses(rng):
    """A falling curve with noise; some flat, some rising, some with ties."""
    epochs = rng.integers(1, 40)
    curve = rng.uniform(0.5, 2) * np.exp(-np.arange(epochs) / rng.uniform(1, 30))
    curve += rng.choice([0, 1e-4, 1e-2, 0.1]) * rng.normal(size=epochs)
    return np.round(100 * curve, rng.integers(0, 6))


@pytest.mark.parametrize("through_json", [False, True])
def test_plateau_agrees_with_the_oracle(through_json):
    rng = np.random.default_rng(0)
    opened = 0
    for _ in range(300):
        losses = random_losses(rng)
        # The oracle names the first active epoch, from 1: the gate opens one epoch before.
        expected = plateau_epoch(losses.tolist())
        got = opening(PlateauGate(), losses, through_json=through_json, make=PlateauGate)
        assert got == (None if expected is None else expected - 1)
        opened += got is not None
    assert 50 < opened < 300


def test_plateau_by_hand():
    falling = [100, 90, 80, 70, 60, 50]  # the first fall is 50: the limit is .25
    assert opening(PlateauGate(), [*falling, 40, 30, 20]) is None
    assert opening(PlateauGate(), [*falling, 40, 39.8]) == 8  # the earliest: active in epoch 9
    assert opening(PlateauGate(), [*falling, 49.9, 39, 28]) is None  # flat before it may open
    assert opening(PlateauGate(), [*falling, 40, 30, 29.75]) is None  # exactly the limit
    assert opening(PlateauGate(), [*falling, 40, 30, 29.76]) == 9
    assert opening(PlateauGate(), [*falling, 40, 30, 31]) == 9  # any rise


@pytest.mark.parametrize("through_json", [False, True])
def test_validation_waits_for_its_patience(through_json):
    def make():
        return ValidationGate(2)

    def first(metrics):
        return opening(make(), metrics=metrics, through_json=through_json, make=make)

    assert first([0.1, 0.2, 0.3, 0.4]) is None
    assert first([0.1, 0.2, 0.2, 0.1]) == 4  # a tie is no rise
    assert first([0.1, 0.05, 0.2, 0.15, 0.21, 0.2, 0.2]) == 7
    assert first([0.3, 0.1, 0.2]) == 3  # below the best, though rising
    assert first([0.2, None, 0.1, None, None, 0.1]) == 6  # epochs without an evaluation


def test_validation_opens_while_the_metric_still_creeps():
    metrics = [0.10, 0.15, 0.19, 0.20, 0.204, 0.207]
    assert opening(ValidationGate(2, 0.0, 0.05), metrics=metrics) == 6  # .207 / .200
    assert opening(ValidationGate(2, 0.0, 0.1), metrics=metrics) == 5  # .204 / .190
    assert opening(ValidationGate(2, 0.0, 0.0), metrics=metrics) is None


def test_validation_stays_shut_below_its_floor():
    metrics = [0.1, 0.1, 0.1, 0.1, 0.5, 0.4, 0.4]
    assert opening(ValidationGate(2), metrics=metrics) == 3
    assert opening(ValidationGate(2, 0.3), metrics=metrics) == 7
    assert opening(ValidationGate(2, 0.6), metrics=metrics) is None


def test_epochs_and_never():
    losses = [1.0] * 30
    assert opening(EpochsGate(0), losses) == 0
    assert opening(EpochsGate(1), losses) == 1
    assert opening(EpochsGate(20), losses) == 20
    assert opening(EpochsGate(31), losses) is None
    assert opening(NeverGate(), losses) is None


def test_a_run_that_goes_on_past_its_epoch_opens_at_once():
    assert EpochsGate(3).opens_after(epoch=7, loss_sum=1.0, metric=None)


@pytest.mark.parametrize("kind", sorted(GATES))
def test_every_kind_starts_with_a_state_that_json_keeps(kind):
    gate = GATES[kind](SimpleNamespace(epochs=2, patience=3, least_rise=0.05), 0.0)
    assert json.loads(json.dumps(gate.state)) == gate.state


def test_the_floor_ranks_popularity_under_the_mask_of_the_evaluation():
    """Item 1 is the most popular, and a validation target of users who have it behind them.

    The mask hides it from them, so that popularity ranks their target last; without a mask, first.
    """
    split = split_of([[1, 2, 1, 3], [1, 3, 1, 2], [1, 4, 2, 3]], num_items=4)
    floors = {}
    for mask in ("seen", "train", "none"):
        config = load_config("", [("gate.popularity_lift", "1.5"), ("evaluation.mask", mask)])
        floors[mask] = _floor(config, split)
        ranks = baseline_ranks(Popularity().fit(split), split, "validation", mask=mask)
        assert floors[mask] == 1.5 * metrics_from_ranks(ranks)["ndcg@10"]
    assert floors["none"] > 1.2 * floors["seen"]
