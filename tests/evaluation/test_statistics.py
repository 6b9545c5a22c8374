"""Intervals, tests and corrections, against cases done by hand, scipy, and simulation."""

import itertools

import numpy as np
import pytest
from scipy import stats

from ufnrec_tf.evaluation import statistics
from ufnrec_tf.evaluation.statistics import (
    effect_size,
    holm,
    paired_difference,
    resampled_user_means,
    seed_weights,
    sign_flip_p_values,
)


def difference_of(arm, reference, num_resamples=2000, seed=0):
    """The difference of two tables [S, M], as a comparison computes it."""
    means = resampled_user_means(
        np.concatenate([arm, reference]).T, num_resamples=num_resamples, seed=seed
    )
    return paired_difference(
        arm.mean(axis=1),
        reference.mean(axis=1),
        arm_means=means[:, : len(arm)],
        reference_means=means[:, len(arm) :],
        seed=seed,
    )


# Resampling.


def test_resampled_means_have_the_mean_and_spread_of_a_mean():
    values = np.random.default_rng(0).normal(2.0, 3.0, size=(200, 2))
    means = resampled_user_means(values, num_resamples=20000, seed=1)
    assert means.shape == (20000, 2)
    np.testing.assert_allclose(means.mean(axis=0), values.mean(axis=0), atol=0.01)
    expected = values.std(axis=0) / np.sqrt(200)
    np.testing.assert_allclose(means.std(axis=0), expected, rtol=0.03)


def test_columns_share_their_users_and_chunks_change_nothing(monkeypatch):
    values = np.random.default_rng(0).normal(size=(50, 1))
    whole = resampled_user_means(np.hstack([values, 2 * values]), num_resamples=100, seed=3)
    np.testing.assert_allclose(whole[:, 1], 2 * whole[:, 0])
    monkeypatch.setattr(statistics, "CHUNK_VALUES", 150)
    small = resampled_user_means(np.hstack([values, 2 * values]), num_resamples=100, seed=3)
    np.testing.assert_allclose(small, whole)


def test_means_of_two_users_are_those_that_can_be_drawn():
    means = resampled_user_means(np.array([[0.0], [1.0]]), num_resamples=4000, seed=0)[:, 0]
    shares = [(means == value).mean() for value in (0.0, 0.5, 1.0)]
    np.testing.assert_allclose(shares, [0.25, 0.5, 0.25], atol=0.03)


def test_seed_weights():
    assert (seed_weights(1, num_resamples=5, seed=0) == 1).all()
    two = seed_weights(2, num_resamples=2000, seed=0)
    assert set(map(tuple, two)) == {(1.0, 0.0), (0.0, 1.0)}
    effects = np.array([1.0, 4.0, -2.0, 0.5])
    means = seed_weights(4, num_resamples=50000, seed=0) @ effects
    # The variance of a mean of four, estimated without bias.
    assert means.var() == pytest.approx(effects.var(ddof=1) / 4, rel=0.03)


def test_the_interval_of_one_seed_is_that_of_a_mean():
    generator = np.random.default_rng(5)
    reference = generator.uniform(size=(1, 400))
    arm = reference + generator.normal(0.1, 0.3, size=(1, 400))
    found = difference_of(arm, reference, num_resamples=20000)
    moved = (arm - reference)[0]
    low, high = stats.norm.interval(0.95, moved.mean(), moved.std() / 20)
    assert found.absolute.estimate == pytest.approx(moved.mean())
    assert found.absolute.low == pytest.approx(low, abs=0.002)
    assert found.absolute.high == pytest.approx(high, abs=0.002)
    assert found.relative.estimate == pytest.approx(moved.mean() / reference.mean())
    assert found.relative.low == pytest.approx(low / reference.mean(), abs=0.005)


def test_a_constant_factor_has_an_interval_without_width_relatively():
    reference = np.random.default_rng(0).uniform(0.1, 1.0, size=(3, 60))
    found = difference_of(1.2 * reference, reference)
    np.testing.assert_allclose(found.relative, [0.2, 0.2, 0.2])
    assert found.absolute.low < found.absolute.estimate < found.absolute.high


def test_a_reference_of_zero_has_no_relative_difference():
    found = difference_of(np.ones((2, 9)), np.zeros((2, 9)))
    assert np.isnan(found.relative).all()
    np.testing.assert_allclose(found.absolute, [1, 1, 1])


