"""Paired statistics over users and seeds: intervals, tests, corrections, in NumPy only."""

from typing import NamedTuple

import numpy as np

from ufnrec_tf.evaluation.student_t import critical_value, two_sided_p

BETTER, WORSE, UNDECIDED = "better", "worse", "undecided"
NO_DIFFERENCE, NOT_A_FINDING = "no difference", "not a finding"

LEVEL = 0.05
"""Significance level of a verdict; an interval is of 1 - LEVEL."""

LEAST_SEEDS = 3
"""Seeds below which there is no verdict: two runs of one arm also differ."""

CHUNK_VALUES = 1 << 22
"""Numbers held at once while resampling (32 MB as float64)."""


class Interval(NamedTuple):
    """An estimate and its 95% interval."""

    estimate: float
    low: float
    high: float


class Difference(NamedTuple):
    """The difference of an arm to the reference, paired over users and seeds.

    Attributes:
        absolute: The mean difference.
        relative: The mean difference over the reference's mean.
        p: Two-sided p-value, from the variance and degrees of freedom of the absolute interval:
            it is below `LEVEL` exactly where that interval leaves out zero.
    """

    absolute: Interval
    relative: Interval
    p: float


class Covariance(NamedTuple):
    """Three estimates of the covariance of two grand means, each right in a case of its own.

    Attributes:
        users: float64 [...], A: as if only users were drawn.
        seeds: float64 [...], B: as if only seeds were drawn; 0 with one seed.
        both: float64 [...], C: the part of A and of B that is luck of one user with one seed.
    """

    users: np.ndarray
    seeds: np.ndarray
    both: np.ndarray


class CrossedMean(NamedTuple):
    """A mean over crossed users and seeds.

    Attributes:
        estimate: float64 [...].
        variance: float64 [...], of the estimate.
        df: float64 [...], degrees of freedom of the variance.
    """

    estimate: np.ndarray
    variance: np.ndarray
    df: np.ndarray


