"""Planted data: rates and distributions that can be counted, both generators, both sizes."""

import resource
import time
from typing import Any

import numpy as np
import pytest

from ufnrec_tf.data.splits import leave_one_out
from ufnrec_tf.data.synthetic.exposure import largest, pack_rows
from ufnrec_tf.data.synthetic.planted import PlantedData, ceiling_ranks, detection, planted
from ufnrec_tf.data.synthetic.tastes import GENERATORS, hash_normal, make_salt, normal_above
from ufnrec_tf.evaluation.baselines import Popularity, baseline_ranks

SMALL: dict[str, Any] = {"num_users": 120, "num_items": 150, "mean_length": 10}
LARGE: dict[str, Any] = {"num_users": 60, "num_items": 5000, "mean_length": 10}
BOTH = pytest.mark.parametrize("generator", list(GENERATORS))


def liked_matrix(data: PlantedData) -> np.ndarray:
    users = np.arange(data.interactions.num_users)[:, None]
    return data.truth.is_liked(users, np.arange(1, data.interactions.num_items + 1)[None])


def observed_matrix(data: PlantedData) -> np.ndarray:
    log = data.interactions
    observed = np.zeros((log.num_users, log.num_items), bool)
    observed[log.users, log.items - 1] = True
    return observed


def test_row_helpers_by_hand():
    values = np.array([[5, 1, 4], [2, 8, 3]])
    assert largest(values, np.array([1, 3])).tolist() == [5, 2]
    kept = np.array([[False, True, True], [False, False, True]])
    assert pack_rows(values, kept).tolist() == [[1, 4], [3, 0]]


@BOTH
@pytest.mark.parametrize("sizes", [SMALL, LARGE], ids=["exact", "pools"])
def test_deterministic_and_independent_of_chunks(generator, sizes):
    data = planted(generator=generator, seed=5, **sizes)
    again = planted(generator=generator, seed=5, chunk_size=7, **sizes)
    other = planted(generator=generator, seed=6, **sizes)
    assert np.array_equal(data.interactions.items, again.interactions.items)
    assert data.interactions.sha256 == again.interactions.sha256 != other.interactions.sha256
    assert np.array_equal(liked_matrix(data), liked_matrix(again))
    split = leave_one_out(data.interactions)
    assert np.array_equal(
        ceiling_ranks(data, split, "test"), ceiling_ranks(data, split, "test", chunk_size=7)
    )


@BOTH
@pytest.mark.parametrize("rate", [0.0, 0.02, 0.1, 0.2])
def test_liked_share_of_the_unobserved_is_the_rate(generator, rate):
    for seed in range(3):
        data = planted(generator=generator, false_negative_rate=rate, seed=seed, **SMALL)
        liked, observed = liked_matrix(data), observed_matrix(data)
        assert liked[observed].all()
        hidden = (liked & ~observed).sum(axis=1)
        # Exact but for rounding to whole items, and for users with ties at the threshold.
        assert np.abs(hidden - rate * (~observed).sum(axis=1)).max() <= 1.5
        assert hidden.sum() == pytest.approx(
            data.truth.world.num_false_negatives().sum(), rel=0.002
        )
        if rate == 0:
            assert np.array_equal(liked, observed)


@BOTH
def test_large_catalogue_rate_is_about_right(generator):
    shares = []
    for seed in range(3):
        data = planted(generator=generator, seed=seed, **LARGE)
        liked, observed = liked_matrix(data), observed_matrix(data)
        assert liked[observed].all()
        shares.append((liked & ~observed).sum() / (~observed).sum())
    assert np.mean(shares) == pytest.approx(0.1, rel=0.06)


def test_large_catalogue_rate_zero_likes_only_what_was_observed():
    data = planted(false_negative_rate=0, **LARGE)
    assert np.array_equal(liked_matrix(data), observed_matrix(data))


def test_pair_queries_agree_with_blocks():
    data = planted(**SMALL)
    rng = np.random.default_rng(0)
    users, items = rng.integers(120, size=500), rng.integers(1, 151, size=500)
    assert np.array_equal(data.truth.is_liked(users, items), liked_matrix(data)[users, items - 1])
    assert np.array_equal(
        data.truth.is_observed(users, items), observed_matrix(data)[users, items - 1]
    )
    assert not data.truth.is_liked(users, np.zeros(500, int)).any()