@pytest.mark.parametrize(
    ("seed_spread", "interaction", "least", "most"),
    [(0.0, 0.0, 0.91, 0.98), (0.1, 0.0, 0.87, 0.98), (0.0, 1.0, 0.95, 1.0)],
)
def test_intervals_cover_the_truth(seed_spread, interaction, least, most):
    """Users alone; seeds that matter as much; luck of user and seed, where it errs on wide."""
    generator = np.random.default_rng(7)
    num_seeds, num_users, truth, covered = 5, 100, 0.3, 0
    for trial in range(300):
        moved = truth + generator.normal(0, 1, size=(1, num_users))
        moved = moved + generator.normal(0, seed_spread, size=(num_seeds, 1))
        moved = moved + generator.normal(0, interaction, size=(num_seeds, num_users))
        reference = np.zeros_like(moved)
        interval = difference_of(moved, reference, num_resamples=400, seed=trial).absolute
        covered += interval.low <= truth <= interval.high
    assert least <= covered / 300 <= most


# The randomisation test.


def test_all_flips_of_few_users_are_counted():
    differences = np.array([0.5, 1.0, -0.25, 2.0, 0.0, 0.75])
    sums = [
        abs(sum(sign * value for sign, value in zip(signs, differences, strict=True)))
        for signs in itertools.product((1, -1), repeat=6)
    ]
    expected = np.mean([value >= 4.0 for value in sums])  # 4.0 was observed
    assert expected == 8 / 64  # the small one either way, the zero either way, all either way
    found = sign_flip_p_values(differences[:, None], num_resamples=100, seed=0)
    assert found == pytest.approx([expected])


def test_equal_differences_all_one_way():
    found = sign_flip_p_values(np.full((10, 1), 0.1), num_resamples=100, seed=0)
    assert found == pytest.approx([2 / 1024])


def test_drawn_flips_agree_with_scipy():
    generator = np.random.default_rng(2)
    differences = np.stack([generator.normal(m, 1, size=80) for m in (0.0, 0.2, -0.3)], axis=1)
    found = sign_flip_p_values(differences, num_resamples=20000, seed=4)
    for column, p_value in zip(differences.T, found, strict=True):
        peer = stats.permutation_test(
            (column,), np.sum, permutation_type="samples", n_resamples=20000, rng=1
        )
        assert p_value == pytest.approx(peer.pvalue, abs=0.015)


def test_nothing_moved_and_everything_moved(monkeypatch):
    assert sign_flip_p_values(np.zeros((30, 2)), num_resamples=50, seed=0).tolist() == [1.0, 1.0]
    # Never below one in so many: the observed flips are among those that could be drawn.
    found = sign_flip_p_values(np.ones((60, 1)), num_resamples=199, seed=0)
    assert found == pytest.approx([1 / 200])
    values = np.random.default_rng(0).normal(0.1, 1, size=(40, 3))
    whole = sign_flip_p_values(values, num_resamples=1000, seed=0)
    monkeypatch.setattr(statistics, "CHUNK_VALUES", 40 * 16)
    np.testing.assert_allclose(sign_flip_p_values(values, num_resamples=1000, seed=0), whole)


def test_p_values_are_uniform_where_nothing_differs():
    generator = np.random.default_rng(11)
    differences = generator.normal(size=(60, 400))
    found = sign_flip_p_values(differences, num_resamples=500, seed=0)
    assert stats.kstest(found, "uniform").pvalue > 0.01
    assert (found < 0.05).mean() < 0.09


# Corrections and effect sizes.


@pytest.mark.parametrize(
    ("p_values", "expected"),
    [
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),  # Holm by hand
        ([0.2], [0.2]),
        ([0.9, 0.8, 0.6], [1.0, 1.0, 1.0]),
        ([0.02, 0.02], [0.04, 0.04]),
    ],
)
def test_holm_by_hand(p_values, expected):
    np.testing.assert_allclose(holm(np.array(p_values)), expected)


def test_effect_size_is_that_of_the_paired_t_test():
    values = np.random.default_rng(0).normal(0.2, 1.5, size=90)
    t = stats.ttest_1samp(values, 0.0).statistic
    assert effect_size(values) == pytest.approx(t / np.sqrt(90))
    assert effect_size(np.zeros(4)) == 0.0
    assert np.isnan(effect_size(np.full(4, 0.3)))