def resampled_user_means(values: np.ndarray, *, num_resamples: int, seed: int) -> np.ndarray:
    """Returns the means over users drawn with replacement, the same users for every column.

    Args:
        values: float [M, C], a row a user.
        num_resamples: R.
        seed: Seed of the draws.

    Returns:
        float64 [R, C].
    """
    generator = np.random.default_rng(seed)
    num_users = len(values)
    values = np.ascontiguousarray(values, np.float64)
    means = np.empty((num_resamples, values.shape[1]))
    chunk = max(1, CHUNK_VALUES // num_users)
    counts = np.empty((min(chunk, num_resamples), num_users))
    for first in range(0, num_resamples, chunk):
        part = counts[: min(chunk, num_resamples - first)]
        for row in part:
            drawn = generator.integers(0, num_users, num_users, dtype=np.int32)
            row[:] = np.bincount(drawn, minlength=num_users)
        means[first : first + len(part)] = part @ values
    return means / num_users


def mean_intervals(values: np.ndarray, resampled: np.ndarray) -> list[Interval]:
    """Returns each column's mean over users with its percentile interval.

    Args:
        values: float [M, C], a row a user.
        resampled: float [R, C], their `resampled_user_means`.
    """
    return [
        _interval(mean, column)
        for mean, column in zip(np.mean(values, axis=0), resampled.T, strict=True)
    ]


def crossed_covariance(first: np.ndarray, second: np.ndarray) -> Covariance:
    """Returns the estimates from which `crossed_mean` makes a variance.

    Args:
        first: float [..., U, S], a row a user, a column a seed.
        second: The same shape; `first` again for variances.
    """
    num_users, num_seeds = first.shape[-2:]
    of_users = [values.mean(axis=-1) for values in (first, second)]
    of_seeds = [values.mean(axis=-2) for values in (first, second)]
    grand = [values.mean(axis=-1, keepdims=True) for values in of_users]
    centred_users = [mean - each for mean, each in zip(of_users, grand, strict=True)]
    centred_seeds = [mean - each for mean, each in zip(of_seeds, grand, strict=True)]
    with np.errstate(divide="ignore", invalid="ignore"):
        a = np.multiply(*centred_users).sum(axis=-1) / np.float64(num_users - 1) / num_users
        if num_seeds == 1:
            return Covariance(a, np.zeros_like(a), np.zeros_like(a))
        b = np.multiply(*centred_seeds).sum(axis=-1) / (num_seeds - 1) / num_seeds
        residuals = [
            values - mean[..., None] - seeds[..., None, :]
            for values, mean, seeds in zip((first, second), of_users, centred_seeds, strict=True)
        ]
        rest = np.einsum("...us,...us->...", *residuals)
        rest = rest / np.float64((num_users - 1) * (num_seeds - 1)) / (num_users * num_seeds)
    return Covariance(a, b, rest)


def crossed_mean(values: np.ndarray) -> CrossedMean:
    """Returns the mean over users and seeds, with the variance that both give it.

    The value of a user and a seed is effect + user + seed + user x seed. With U users and S seeds
    V = A + B - C is the variance of the mean, where

    - A = variance over users of the means over seeds / U,
    - B = variance over seeds of the means over users / S,
    - C = mean square of the interaction / (U S), which A and B both hold, so that it is taken off
      once. V is at least A.

    Its degrees of freedom are (S - 1)(V / B)^2, with A's U - 1 beside them, which matter only for
    few users: V^2 / (B^2 / (S - 1) + A^2 / (U - 1)). With one seed V = A: what another seed would
    change is not in it.

    Args:
        values: float [..., U, S], a row a user, a column a seed.

    Source: the two-way random model without replication, Searle, Casella, McCulloch 1992,
        "Variance Components", section 4.3; Satterthwaite 1946, Biometrics Bulletin 2(6), for the
        degrees of freedom.
    """
    values = np.asarray(values, np.float64)
    return _crossed_mean(values, crossed_covariance(values, values))


def _crossed_mean(values: np.ndarray, parts: Covariance) -> CrossedMean:
    """Returns `crossed_mean` from the covariance of the values with themselves."""
    num_users, num_seeds = values.shape[-2:]
    variance = parts.users + np.maximum(parts.seeds - parts.both, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        of_users = (parts.users / variance) ** 2 / np.float64(num_users - 1)
        of_seeds = (parts.seeds / variance) ** 2 / max(num_seeds - 1, 1)
        df = np.where(variance > 0, 1 / (of_users + of_seeds), 1.0)
    return CrossedMean(values.mean(axis=(-2, -1)), variance, np.maximum(df, 1.0))


def p_values(mean: CrossedMean) -> np.ndarray:
    """Returns the two-sided p-values, float64 [...]; 1 where nothing differs."""
    error = np.sqrt(mean.variance)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(mean.estimate == 0, 0.0, mean.estimate / error)
    is_known = np.isfinite(t)
    found = two_sided_p(np.where(is_known, t, 0.0), mean.df)
    # All values are equal, and not zero: there is nothing that chance could have turned.
    return np.where(np.isinf(t), 0.0, np.where(is_known, found, 1.0))


def half_widths(mean: CrossedMean) -> np.ndarray:
    """Returns half the width of the 95% intervals, float64 [...]."""
    return critical_value(mean.df, level=LEVEL) * np.sqrt(mean.variance)


def paired_difference(arm: np.ndarray, reference: np.ndarray) -> Difference:
    """Returns the difference of an arm to the reference with 95% intervals and p-value.

    All come from one `crossed_mean` of the differences. The relative interval holds the ratios
    that the same test does not refuse, so it leaves out zero where the absolute one does. Where
    the reference's own mean may be zero by that test, it is the absolute interval over that mean.

    Args:
        arm: float [U, S], the arm's value of each user with each seed.
        reference: float [U, S], the reference's, of the same users and seeds.

    Source: Fieller 1954, Journal of the Royal Statistical Society B 16(2), for the ratio.
    """
    arm, reference = np.asarray(arm, np.float64), np.asarray(reference, np.float64)
    moved = arm - reference
    parts = crossed_covariance(moved, moved)
    mean = _crossed_mean(moved, parts)
    critical, estimate = float(critical_value(mean.df, level=LEVEL)), float(mean.estimate)
    half = critical * float(np.sqrt(mean.variance))
    absolute = Interval(estimate, estimate - half, estimate + half)
    base = float(reference.mean())
    if not base > 0:
        return Difference(absolute, Interval(np.nan, np.nan, np.nan), float(p_values(mean)))
    has_seeds = parts.seeds > parts.both  # as in the variance of the difference

    def widened(covariance: Covariance) -> float:
        """Returns a covariance times the squared critical value."""
        whole = covariance.users + (covariance.seeds - covariance.both if has_seeds else 0)
        return float(whole * critical**2)

    square = base**2 - widened(crossed_covariance(reference, reference))
    middle = estimate * base - widened(crossed_covariance(moved, reference))
    rest = (estimate - half) * (estimate + half)
    low, high = absolute.low / base, absolute.high / base
    if square > 0:
        root = np.sqrt(max(middle**2 - square * rest, 0.0))
        low, high = (middle - root) / square, (middle + root) / square
    return Difference(absolute, Interval(estimate / base, low, high), float(p_values(mean)))


def _interval(estimate: np.ndarray, resampled: np.ndarray) -> Interval:
    """Returns the estimate with the 2.5% and 97.5% percentiles of its resamples."""
    if not np.isfinite(estimate):
        return Interval(np.nan, np.nan, np.nan)
    low, high = np.nanquantile(resampled, (0.025, 0.975))
    return Interval(float(estimate), float(low), float(high))


def holm(p_values: np.ndarray) -> np.ndarray:
    """Returns p-values corrected for their number, by Holm's step-down method.

    Args:
        p_values: float [A].

    Returns:
        float64 [A], at most 1, in the order given.

    Source: Holm 1979, Scandinavian Journal of Statistics 6(2).
    """
    p_values = np.asarray(p_values, np.float64)
    order = np.argsort(p_values, kind="stable")
    factors = len(p_values) - np.arange(len(p_values))
    stepped = np.maximum.accumulate(p_values[order] * factors)
    corrected = np.empty_like(p_values)
    corrected[order] = np.minimum(stepped, 1.0)
    return corrected


def effect_size(differences: np.ndarray) -> float:
    """Returns Cohen's d_z: the mean difference over the differences' standard deviation.

    Args:
        differences: float [M], a value a user.

    Returns:
        0 where all differences are 0, NaN where all are equal otherwise.
    """
    if not np.any(differences):
        return 0.0
    if np.ptp(differences) == 0:
        return float("nan")
    return float(np.mean(differences) / np.std(differences, ddof=1))


def verdict(difference: Difference, p_holm: float, *, num_seeds: int, margin: float) -> str:
    """Returns one of `BETTER`, `WORSE`, `NO_DIFFERENCE`, `UNDECIDED`, `NOT_A_FINDING`.

    Args:
        difference: The difference to the reference.
        p_holm: Its p-value, corrected for the number of arms.
        num_seeds: S; below `LEAST_SEEDS` there is no verdict.
        margin: The relative difference up to which arms count as alike, 0.01 for 1%: an interval
            within it shows that there is no difference above it.
    """
    if num_seeds < LEAST_SEEDS:
        return NOT_A_FINDING
    if p_holm < LEVEL:
        return BETTER if difference.absolute.estimate > 0 else WORSE
    is_within = -margin <= difference.relative.low and difference.relative.high <= margin
    return NO_DIFFERENCE if is_within else UNDECIDED