@BOTH
def test_log_is_well_formed(generator):
    data = planted(generator=generator, **SMALL)
    log = data.interactions
    assert log.items.dtype == np.int32 and log.offsets.dtype == np.int64
    assert log.items.min() >= 1 and log.items.max() <= log.num_items == 150
    assert log.lengths.min() >= 5 and log.lengths.max() <= 75
    assert log.lengths.max() > 2 * np.median(log.lengths)  # heavy tail
    assert observed_matrix(data).sum() == log.num_events  # nothing is taken twice
    assert log.num_repeats == 0 and log.timestamps is None
    assert log.user_ids[17] == "u17" and log.item_ids[42] == "i042" and log.item_ids[0] == ""
    group = data.truth.world.model.groups[42]
    word = {"factors": "Cluster", "attributes": "Category"}[generator]
    assert log.item_titles is not None and log.item_titles[42] == f"{word} {group}, item 42"
    for part in [f"generator={generator}", "num_users=120", "noise=0.5", "drift=2.0", "seed=0"]:
        assert part in log.source
    assert len(log.sha256) == 64


@BOTH
def test_next_item_scores_by_hand(generator):
    data = planted(generator=generator, num_users=30, num_items=40, mean_length=6)
    log, truth = data.interactions, data.truth
    histories = [np.zeros(0, np.int32), log.items[log.offsets[4] : log.offsets[4] + 2]]
    scores = truth.next_item_scores(np.array([3, 4]), histories)
    np.testing.assert_allclose(np.exp(scores).sum(axis=1), 1, rtol=1e-5)
    for row, (user, history) in enumerate(zip([3, 4], histories, strict=True)):
        possible = [
            item
            for item in range(1, 41)
            if truth.is_liked(np.array(user), np.array(item))[0] and item not in history.tolist()
        ]
        assert np.flatnonzero(np.isfinite(scores[row])).tolist() == possible
        logits = truth.world.log_popularity[possible].copy()
        if len(history):
            model = truth.world.model
            logits += 2.0 * model.successor(history[-1:], model.features(np.array([possible])))[0]
        weights = np.exp(logits)
        np.testing.assert_allclose(np.exp(scores[row, possible]), weights / weights.sum(), 1e-5)


@BOTH
def test_events_follow_the_stated_probabilities(generator):
    # If a step is drawn from the stated distribution, the probability mass above the drawn item
    # plus a random share of its own is uniform; a wrong sampler bends the histogram.
    data = planted(generator=generator, num_users=1500, num_items=100, mean_length=6)
    log = data.interactions
    rng = np.random.default_rng(0)
    for step in range(3):
        rows = log.offsets[:-1]
        histories = [log.items[start : start + step] for start in rows]
        shares = np.exp(data.truth.next_item_scores(np.arange(1500), histories))
        own = shares[np.arange(1500), log.items[rows + step]]
        assert (own > 0).all()
        values = (shares * (shares > own[:, None])).sum(axis=1) + own * rng.random(1500)
        counts = np.histogram(values, bins=10, range=(0, 1.0001))[0]
        # Chi-square of 9 degrees: below 27.9 with probability .999.
        assert ((counts - 150) ** 2 / 150).sum() < 27.9


@BOTH
@pytest.mark.parametrize("sizes", [SMALL, LARGE], ids=["exact", "pools"])
def test_ceiling_ranks_agree_with_the_dense_scores(generator, sizes):
    data = planted(generator=generator, **sizes)
    split, log = leave_one_out(data.interactions), data.interactions
    for part in ("validation", "test"):
        starts, ends = log.offsets[split.users(part)], split.history_ends(part)
        histories = [log.items[a:b] for a, b in zip(starts, ends, strict=True)]
        scores = data.truth.next_item_scores(split.users(part), histories)
        goal = scores[np.arange(len(ends)), split.targets(part)][:, None]
        assert np.isfinite(goal).all()
        ranks = ceiling_ranks(data, split, part)
        assert (ranks >= 1 + (scores > goal + 1e-5).sum(axis=1)).all()
        assert (ranks <= (scores >= goal - 1e-5).sum(axis=1)).all()


@BOTH
def test_ceiling_is_far_above_popularity(generator):
    data = planted(generator=generator, num_users=500, num_items=400)
    split = leave_one_out(data.interactions)
    ceiling = (ceiling_ranks(data, split, "test") <= 10).mean()
    popularity = (baseline_ranks(Popularity().fit(split), split, "test") <= 10).mean()
    assert ceiling > 3 * popularity
    assert ceiling > 0.5


@BOTH
def test_the_ceiling_without_the_noise_is_lower_and_of_what_can_be_learnt(generator):
    def hit(noise: float, *, knows_noise: bool) -> float:
        data = planted(generator=generator, num_users=500, num_items=400, noise=noise)
        split = leave_one_out(data.interactions)
        return (ceiling_ranks(data, split, "test", knows_noise=knows_noise) <= 10).mean()

    data = planted(generator=generator, num_users=500, num_items=400)
    split = leave_one_out(data.interactions)
    popularity = (baseline_ranks(Popularity().fit(split), split, "test") <= 10).mean()
    assert popularity < hit(0.5, knows_noise=False) < hit(0.5, knows_noise=True) - 0.1
    assert hit(3.0, knows_noise=False) < hit(0.5, knows_noise=False)
    # Of no noise nothing is unknown.
    assert hit(0.0, knows_noise=False) == hit(0.0, knows_noise=True)


