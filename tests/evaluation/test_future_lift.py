"""Flagged pairs against the future: by loops over everything, by known lifts, and by few hits."""

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.helpers.logs import build_interactions
from tests.helpers.tiny import interactions_of
from ufnrec_tf.data.splits import Split, SplitSettings, leave_one_out, temporal
from ufnrec_tf.evaluation.future_lift import future_lift, popularity_bins
from ufnrec_tf.evaluation.planted_detection import auc

BOTH = ("matched_on_popularity", "matched_on_popularity_and_score")
Pairs = list[tuple[int, int]]


def lift_of(split: Split, pairs: Pairs, seed: int = 0, **settings) -> dict[str, Any]:
    """`future_lift` with random vectors, or those given."""
    rng = np.random.default_rng(seed)
    log, known = split.interactions, sorted({user for user, _ in pairs})
    table = settings.pop("item_table", rng.normal(size=(log.num_items + 1, 4)).astype(np.float32))
    vectors = settings.pop("vectors", rng.normal(size=(log.num_users, 4)).astype(np.float32))
    users, items = (np.array(column, np.int32) for column in zip(*pairs, strict=True))
    found = future_lift(split, users, items, vectors=vectors[known], item_table=table, **settings)
    return found.values


def log_by_time(seed: int = 0) -> Split:
    rng = np.random.default_rng(seed)
    rows = [
        (f"u{user}", f"i{int(rng.integers(30) ** 1.3)}", float(time))
        for user in range(25)
        for time in rng.choice(100, size=int(rng.integers(4, 20)), replace=False)
    ]
    frame = pd.DataFrame(rows, columns=["user", "item", "time"])
    log = build_interactions(frame, sha256="", source="log")
    return temporal(log, SplitSettings(validation_time=50, test_time=75))


def log_by_last(seed: int = 0) -> Split:
    rng = np.random.default_rng(seed)
    histories = [
        (1 + (rng.random(int(rng.integers(3, 15))) ** 2 * 40).astype(int)).tolist()
        for _ in range(40)
    ]
    return leave_one_out(interactions_of(histories, 40))


def looped(split: Split, pairs: Pairs, vectors, table, num_bins: int, half: int):
    """Hits, pairs with controls, and the two rates of controls, pair by pair."""
    log = split.interactions
    bins = popularity_bins(split, num_bins)
    trained: list[set[int]] = [set() for _ in range(log.num_users)]
    later: list[set[int]] = [set() for _ in range(log.num_users)]
    for user, item, is_train in zip(log.users, log.items, split.is_train, strict=True):
        (trained if is_train else later)[user].add(int(item))
    flagged = {(user, item) for user, item in pairs if item not in trained[user]}
    hits, rates, near_rates = 0, [], []
    for user, item in sorted(flagged):
        hits += item in later[user]
        controls = [
            other
            for other in range(1, log.num_items + 1)
            if bins[other] == bins[item] >= 0
            and other not in trained[user]
            and (user, other) not in flagged
        ]
        if not controls:
            continue
        scores = table @ vectors[user]
        rates.append(np.mean([other in later[user] for other in controls]))
        order = sorted(controls, key=lambda other: scores[other])
        above = [other for other in order if scores[other] > scores[item]][:half]
        below = [other for other in order if scores[other] < scores[item]][-half:]
        if len(above) == len(below) == half:
            near_rates.append(np.mean([other in later[user] for other in above + below]))
    return len(flagged), hits, rates, near_rates


@pytest.mark.parametrize("make", [log_by_last, log_by_time])
@pytest.mark.parametrize("seed", range(3))
def test_rates_are_those_of_loops(make, seed):
    split, rng = make(seed), np.random.default_rng(seed)
    log = split.interactions
    known = split.training_items
    pairs = [(int(rng.integers(log.num_users)), int(rng.choice(known))) for _ in range(400)]
    table = rng.normal(size=(log.num_items + 1, 4)).astype(np.float32)
    vectors = rng.normal(size=(log.num_users, 4)).astype(np.float32)
    found = lift_of(split, pairs, vectors=vectors, item_table=table, num_bins=4, num_controls=4)
    num_flagged, hits, *rates = looped(split, pairs, vectors, table, 4, 2)
    assert (found["num_flagged"], found["hits"]) == (num_flagged, hits)
    assert hits > 3 and found["rate"] == pytest.approx(hits / num_flagged)
    for name, expected in zip(BOTH, rates, strict=True):
        assert found[name]["pairs"] == len(expected)
        assert found[name]["rate"] == pytest.approx(np.mean(expected), rel=1e-6)
        assert np.mean(expected) > 0
        assert found[name]["low"] <= found[name]["lift"] < found[name]["high"]
    json.dumps(found, allow_nan=False)


