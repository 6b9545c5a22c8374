"""Differences, verdicts and summaries from ranks made up by hand."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ufnrec_tf.comparison.numbers import (
    FinishedRun,
    differences,
    is_hopeless,
    make_pairs,
    slice_numbers,
    user_values,
)
from ufnrec_tf.comparison.summary import curve, headline, json_value
from ufnrec_tf.evaluation.statistics import Difference, Interval, verdict
from ufnrec_tf.evaluation.user_groups import Slice
from ufnrec_tf.report.wording import relative_difference

METRICS = ("hr@10", "ndcg@10", "mrr")


def run_of(ranks, validation=None):
    test = np.asarray(ranks, np.int64)
    ranks = {"test": test, "validation": test if validation is None else validation}
    users = {part: np.arange(len(values)) for part, values in ranks.items()}
    return FinishedRun(Path(), {}, ranks, [], users)


def pairs_of(runs, **settings):
    return make_pairs(runs, "base", metrics=METRICS, num_resamples=500, **settings)


def test_values_of_users():
    values = user_values(np.array([1, 3, 10, 11]), np.arange(4), METRICS)
    expected = np.array([[1, 1, 1], [1, 0.5, 1 / 3], [1, 1 / math.log2(11), 0.1], [0, 0, 1 / 11]])
    np.testing.assert_allclose(values, expected)


def test_a_difference_by_hand_over_two_seeds():
    runs = {
        ("base", 0): run_of([1, 20, 3, 20]),
        ("base", 1): run_of([1, 3, 20, 20]),
        ("arm", 0): run_of([1, 1, 1, 20]),
        ("arm", 1): run_of([1, 3, 1, 20]),
        ("arm", 2): run_of([20, 20, 20, 20]),  # the reference has no such seed
    }
    found = differences(pairs_of(runs), ["base", "arm", "none"], 500)
    assert list(found) == ["arm"]
    ndcg = found["arm"]["ndcg@10"]
    # Users: 0, (1 + 0) / 2, (0.5 + 1) / 2, 0.
    assert ndcg["absolute"]["estimate"] == pytest.approx((0 + 0.5 + 0.75 + 0) / 4)
    assert ndcg["relative"]["estimate"] == pytest.approx((3.125e-1) / (3 / 8))
    # Of two users that moved, both one way: 2 of 4 flips are as far.
    assert ndcg["p"] == 0.5
    assert ndcg["seeds"] == [0, 1]
    moved = np.array([0, 0.5, 0.75, 0])
    assert ndcg["effect_size"] == pytest.approx(moved.mean() / moved.std(ddof=1))
    assert found["arm"]["hr@10"]["absolute"]["estimate"] == pytest.approx(1 / 4)


def test_p_values_are_corrected_over_the_arms_of_a_metric():
    generator = np.random.default_rng(0)
    base = generator.integers(1, 60, size=400)
    runs = {("base", 0): run_of(base)}
    for number in range(3):
        swapped = generator.permutation(400) < 40 * (number + 1)
        runs[f"arm{number}", 0] = run_of(np.where(swapped, np.maximum(base - 8, 1), base))
    arms = ["arm0", "arm1", "arm2"]
    found = differences(pairs_of(runs), arms, 500)
    for metric in METRICS:
        raw = sorted(found[arm][metric]["p"] for arm in arms)
        corrected = sorted(found[arm][metric]["p_holm"] for arm in arms)
        expected = np.minimum(np.maximum.accumulate(np.array(raw) * [3, 2, 1]), 1)
        np.testing.assert_allclose(corrected, expected)
    assert found["arm2"]["mrr"]["verdict"] == "better"


@pytest.mark.parametrize(
    ("low", "high", "p", "expected"),
    [
        (0.1, 0.3, 0.01, "better"),
        (-0.3, -0.1, 0.01, "worse"),
        (0.1, 0.3, 0.06, "no difference shown"),
        (-0.1, 0.3, 0.01, "no difference shown"),
    ],
)
def test_a_verdict_needs_both_interval_and_test(low, high, p, expected):
    interval = Interval((low + high) / 2, low, high)
    assert verdict(Difference(interval, interval), p) == expected


def test_slices_are_of_their_users_alone():
    runs = {("base", 0): run_of([1, 1, 20, 20]), ("arm", 0): run_of([1, 1, 1, 20])}
    parts = [
        Slice("f", "first", np.array([True, True, False, False]), 2),
        Slice("f", "last", np.array([False, False, True, True]), 2),
    ]
    first, last = slice_numbers(runs, parts, ["base", "arm", "none"], "base", 300)
    assert (first["users"], last["users"]) == (2, 2)
    assert first["arms"]["base"] == {"mean": 1.0, "absolute": None, "relative": None}
    assert first["arms"]["arm"]["absolute"] == {"estimate": 0.0, "low": 0.0, "high": 0.0}
    assert last["arms"]["arm"]["mean"] == 0.5
    assert last["arms"]["arm"]["absolute"]["estimate"] == 0.5
    assert last["arms"]["none"]["mean"] is None


def test_hopeless_is_a_matter_of_the_whole_interval_on_validation():
    generator = np.random.default_rng(1)
    base = generator.integers(1, 12, size=300)
    worse = np.where(generator.random(300) < 0.5, 40, base)
    good = np.ones(300, np.int64)  # on test, which must not count
    runs = {("base", 0): run_of(base, base), ("arm", 0): run_of(good, worse)}

    def judge(margin, arm="arm"):
        return is_hopeless(runs, arm, "base", metric="ndcg@10", margin=margin, num_resamples=300)

    assert judge(0.05)
    assert not judge(0.7)  # half is lost
    assert not judge(0.05, arm="base")
    assert not judge(0.05, arm="none")


def test_a_curve_over_seeds():
    def line(epoch, value, **totals):
        return {"epoch": epoch, "ndcg@10": value, **totals}

    first = [line(2, 0.1, flips=10.0, positions=1000.0), line(4, 0.3, flips=10.0, positions=2000.0)]
    second = [line(2, 0.2, flips=0.0, positions=1000.0)]
    found = curve([first, second])
    assert found == {
        "epoch": [2, 4],
        "mean": [pytest.approx(0.15), 0.3],
        "low": [0.1, 0.3],
        "high": [0.2, 0.3],
        "seeds": [2, 1],
        "flips": [5.0, 0.0],
    }
    assert curve([[line(1, 0.5)]])["flips"] == [None]  # of runs that did not record them
    assert curve([])["epoch"] == []


def test_words():
    relative = {"estimate": 0.021, "low": 0.008, "high": 0.034}
    rows: list[dict[str, Any]] = [
        {"name": "base", "difference": None},
        {"name": "none", "difference": None},
    ]
    for name, word in (("a", "better"), ("b", "no difference shown"), ("c", "better")):
        rows.append(
            {"name": name, "difference": {"ndcg@10": {"verdict": word, "relative": relative}}}
        )
    assert headline(rows, "base") == (
        "NDCG@10 against base. Better: a (+2.1%, +0.8% to +3.4%), c (+2.1%, +0.8% to +3.4%). "
        "No difference shown: b. Not compared yet: none."
    )
    assert relative_difference({"estimate": math.nan, "low": 0.0, "high": 0.0}) == "reference is 0"
    assert json_value({"a": (1, math.inf), "b": {"c": [2.5]}}) == {
        "a": [1, None],
        "b": {"c": [2.5]},
    }
