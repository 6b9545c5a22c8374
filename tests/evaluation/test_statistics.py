"""Intervals, tests and corrections, against cases done by hand, scipy, and simulation."""

import numpy as np
import pytest
from scipy import stats

from ufnrec_tf.evaluation import statistics
from ufnrec_tf.evaluation.statistics import (
    BETTER,
    NO_DIFFERENCE,
    NOT_A_FINDING,
    UNDECIDED,
    WORSE,
    Difference,
    Interval,
    crossed_covariance,
    crossed_mean,
    effect_size,
    half_widths,
    holm,
    p_values,
    paired_difference,
    resampled_user_means,
    verdict,
)
from ufnrec_tf.evaluation.student_t import critical_value, two_sided_p

LEVEL = 0.05
REPLICATES = 3000


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


# Student's t.


@pytest.mark.parametrize("df", [1.0, 1.5, 2.0, 4.0, 9.3, 40.0, 1000.0])
def test_student_t_agrees_with_scipy(df):
    t = np.array([0.0, 1e-4, 0.3, 1.0, 1.96, -4.3, 12.7, 40.0])
    np.testing.assert_allclose(two_sided_p(t, df), 2 * stats.t.sf(np.abs(t), df), rtol=1e-9)
    for level in (0.05, 0.01):
        expected = stats.t.isf(level / 2, df)
        assert critical_value(df, level=level) == pytest.approx(expected, rel=1e-9)
    assert critical_value(1e9, level=0.05) == pytest.approx(1.96, abs=1e-3)


# The crossed analysis.


def test_the_variance_is_that_of_the_analysis_of_variance():
    moved = np.random.default_rng(1).normal(size=(7, 4))
    of_users, of_seeds = moved.mean(axis=1), moved.mean(axis=0)
    rest = moved - of_users[:, None] - of_seeds + moved.mean()
    a, b = of_users.var(ddof=1) / 7, of_seeds.var(ddof=1) / 4
    c = (rest**2).sum() / (6 * 3) / (7 * 4)
    np.testing.assert_allclose(crossed_covariance(moved, moved), (a, b, c))
    found = crossed_mean(moved)
    variance = max(a + b - c, a)
    assert found.estimate == pytest.approx(moved.mean())
    assert found.variance == pytest.approx(variance)
    assert found.df == pytest.approx(variance**2 / (b**2 / 3 + a**2 / 6))
    # Of many users the degrees of freedom are (S - 1)(V / B)^2.
    many = np.random.default_rng(2).normal(size=(4000, 4)) + np.array([0.3, 0, -0.2, 0.1])
    found, (_, b, _) = crossed_mean(many), crossed_covariance(many, many)
    assert found.df == pytest.approx(3 * (found.variance / b) ** 2, rel=1e-3)


def test_one_seed_is_the_paired_t_test_over_users():
    generator = np.random.default_rng(5)
    reference = generator.uniform(size=(400, 1))
    arm = reference + generator.normal(0.1, 0.3, size=(400, 1))
    found = paired_difference(arm, reference)
    peer = stats.ttest_rel(arm[:, 0], reference[:, 0])
    assert found.p == pytest.approx(peer.pvalue, rel=1e-6)
    assert found.absolute[1:] == pytest.approx(tuple(peer.confidence_interval(0.95)), rel=1e-6)
    assert found.relative.estimate == pytest.approx((arm - reference).mean() / reference.mean())
    low, high = np.array(found.absolute[1:]) / reference.mean()
    assert found.relative[1:] == pytest.approx((low, high), abs=0.01)


def test_users_who_all_move_alike_leave_the_t_test_over_seeds():
    of_seeds = np.array([0.3, 0.1, 0.4, 0.25])
    reference = np.random.default_rng(0).uniform(1, 2, size=(500, 4))
    found = paired_difference(reference + of_seeds, reference)
    peer = stats.ttest_1samp(of_seeds, 0.0)
    assert found.p == pytest.approx(peer.pvalue, rel=1e-6)
    assert found.absolute[1:] == pytest.approx(tuple(peer.confidence_interval(0.95)), rel=1e-6)


def test_interval_and_p_cannot_disagree():
    generator = np.random.default_rng(3)
    num_clear = 0
    for _ in range(200):
        scales = generator.uniform(0, 0.3, size=2)
        reference = generator.uniform(0.5, 1.5, size=(40, 1)) * np.ones((1, 4))
        arm = reference + generator.normal(0, scales[0], size=(1, 4))
        arm = arm + generator.normal(0.05, scales[1], size=(40, 4))
        found = paired_difference(arm, reference)
        leaves_out_zero = found.absolute.low > 0 or found.absolute.high < 0
        assert leaves_out_zero == (found.p < LEVEL)
        assert leaves_out_zero == (found.relative.low > 0 or found.relative.high < 0)
        num_clear += leaves_out_zero
    assert 20 < num_clear < 180


def test_a_constant_factor_has_an_interval_without_width_relatively():
    reference = np.random.default_rng(0).uniform(0.1, 1.0, size=(60, 3))
    found = paired_difference(1.2 * reference, reference)
    np.testing.assert_allclose(found.relative, [0.2, 0.2, 0.2], rtol=1e-6)
    assert found.absolute.low < found.absolute.estimate < found.absolute.high