def test_bins_hold_items_of_similar_popularity():
    counts = [0, 1, 1, 2, 3, 3, 4, 5, 6, 7, 8, 9, 30, 31, 33, 100] + [0] * 26
    train = [item for item, count in enumerate(counts, start=1) for _ in range(count)]
    split = leave_one_out(interactions_of([[*train, 1, 2], [3, 1, 2]], len(counts)))
    counts[2] += 1
    bins = popularity_bins(split, 5)  # two, of 21 items each
    assert bins[0] == -1
    groups: dict[int, list[int]] = {}
    for item, number in enumerate(bins[1:]):
        groups.setdefault(int(number), []).append(counts[item])
    assert sorted(map(sorted, groups.values())) == [
        [0] * 6, [0] * 21, [1], [2, 2, 3, 3], [4, 5, 6, 7], [8, 9], [30, 31], [33], [100],
    ]  # fmt: skip
    # New items of a period are no controls.
    late = log_by_time()
    assert (popularity_bins(late)[1:] >= 0).tolist() == np.isin(
        np.arange(1, late.interactions.num_items + 1), late.training_items
    ).tolist()


NUM_USERS, NUM_ITEMS = 3000, 400


def drawn_split(rng: np.random.Generator, later: np.ndarray) -> Split:
    """Everybody has 8 random train items, then `later[u]`, then an item that is in train."""
    train = np.argsort(rng.random((NUM_USERS, NUM_ITEMS)), axis=1)[:, :9] + 1
    histories = [
        [*[item for item in row if item != goal][:8], goal]
        for row, goal in zip(train.tolist(), later.tolist(), strict=True)
    ]
    return leave_one_out(interactions_of([[*h, h[0]] for h in histories], NUM_ITEMS))


def flagged_pairs(rng: np.random.Generator, later: np.ndarray, odds: float) -> Pairs:
    """Five items a user; the one taken later is among them `odds` times as often as by chance."""
    chance = 5 / (NUM_ITEMS - 8)
    share = odds * chance / (1 + (odds - 1) * chance)
    pairs = []
    for user, goal in enumerate(later.tolist()):
        others = [item for item in (rng.permutation(NUM_ITEMS) + 1).tolist()[:6] if item != goal]
        is_hit = rng.random() < share
        pairs += [(user, item) for item in ([goal, *others[:4]] if is_hit else others[:5])]
    return pairs


@pytest.mark.parametrize("odds", [1, 4])
def test_known_lift_is_found(odds):
    covered = dict.fromkeys(BOTH, 0)
    for seed in range(3):
        rng = np.random.default_rng(seed)
        later = rng.integers(1, NUM_ITEMS + 1, NUM_USERS)
        pairs = flagged_pairs(rng, later, odds)
        found = lift_of(drawn_split(rng, later), pairs, seed, num_resamples=400)
        for name in BOTH:
            covered[name] += found[name]["low"] < odds < found[name]["high"]
            assert found[name]["high"] > odds * 0.8
            if odds == 4:
                assert found[name]["low"] > 1.5
        popular = found["matched_on_popularity"]
        assert popular["lift"] == pytest.approx(odds, rel=0.35)
        assert popular["high"] / popular["low"] < 4  # some 38 or 150 hits
    assert min(covered.values()) >= 2


