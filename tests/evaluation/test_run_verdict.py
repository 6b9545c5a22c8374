"""The verdict on one run: baselines that win, validation that rises, a method that did nothing."""

from typing import Any

import numpy as np
import pytest

from ufnrec_tf.evaluation.run_verdict import (
    against_baseline,
    is_rising,
    validation_curve,
    verdict_lines,
)
from ufnrec_tf.evaluation.statistics import paired_difference

USERS = {part: np.repeat(np.arange(60), 2) for part in ("validation", "test")}
PART = {"run": 0.12, "baseline": 0.1, "estimate": 0.2, "low": 0.1, "high": 0.31}
WORSE = {"run": 0.05, "baseline": 0.1, "estimate": -0.5, "low": -0.6, "high": -0.4}


def result(*, found=None, of_memory=None, selected=8, **changed):
    return {
        "label": "SASRec+UFNRec",
        "test": {"ndcg@10": 0.12},
        "against_baseline": found,
        "is_rising": False,
        "steps": 90,
        "epochs": 9,
        "asked": {"num_epochs": 9, "max_steps": 0, "patience": 0},
        "memory": {"slots": 16},
        "protocol": {"selected_epoch": selected},
        "false_negatives": {"gate_epoch": 4, "flips": 7.0, **(of_memory or {})},
        **changed,
    }


def test_the_strongest_baseline_is_that_of_validation_and_pairs_are_users():
    rng = np.random.default_rng(0)
    own, weak, strong = (
        {part: rng.integers(1, most, 120) for part in USERS} for most in (15, 40, 20)
    )
    weak["test"] = np.ones(120, int)  # on test it would win
    found: Any = against_baseline([own], {"weak": weak, "strong": strong}, USERS)
    assert found["label"] == "strong"
    gains = {
        name: np.where(ranks["test"] <= 10, 1 / np.log2(1 + ranks["test"]), 0).reshape(60, 2)
        for name, ranks in (("own", own), ("strong", strong))
    }
    of_users = [values.mean(axis=1, keepdims=True) for values in gains.values()]
    expected = paired_difference(*of_users).relative
    assert found["test"]["run"] == pytest.approx(gains["own"].mean())
    assert [found["test"][key] for key in expected._fields] == pytest.approx(list(expected))
    assert against_baseline([own], {}, USERS) is None
    twice: Any = against_baseline([own, own], {"strong": strong}, USERS)
    assert twice["test"] == pytest.approx(found["test"])  # a seed more of the same adds no luck
    none = {part: np.full(120, 11) for part in USERS}  # a baseline without a hit has no ratio
    without: Any = against_baseline([own], {"none": none}, USERS)
    assert without["test"]["estimate"] is None


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.1, 0.2, 0.3], True),
        ([0.1, 0.2], False),  # too few to tell
        ([0.1, 0.3, 0.2], False),
        ([0.1, 0.2, 0.2], False),
        ([0.30, 0.20, 0.10, 0.31], False),  # one jump after a fall
    ],
)
def test_rising_is_a_last_that_is_best_at_the_end_of_a_slope(values, expected):
    assert is_rising(values) is expected


def test_the_curve_takes_the_better_weights_of_training_only():
    lines = [
        {"split": "validation", "step": 1, "mrr": 0.1},
        {"split": "validation", "step": 1, "mrr": 0.2},
        {"split": "test", "step": 1, "mrr": 0.9},
        {"split": "validation", "step": 2, "mrr": 0.3},
        {"split": "validation", "step": 2, "mrr": 0.8, "mode": "evaluate"},
    ]
    assert validation_curve(lines, "mrr") == [0.2, 0.3]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            {"found": {"label": "ItemKNN", "validation": PART, "test": PART}},
            "SASRec+UFNRec: NDCG@10 0.1200 on test, +20.0% against ItemKNN, the strongest baseline "
            "(95% interval +10.0% to +31.0%, over users of one run).",
        ),
        (
            {"found": {"label": "ItemKNN", "validation": WORSE, "test": PART}},
            "ItemKNN, a baseline, beats SASRec+UFNRec: NDCG@10 0.1000 against 0.0500 on "
            "validation. The run has -50.0% (-60.0% to -40.0%) there and +20.0% (+10.0% to +31.0%) "
            "on test; 95% intervals, over users of one run.",
        ),
        (
            {"found": {"label": "ItemKNN", "validation": {**WORSE, "high": 0.1}, "test": PART}},
            "ItemKNN, a baseline, is ahead of SASRec+UFNRec",
        ),
        (
            {"is_rising": True},
            "Validation was still rising at the last of 9 epochs: train longer "
            "(--config.training.num_epochs=18).",
        ),
        (
            {"is_rising": True, "asked": {"num_epochs": 20, "max_steps": 90}},
            "(--config.training.max_steps=180).",
        ),
        (
            {"of_memory": {"gate_epoch": None, "flips": 0.0}},
            "UFNRec never became active; this run is plain SASRec (the gate stayed shut).",
        ),
        (
            {"of_memory": {"flips": 0.0, "shown": 0.0}},
            "UFNRec never became active; this run is plain SASRec (the gate opened after epoch 4, "
            "and no label was flipped).",
        ),
        (
            {"of_memory": {"flips": 0.0, "shown": 5.0}},
            "UFNRec flipped no label; this run is SASRec that is shown hard negatives again",
        ),
        ({"selected": 4}, "UFNRec is not in the reported weights; they are plain SASRec"),
        ({"of_memory": {"flips": 0.0, "removals": 3.0}}, "SASRec+UFNRec: NDCG@10 0.1200 on test."),
        ({"memory": {"slots": 0}, "label": "SASRec"}, "SASRec: NDCG@10 0.1200 on test."),
    ],
)
def test_the_verdict_in_words(given, words):
    (line,) = verdict_lines(result(**given))
    assert words in line