def test_a_reference_of_zero_has_no_relative_difference():
    found = paired_difference(np.ones((9, 3)), np.zeros((9, 3)))
    assert np.isnan(found.relative).all()
    np.testing.assert_allclose(found.absolute, [1, 1, 1])
    assert found.p == 0  # all alike
    assert verdict(found, found.p, num_seeds=3, margin=0.01) == BETTER


def test_nothing_moved():
    values = np.random.default_rng(0).uniform(0.1, 1.0, size=(60, 3))
    found = paired_difference(values, values)
    assert found == ((0, 0, 0), (0, 0, 0), 1)
    assert verdict(found, found.p, num_seeds=3, margin=0.01) == NO_DIFFERENCE
    assert np.isnan(paired_difference(values[:1], 2 * values[:1]).absolute.low)  # one user


# Simulations: users' and seeds' luck where the truth is known.

CASES = {
    # name: standard deviation of users, seeds, and user x seed; of 100 users
    "interaction": (0.0, 0.0, 1.0),
    "seeds": (0.0, 1.0, 1.0),
    "seeds and little else": (0.1, 1.0, 0.1),
    "users": (1.0, 0.0, 0.0),
    "users and interaction": (1.0, 0.0, 1.0),
    "all": (1.0, 0.05, 1.0),
}


def simulated(case, num_seeds, *, effect=0.0, num_users=100):
    """Means of many comparisons whose true difference is `effect`."""
    generator = np.random.default_rng([num_seeds, list(CASES).index(case)])
    of_user, of_seed, both = CASES[case]
    values = generator.standard_normal((REPLICATES, num_users, num_seeds), np.float32) * both
    values += generator.standard_normal((REPLICATES, num_users, 1), np.float32) * of_user
    values += generator.standard_normal((REPLICATES, 1, num_seeds), np.float32) * of_seed
    return crossed_mean(values + np.float32(effect))


@pytest.mark.parametrize("num_seeds", [3, 5, 10])
@pytest.mark.parametrize("case", CASES)
def test_arms_that_are_alike_are_rarely_told_apart(case, num_seeds):
    wrong = (p_values(simulated(case, num_seeds)) < LEVEL).mean()
    assert wrong <= 0.06


@pytest.mark.parametrize("num_seeds", [3, 5, 10])
def test_intervals_cover_the_truth(num_seeds):
    mean = simulated("all", num_seeds, effect=0.3)
    covered = np.abs(mean.estimate - 0.3) <= half_widths(mean)
    assert 0.94 <= covered.mean() <= 0.99


@pytest.mark.parametrize("of_user", [0.0, 0.2])
def test_a_gain_of_two_percent_is_found_at_the_noise_of_beauty(of_user):
    """Two seeds of one arm on Beauty differ by 1.5% of NDCG@10, standard error."""
    num_users = 100
    generator = np.random.default_rng(0)
    noise = 0.015 * np.sqrt(num_users)
    found = {}
    for num_seeds in (5, 10):
        values = generator.normal(0.02, noise, size=(REPLICATES, num_users, num_seeds))
        values += generator.normal(0, of_user * noise, size=(REPLICATES, num_users, 1))
        found[num_seeds] = (p_values(crossed_mean(values)) < LEVEL).mean()
    assert found[10] >= 0.85
    assert found[5] >= 0.5


def test_the_relative_interval_covers_where_users_differ_as_on_beauty():
    """The correlation of the users' values between seeds is .80."""
    generator, truth, covered = np.random.default_rng(4), 0.02, 0
    for _ in range(200):
        taste = generator.gamma(0.5, 2.0, size=(150, 1))
        spread = 0.5 * taste.std()  # 1 / (1 + .5^2) = .80
        reference = taste + generator.normal(0, spread, size=(150, 5))
        arm = (1 + truth) * taste + generator.normal(0, spread, size=(150, 5))
        found = paired_difference(arm, reference).relative
        covered += found.low <= truth <= found.high
    assert 0.92 <= covered / 200 <= 0.995


@pytest.mark.parametrize("num_seeds", [1, 2])
def test_two_seeds_of_one_arm_are_never_better(num_seeds):
    reference = np.random.default_rng(0).uniform(0.1, 1.0, size=(60, num_seeds))
    for factor in (0.5, 1.0, 1.041, 2.0):
        found = paired_difference(factor * reference, reference)
        assert verdict(found, found.p, num_seeds=num_seeds, margin=0.01) == NOT_A_FINDING


@pytest.mark.parametrize(
    ("low", "high", "p", "expected"),
    [
        (0.1, 0.3, 0.01, BETTER),
        (-0.3, -0.1, 0.01, WORSE),
        (0.1, 0.3, 0.06, UNDECIDED),  # several arms: the corrected p decides
        (-0.1, 0.3, 0.2, UNDECIDED),
        (-0.009, 0.004, 0.2, NO_DIFFERENCE),
        (-0.011, 0.004, 0.2, UNDECIDED),
        (0.001, 0.004, 0.01, BETTER),
        (np.nan, np.nan, 1.0, UNDECIDED),
    ],
)
def test_verdicts(low, high, p, expected):
    interval = Interval((low + high) / 2, low, high)
    found = Difference(interval, interval, p)
    assert verdict(found, p, num_seeds=3, margin=0.01) == expected
    assert verdict(found, p, num_seeds=2, margin=0.01) == NOT_A_FINDING


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