def test_a_score_that_explains_all_leaves_no_lift():
    """Flagged and later items both follow the score, and know nothing of each other."""
    rng = np.random.default_rng(0)
    table = rng.normal(size=(NUM_ITEMS + 1, 3)).astype(np.float32)
    vectors = rng.normal(size=(NUM_USERS, 3)).astype(np.float32)
    scores = 0.6 * vectors @ table[1:].T
    noise = rng.gumbel(size=(2, *scores.shape))
    later = 1 + (scores + noise[0]).argmax(axis=1)
    chosen = 1 + np.argsort(-(scores + noise[1]), axis=1)[:, :5]
    pairs = [(user, int(item)) for user in range(NUM_USERS) for item in chosen[user]]
    found = lift_of(drawn_split(rng, later), pairs, vectors=vectors, item_table=table, num_bins=1)
    assert found["matched_on_popularity"]["low"] > 2
    by_score = found["matched_on_popularity_and_score"]
    assert by_score["low"] < 1 < by_score["high"] < 1.5


def few_hits(num_flagged_hits: int, num_control_hits: int) -> dict[str, Any]:
    """Fifty users, one and the same item flagged for each, and 39 controls as popular."""
    histories, pairs = [], []
    for user in range(50):
        later = 1
        if user < num_flagged_hits:
            later = 7
        elif user < num_flagged_hits + num_control_hits:
            later = 9
        histories.append([1, 2, 3, later, 2])
        pairs.append((user, 7))
    # Everybody else's train events make 4..43 equally popular.
    histories.append([*range(4, 44), 1, 1])
    split = leave_one_out(interactions_of(histories, 43))
    return lift_of(split, pairs, num_bins=1, num_controls=39)


def test_few_hits_give_wide_intervals():
    # 39 controls: 40 items of one event, without the flagged one.
    some = few_hits(2, 3)
    assert (some["hits"], some["rate"]) == (2, 2 / 50)
    row = some["matched_on_popularity"]
    assert (row["pairs"], row["hits"], row["control_hits"]) == (50, 2, 3)
    assert row["rate"] == pytest.approx(3 / 39 / 50)
    assert row["lift"] == pytest.approx(2 / (3 / 39))
    # Gamma(2.5) over Gamma(3.5) / 39: quantiles of 39 * 5 / 7 * F(5, 7).
    assert row["low"] == pytest.approx(39 * 5 / 7 * 0.1459, rel=0.2)
    assert row["high"] == pytest.approx(39 * 5 / 7 * 5.285, rel=0.2)


def test_no_hits_give_wide_intervals():
    none = few_hits(0, 20)["matched_on_popularity"]
    assert none["lift"] == none["low"] == 0
    # Gamma(1/2) has its 97.5% at 2.51; the controls' 20 hits of 1/39 are about 20.5.
    assert none["high"] == pytest.approx(2.51 / 20.5 * 39, rel=0.2)
    unmatched = few_hits(3, 0)["matched_on_popularity"]
    assert unmatched["lift"] == pytest.approx(3.5 / (0.5 / 39))
    # Gamma(3.5) over Gamma(1/2) / 39: 2.5% of 39 * 7 * F(7, 1); no upper end to speak of.
    assert unmatched["low"] == pytest.approx(39 * 7 * 0.1239, rel=0.2)
    assert unmatched["high"] > 1000 * 39
    nothing = few_hits(0, 0)
    for name in BOTH:
        assert nothing[name]["lift"] is None  # anything from nothing to very much
        assert nothing[name]["low"] == 0 and nothing[name]["high"] > 100
    json.dumps([none, unmatched, nothing], allow_nan=False)


def test_nothing_flagged_is_said():
    split = log_by_last()
    found = future_lift(
        split,
        np.zeros(0, np.int32),
        np.zeros(0, np.int32),
        vectors=np.zeros((0, 4), np.float32),
        item_table=np.zeros((41, 4), np.float32),
    ).values
    assert (found["num_flagged"], found["hits"], found["rate"]) == (0, 0, None)
    for name in BOTH:
        assert found[name] == {
            "pairs": 0, "hits": 0, "control_hits": 0,
            "rate": None, "lift": None, "low": None, "high": None,
        }  # fmt: skip


def test_auc_is_the_share_of_ordered_pairs():
    rng = np.random.default_rng(0)
    scores, is_positive = rng.integers(0, 6, 60), rng.random(60) < 0.3
    wins = [(a > b) + 0.5 * (a == b) for a in scores[is_positive] for b in scores[~is_positive]]
    assert auc(scores, is_positive) == pytest.approx(np.mean(wins))
    assert auc(np.array([1.0, 2.0]), np.array([False, True])) == 1.0
    assert np.isnan(auc(scores, np.zeros(60, bool)))
