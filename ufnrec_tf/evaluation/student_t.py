"""Student's t distribution in NumPy: two-sided p-values and the quantile of an interval."""

import math

import numpy as np

MOST_DF = 10_000.0
"""Degrees of freedom beyond which the distribution counts as this one: the fourth digit of a
quantile is that of the normal distribution, and the continued fraction needs few terms."""

_TERMS = 300
_TINY = 1e-300


def two_sided_p(t: np.ndarray | float, df: np.ndarray | float) -> np.ndarray:
    """Returns the probability of a value at least as far from zero as t; the arguments broadcast.

    It is the regularised incomplete beta function I_x(df / 2, 1 / 2) at x = df / (df + t^2).

    Args:
        t: The values of the statistic.
        df: Degrees of freedom, at least 1.

    Source: DLMF 8.17.22, https://dlmf.nist.gov/8.17#v, the continued fraction.
    """
    t, n = np.broadcast_arrays(
        np.asarray(t, np.float64), np.minimum(np.asarray(df, np.float64), MOST_DF)
    )
    a, b, x = n / 2, 0.5, n / (n + t * t)
    # The fraction converges fast on one side only; I_x(a, b) = 1 - I_(1-x)(b, a).
    is_swapped = x >= (a + 1) / (a + b + 2)
    first, second = np.where(is_swapped, b, a), np.where(is_swapped, a, b)
    # 1 - x = t^2 / (df + t^2), without cancellation.
    at = np.where(is_swapped, t * t / (n + t * t), x)
    rest = np.where(is_swapped, x, t * t / (n + t * t))
    with np.errstate(divide="ignore"):
        log_front = first * np.log(at) + second * np.log(rest) - _log_beta(n)
    part = np.exp(log_front) * _fraction(first, second, at) / first
    return np.clip(np.where(is_swapped, 1 - part, part), 0.0, 1.0)


def critical_value(df: np.ndarray | float, *, level: float) -> np.ndarray:
    """Returns the t whose two-sided p-value is `level`.

    Args:
        df: Degrees of freedom, at least 1.
        level: 0..1, such as 0.05 for a 95% interval.
    """
    df = np.minimum(np.asarray(df, np.float64), MOST_DF)
    log_t = np.full(df.shape, math.log(2.0))
    for _ in range(60):  # Newton's steps on log p as a function of log t, which is nearly straight
        t = np.exp(log_t)
        p = two_sided_p(t, df)
        log_density = -(df + 1) / 2 * np.log1p(t * t / df) - _log_beta(df) - np.log(df) / 2
        step = (np.log(p) - math.log(level)) * p / (2 * t * np.exp(log_density))
        log_t = log_t + np.clip(step, -1.0, 1.0)
        if np.all(np.abs(step) < 1e-13):
            break
    return np.exp(log_t)


def _log_beta(df: np.ndarray) -> np.ndarray:
    """Returns log B(df / 2, 1 / 2)."""
    log_gamma = np.vectorize(math.lgamma, otypes=[np.float64])
    return log_gamma(df / 2) + math.lgamma(0.5) - log_gamma((df + 1) / 2)


def _fraction(a: np.ndarray, b: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Returns the continued fraction of the incomplete beta function, by Lentz's method."""
    value, c, d = np.ones_like(x), np.full_like(x, np.inf), np.ones_like(x)
    for term in range(1, _TERMS):
        m = term // 2
        if term % 2:
            factor = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            factor = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        d = 1 + factor * d
        d = 1 / np.where(np.abs(d) < _TINY, _TINY, d)
        c = 1 + factor / c
        c = np.where(np.abs(c) < _TINY, _TINY, c)
        value = value * d * c
        if np.all(np.abs(c * d - 1) < 1e-15):
            break
    return value
