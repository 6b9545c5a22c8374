"""Paired statistics over users and seeds: intervals, tests, corrections, in NumPy only."""

from typing import NamedTuple

import numpy as np

BETTER, WORSE, NOT_SHOWN = "better", "worse", "no difference shown"

LEVEL = 0.05
"""Significance level of a verdict."""

CHUNK_VALUES = 1 << 22
"""Numbers held at once while resampling (32 MB as float64)."""

MAX_EXACT_USERS = 13
"""Up to this many users all signs are enumerated (8,192 cases) rather than drawn."""


class Interval(NamedTuple):
    """An estimate and its 95% interval."""

    estimate: float
    low: float
    high: float


class Difference(NamedTuple):
    """The difference of an arm to the reference, paired over users and seeds."""

    absolute: Interval
    relative: Interval


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


def seed_weights(num_seeds: int, *, num_resamples: int, seed: int) -> np.ndarray:
    """Returns the weights of seeds drawn with replacement; rows sum to 1.

    S - 1 of S seeds are drawn: drawing S of so few would understate their variance by the
    factor (S - 1) / S. A single seed has weight 1: its spread over seeds is unknown.

    Args:
        num_seeds: S.
        num_resamples: R.
        seed: Seed of the draws.

    Returns:
        float64 [R, S].

    Source: Rao and Wu 1988, "Resampling inference with complex survey data", section 2.
    """
    if num_seeds == 1:
        return np.ones((num_resamples, 1))
    generator = np.random.default_rng([seed, num_seeds])
    draws = num_seeds - 1
    return generator.multinomial(draws, np.full(num_seeds, 1 / num_seeds), num_resamples) / draws


def paired_difference(
    arm: np.ndarray,
    reference: np.ndarray,
    *,
    arm_means: np.ndarray,
    reference_means: np.ndarray,
    seed: int,
) -> Difference:
    """Returns the difference of an arm to the reference with percentile intervals.

    Users and seeds are resampled, crossed: an arm and the reference share both, and all seeds
    share their users. Such intervals err on the wide side (Owen 2007, "The pigeonhole bootstrap").

    Args:
        arm: float [S], the arm's mean over users, a seed.
        reference: float [S], the reference's, for the same seeds.
        arm_means: float [R, S], the arm's means over resampled users.
        reference_means: float [R, S], the reference's, over the same users.
        seed: Seed of the resampling.
    """
    weights = seed_weights(len(arm), num_resamples=len(arm_means), seed=seed)
    of_arm = (weights * arm_means).sum(axis=1)
    of_reference = (weights * reference_means).sum(axis=1)
    estimate, base = arm.mean() - reference.mean(), reference.mean()
    return Difference(
        _interval(estimate, of_arm - of_reference),
        _interval(_ratio(estimate, base), _ratio(of_arm - of_reference, of_reference)),
    )


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Returns part / whole, NaN where the whole is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(np.asarray(whole) > 0, np.divide(part, whole), np.nan)


def _interval(estimate: np.ndarray, resampled: np.ndarray) -> Interval:
    """Returns the estimate with the 2.5% and 97.5% percentiles of its resamples."""
    if not np.isfinite(estimate):
        return Interval(np.nan, np.nan, np.nan)
    low, high = np.nanquantile(resampled, (0.025, 0.975))
    return Interval(float(estimate), float(low), float(high))


def sign_flip_p_values(differences: np.ndarray, *, num_resamples: int, seed: int) -> np.ndarray:
    """Returns two-sided p-values of the hypothesis that arm and reference may be swapped by user.

    A p-value is the share of sign flips of the users' differences whose sum is at least as far
    from zero as the observed sum. With few users all flips are enumerated; otherwise R are drawn
    and the observed signs are added, so that no p-value is below 1 / (R + 1).

    Args:
        differences: float [M, C], arm minus reference, a row a user; the columns share the flips.
        num_resamples: R.
        seed: Seed of the flipped signs.

    Returns:
        float64 [C]; 1 for a column of zeros.

    Source: Fisher's randomisation test; Smucker, Allan, Carterette 2007, CIKM, for rankings.
    """
    moved = np.asarray(differences, np.float64)
    moved = moved[moved.any(axis=1)]
    if not len(moved):
        return np.ones(differences.shape[1])
    observed = np.abs(moved.sum(axis=0))
    # Sums of another order differ in their last digits.
    least = observed - 1e-9 * np.abs(moved).sum(axis=0)
    if len(moved) <= MAX_EXACT_USERS:
        codes = np.arange(1 << len(moved))[:, None] >> np.arange(len(moved))
        return _num_at_least(codes & 1, moved, least) / len(codes)
    generator, extreme = np.random.default_rng(seed), np.zeros(moved.shape[1])
    # Multiples of eight rows take whole words of the generator, so that chunks change nothing.
    chunk = max(8, CHUNK_VALUES // len(moved) // 8 * 8)
    num_bytes = -(-len(moved) // 8)
    for first in range(0, num_resamples, chunk):
        rows = min(chunk, num_resamples - first)
        random = np.frombuffer(generator.bytes(rows * num_bytes), np.uint8).reshape(rows, -1)
        extreme += _num_at_least(np.unpackbits(random, axis=1, count=len(moved)), moved, least)
    return (1 + extreme) / (1 + num_resamples)


def _num_at_least(is_flipped: np.ndarray, differences: np.ndarray, least: np.ndarray) -> np.ndarray:
    """Returns int [C], how many rows of flips give sums of at least `least`, of either sign."""
    sums = differences.sum(axis=0) - 2.0 * (is_flipped.astype(np.float64) @ differences)
    return (np.abs(sums) >= least).sum(axis=0)


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


def verdict(difference: Difference, p_holm: float) -> str:
    """Returns `better` or `worse` where interval and test agree, else `no difference shown`."""
    if p_holm < LEVEL and difference.absolute.low > 0:
        return BETTER
    if p_holm < LEVEL and difference.absolute.high < 0:
        return WORSE
    return NOT_SHOWN