def test_the_noise_is_above_a_value_as_often_as_its_distribution_says():
    draws = hash_normal(make_salt(0, "test"), np.arange(400)[:, None], np.arange(500)[None])
    for value in (-3.5, -2.9, -1.2, 0.0, 0.4, 1.0, 2.5, 3.5):
        assert normal_above(np.array(value)) == pytest.approx((draws > value).mean(), abs=0.004)


def test_pools_have_no_ceiling_without_the_noise():
    data = planted(num_users=50, num_items=5000)
    with pytest.raises(ValueError, match="pools"):
        ceiling_ranks(data, leave_one_out(data.interactions), "test", knows_noise=False)


def test_noise_and_drift_and_popularity_do_what_they_say():
    def hit(**settings) -> float:
        data = planted(num_users=500, num_items=400, **settings)
        return (ceiling_ranks(data, leave_one_out(data.interactions), "test") <= 10).mean()

    assert hit(drift=3) > hit(drift=0) + 0.2
    flat, steep = (
        planted(num_users=500, num_items=400, popularity_bias=bias, drift=0).interactions.items
        for bias in (0, 2)
    )
    # Events on the 40 items that are taken most.
    most = [np.sort(np.bincount(items))[-40:].sum() / len(items) for items in (flat, steep)]
    assert most[1] > 1.5 * most[0]
    explained, noisy = (planted(noise=noise, **SMALL).truth.world for noise in (0, 50))
    users, items = np.arange(120)[:, None], np.arange(1, 151)[None]
    clean = explained.model.affinity(users, items).ravel()
    assert abs(np.corrcoef(clean, noisy.model.affinity(users, items).ravel())[0, 1]) < 0.1


def test_large_catalogue_is_quick_and_small():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.monotonic()
    data = planted(num_users=200, num_items=200_000)
    items = np.arange(1, 200_001, 1000)
    assert 0.05 < data.truth.is_liked(np.arange(200)[:, None], items[None]).mean() < 0.15
    ranks = ceiling_ranks(data, leave_one_out(data.interactions), "test")
    assert ranks.min() >= 1
    assert time.monotonic() - start < 20
    # A dense float32 users x items array alone would take 160 MB; strings of ids take about 40.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # KB


def test_sampling_works_when_little_can_be_met():
    data = planted(num_users=40, num_items=5000, mean_length=200, popularity_bias=3, drift=20)
    assert observed_matrix(data).sum() == data.interactions.num_events
    tiny = planted(num_users=3, num_items=10, mean_length=50, false_negative_rate=0)
    assert tiny.interactions.lengths.tolist() == [5, 5, 5]
    assert np.array_equal(liked_matrix(tiny), observed_matrix(tiny))


def test_detection_by_hand():
    data = planted(**SMALL)
    liked, observed = liked_matrix(data), observed_matrix(data)
    rows, columns = np.nonzero(liked & ~observed)
    wrong = np.argwhere(~liked)[:2]
    seen = np.argwhere(observed)[:3]
    # Six hits (one twice), two misses, and three observed pairs that do not count.
    users = np.concatenate([rows[:6], rows[:1], wrong[:, 0], seen[:, 0]])
    items = np.concatenate([columns[:6], columns[:1], wrong[:, 1], seen[:, 1]]) + 1
    found = detection(data, users, items)
    assert found["num_flagged"] == 8 and found["precision"] == 0.75
    assert found["recall"] == pytest.approx(6 / len(rows), rel=0.01)
    assert found["base_rate"] == pytest.approx(0.1, abs=0.002)
    assert found["lift"] == pytest.approx(7.5, rel=0.02)
    # Candidates: the eight, and four more liked ones.
    pool = (np.concatenate([users, rows[6:10]]), np.concatenate([items, columns[6:10] + 1]))
    found = detection(data, users, items, candidates=pool)
    assert found["recall"] == 0.6 and found["base_rate"] == 10 / 12
    nothing = detection(data, np.zeros(0, int), np.zeros(0, int))
    assert np.isnan(nothing["precision"]) and nothing["recall"] == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("generator", "nope"),
        ("num_users", 0),
        ("num_items", 9),
        ("mean_length", 4),
        ("false_negative_rate", 1.0),
        ("false_negative_rate", float("nan")),
        ("popularity_bias", -1),
        ("noise", -0.1),
        ("drift", -1),
        ("seed", -1),
    ],
)
def test_settings_out_of_range_are_named(name, value):
    with pytest.raises(ValueError, match=f"`{name}` must be"):
        planted(**{**SMALL, name: value})


def test_ids_out_of_range_are_refused():
    truth = planted(**SMALL).truth
    for users, items in [([120], [1]), ([-1], [1]), ([0], [151])]:
        with pytest.raises(ValueError, match="must be internal ids"):
            truth.is_liked(np.array(users), np.array(items))
