"""Differences, verdicts and summaries from ranks made up by hand."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ufnrec_tf.comparison.numbers import (
    FinishedRun,
    differences,
    flips_seen,
    is_hopeless,
    make_pairs,
    pooled_lifts,
    slice_numbers,
    user_values,
)
from ufnrec_tf.comparison.summary import _saw_flips, curve, json_value
from ufnrec_tf.evaluation.future_lift import LiftSums, pooled_lift
from ufnrec_tf.evaluation.user_groups import Slice
from ufnrec_tf.report.judgement import flips_words, headline, words
from ufnrec_tf.report.wording import relative_difference
from ufnrec_tf.training.arms import Arm

METRICS = ("hr@10", "ndcg@10", "mrr")


CONFIG = {"memory": {"policy": "plain"}}
SAFE = Arm("arm", {"memory.policy": "ufnrec_safe"})


def run_of(ranks, validation=None, *, gate=None, epoch=1, flips=0.0, lines=(), lifts=None):
    test = np.asarray(ranks, np.int64)
    ranks = {"test": test, "validation": test if validation is None else validation}
    users = {part: np.arange(len(values)) for part, values in ranks.items()}
    found = {"gate_epoch": gate, "flips": flips, "future": {"num_flagged": 5, "hits": 4}}
    result = {"protocol": {"selected_epoch": epoch}, "false_negatives": found}
    return FinishedRun(Path(), result, ranks, list(lines), users, lifts or {})


def pairs_of(runs, **settings):
    return make_pairs(runs, "base", metrics=METRICS, **settings)


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
    found = differences(pairs_of(runs), ["base", "arm", "none"], margin=0.01)
    assert list(found) == ["arm"]
    ndcg = found["arm"]["ndcg@10"]
    # Users: 0, (1 + 0) / 2, (0.5 + 1) / 2, 0.
    assert ndcg["absolute"]["estimate"] == pytest.approx((0 + 0.5 + 0.75 + 0) / 4)
    assert ndcg["relative"]["estimate"] == pytest.approx((3.125e-1) / (3 / 8))
    assert ndcg["seeds"] == [0, 1]
    assert ndcg["seed_differences"] == pytest.approx([1 / 4 + 0.5 / 4, 1 / 4])
    assert ndcg["seed_sd"] == pytest.approx(0.125 / np.sqrt(2))
    assert ndcg["same_sign"] == 2
    assert (ndcg["p"] < 0.05) == (ndcg["absolute"]["low"] > 0)
    moved = np.array([0, 0.5, 0.75, 0])
    assert ndcg["effect_size"] == pytest.approx(moved.mean() / moved.std(ddof=1))
    assert found["arm"]["hr@10"]["absolute"]["estimate"] == pytest.approx(1 / 4)


def runs_of_four(num_seeds, *, spread=12):
    """A reference and three arms, of which each is better for more users than the one before."""
    generator = np.random.default_rng(0)
    base = generator.integers(1, 60, size=400)
    runs = {}
    for seed in range(num_seeds):
        noise = generator.integers(0, spread, size=400)
        runs["base", seed] = run_of(base + noise)
        for number in range(3):
            swapped = generator.permutation(400) < 60 * (number + 1)
            noise = generator.integers(0, spread, size=400)
            runs[f"arm{number}", seed] = run_of(np.where(swapped, 1, base + noise))
    return runs


def test_p_values_are_corrected_over_the_arms_of_a_metric():
    arms = ["arm0", "arm1", "arm2"]
    found = differences(pairs_of(runs_of_four(3)), arms, margin=0.01)
    for metric in METRICS:
        raw = sorted(found[arm][metric]["p"] for arm in arms)
        corrected = sorted(found[arm][metric]["p_holm"] for arm in arms)
        expected = np.minimum(np.maximum.accumulate(np.array(raw) * [3, 2, 1]), 1)
        np.testing.assert_allclose(corrected, expected)
    assert found["arm2"]["mrr"]["verdict"] == "better"
    assert found["arm2"]["mrr"]["words"].startswith("better by ")


@pytest.mark.parametrize(("num_seeds", "few"), [(1, "one seed"), (2, "two seeds")])
def test_below_three_seeds_nothing_is_a_finding(num_seeds, few):
    found = differences(pairs_of(runs_of_four(num_seeds)), ["arm2"], margin=0.01)["arm2"]
    for metric in METRICS:
        assert found[metric]["verdict"] == "not a finding"
        assert found[metric]["words"].startswith(f"{few}: not a finding; +")
        assert ("users only" in found[metric]["words"]) == (num_seeds == 1)
        over = "users only" if num_seeds == 1 else "users and seeds"
        assert found[metric]["interval_over"] == over


def test_two_seeds_of_one_arm_handed_in_as_two_arms():
    generator = np.random.default_rng(3)
    base = generator.integers(1, 40, size=300)
    for _ in range(20):
        luck = [np.maximum(base + generator.integers(-15, 15, size=300), 1) for _ in range(4)]
        for seeds in ((0,), (0, 1)):
            runs = {("base", seed): run_of(luck[seed]) for seed in seeds}
            runs |= {("arm", seed): run_of(luck[2 + seed]) for seed in seeds}
            found = differences(pairs_of(runs), ["arm"], margin=0.01)["arm"]
            assert {row["verdict"] for row in found.values()} == {"not a finding"}


def test_reported_weights_that_saw_no_flip_are_counted():
    base = [1, 3, 20, 20]
    line = {"epoch": 4, "flips": 0.0, "positions": 9.0}
    runs = {("base", seed): run_of(base) for seed in range(4)}
    runs["arm", 0] = run_of([1, 1, 20, 20], gate=3, epoch=6, flips=50.0)
    runs["arm", 1] = run_of(base, gate=3, epoch=3, flips=50.0)  # of an epoch before the gate
    runs["arm", 2] = run_of(base, epoch=6)  # shut
    runs["arm", 3] = run_of(base, gate=3, epoch=4, flips=50.0, lines=[line])  # none until then
    assert [flips_seen(runs["arm", seed]) for seed in range(4)] == [50, 0, 0, 0]
    pairs = pairs_of(runs)
    own = {seed: runs["arm", seed] for seed in range(4)}
    seen = _saw_flips(SAFE, own, pairs, config=CONFIG, margin=0.01)
    assert seen is not None
    assert (seen["seeds"], seen["of"]) == ([0], [0, 1, 2, 3])
    whole = differences(pairs, ["arm"], margin=0.01)["arm"]["ndcg@10"]
    among = seen["difference"]["ndcg@10"]
    assert among["absolute"]["estimate"] == pytest.approx(4 * whole["absolute"]["estimate"])
    assert flips_words(seen).startswith(
        "reported weights saw flips: 1 of 4 seeds; among those one seed: not a finding; +33.3%"
    )
    assert _saw_flips(Arm("arm", {}), own, pairs, config=CONFIG, margin=0.01) is None


def test_lifts_are_pooled_over_seeds_and_users_drawn_once():
    def sums(users, hits):
        ones = np.ones(len(users))
        return LiftSums(np.array(users, object), ones * 4, np.array(hits), ones, ones, ones)

    one = {"m": sums(["b", "a"], [2.0, 0.0])}
    other = {"m": sums(["c", "b"], [1.0, 3.0])}
    runs = [run_of([1], lifts=one), run_of([1], lifts=other), run_of([1])]
    lifts = pooled_lifts(runs, 500)
    assert lifts is not None
    found = lifts["m"]
    assert (found["pairs"], found["hits"], found["lift"]) == (16, 6, 1.5)
    assert (found["runs"], found["flagged"], found["all_hits"]) == (2, 10, 8)
    # As of one run in which the user b has the pairs of both.
    ones = np.array([1.0, 2.0, 1.0])
    whole = LiftSums(np.arange(3), ones * 4, np.array([0.0, 5.0, 1.0]), ones, ones, ones)
    expected = pooled_lift([whole], num_resamples=500)
    assert {key: found[key] for key in expected} == expected
    assert pooled_lifts([run_of([1])], 500) is None


def test_slices_are_of_their_users_alone():
    runs = {("base", 0): run_of([1, 1, 20, 20]), ("arm", 0): run_of([1, 1, 1, 20])}
    parts = [
        Slice("f", "first", np.array([True, True, False, False]), 2),
        Slice("f", "last", np.array([False, False, True, True]), 2),
    ]
    first, last = slice_numbers(runs, parts, ["base", "arm", "none"], "base")
    assert (first["users"], last["users"]) == (2, 2)
    assert first["arms"]["base"] == {
        "mean": 1.0,
        "absolute": None,
        "relative": None,
        "hits": 2,
    }
    assert [last["arms"][arm]["hits"] for arm in ("base", "arm", "none")] == [0, 0, None]
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
        return is_hopeless(runs, arm, "base", metric="ndcg@10", margin=margin)

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


@pytest.mark.parametrize(
    ("verdict", "num_seeds", "relative", "expected"),
    [
        ("better", 5, (0.021, 0.008, 0.034), "better by 2.1% (+0.8% to +3.4%)"),
        ("worse", 5, (-0.09, -0.2, -0.01), "worse by 9.0% (-20.0% to -1.0%)"),
        ("no difference", 5, (0.001, -0.004, 0.006), "no difference above 1.0% (-0.4% to +0.6%)"),
        (
            "undecided",
            3,
            (-0.09, -0.206, 0.027),
            "undecided: -9.0% (-20.6% to +2.7%), same sign in 2 of 3 seeds",
        ),
        (
            "undecided",
            5,
            (0.018, 0.001, 0.035),
            "undecided: +1.8% (+0.1% to +3.5%), same sign in 2 of 5 seeds; that interval is of "
            "this arm by itself, among all arms p is .081 (Holm)",
        ),
        (
            "not a finding",
            1,
            (0.041, 0.01, 0.072),
            "one seed: not a finding; +4.1% (+1.0% to +7.2%, users only)",
        ),
        (
            "not a finding",
            2,
            (0.041, -0.1, 0.2),
            "two seeds: not a finding; +4.1% (-10.0% to +20.0%), same sign in 2 of 2 seeds",
        ),
        (
            "undecided",
            3,
            (math.nan, math.nan, math.nan),
            "undecided: unknown, the reference is 0 (no interval), same sign in 2 of 3 seeds",
        ),
    ],
)
def test_verdicts_in_words(verdict, num_seeds, relative, expected):
    found = {
        "verdict": verdict,
        "relative": dict(zip(("estimate", "low", "high"), relative, strict=True)),
        "seeds": list(range(num_seeds)),
        "same_sign": 2,
        "margin": 0.01,
        "p_holm": 0.081,
    }
    assert words(found) == expected


def test_words():
    rows: list[dict[str, Any]] = [
        {"name": "base", "difference": None},
        {"name": "none", "difference": None},
        {"name": "a", "difference": {"ndcg@10": {"words": "better by 2.1% (+0.8% to +3.4%)"}}},
        {"name": "b", "difference": {"ndcg@10": {"words": "undecided: +1.0% (-1.0% to +3.0%)"}}},
    ]
    assert headline(rows, "base") == (
        "NDCG@10 against base. a: better by 2.1% (+0.8% to +3.4%). b: undecided: +1.0% (-1.0% to "
        "+3.0%). Not compared yet: none."
    )
    assert relative_difference({"estimate": math.nan, "low": 0.0, "high": 0.0}) == "reference is 0"
    unknown = {"estimate": 0.1, "low": math.nan, "high": math.nan}
    assert relative_difference(unknown) == "+10.0%, interval unknown"
    assert json_value({"a": (1, math.inf), "b": {"c": [2.5]}}) == {
        "a": [1, None],
        "b": {"c": [2.5]},
    }
