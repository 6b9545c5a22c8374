"""Ranking metrics as pure functions of the ranks of targets; no TensorFlow."""

from collections.abc import Callable

import numpy as np

COMPARED = ("hr@10", "ndcg@10", "mrr")
"""Metrics that tables show and comparisons test; Holm's correction is over the arms, for each."""

MAIN = "ndcg@10"
"""The metric of findings, charts and selection, where a single one is used."""

CUTOFFS: tuple[int, ...] = (1, 5, 10, 20)
"""List lengths at which a metric with a cutoff is reported."""

WITHOUT_CUTOFF: frozenset[str] = frozenset({"mrr"})
"""Metrics of the whole list: reported once, under their own name."""


def hit_rate(ranks: np.ndarray, cutoff: int | None = None) -> np.ndarray:
    """Returns 1 where the target is among the first `cutoff` items, else 0.

    With one target a user this is also recall and success.

    Args:
        ranks: int [M], rank of each user's target, 1 is best.
        cutoff: Length of the list; None for the whole list.

    Returns:
        float64 [M].
    """
    return _within(ranks, cutoff).astype(np.float64)


def ndcg(ranks: np.ndarray, cutoff: int | None = None) -> np.ndarray:
    """Returns 1 / log2(1 + rank) where the target is among the first `cutoff` items, else 0.

    With one target a user the ideal gain is 1, so that the gain needs no normalisation.

    Args:
        ranks: int [M], rank of each user's target, 1 is best.
        cutoff: Length of the list; None for the whole list.

    Returns:
        float64 [M].
    """
    return np.where(_within(ranks, cutoff), 1.0 / np.log2(1.0 + np.asarray(ranks)), 0.0)


def reciprocal_rank(ranks: np.ndarray, cutoff: int | None = None) -> np.ndarray:
    """Returns 1 / rank where the target is among the first `cutoff` items, else 0.

    Args:
        ranks: int [M], rank of each user's target, 1 is best.
        cutoff: Length of the list; None for the whole list.

    Returns:
        float64 [M]; its mean is the MRR.
    """
    return np.where(_within(ranks, cutoff), 1.0 / np.asarray(ranks), 0.0)


METRICS: dict[str, Callable[[np.ndarray, int | None], np.ndarray]] = {
    "hr": hit_rate,
    "ndcg": ndcg,
    "mrr": reciprocal_rank,
}
"""Name of a metric to its function(ranks, cutoff) -> values [M]. A new metric is a new line."""


def metrics_from_ranks(
    ranks: np.ndarray, *, prefix: str = "", suffix: str = ""
) -> dict[str, float]:
    """Returns the mean over users of every metric at every cutoff.

    Args:
        ranks: int [M], rank of each user's target, 1 is best.
        prefix: Put before each name.
        suffix: Put after each name, `_uni100` for the ranks among 100 uniform negatives.

    Returns:
        Name to mean, in the order hr@1 ... hr@20, ndcg@1 ... ndcg@20, mrr.

    Raises:
        ValueError: If `ranks` is empty, not a vector of integers, or holds a value below 1.
    """
    ranks = np.asarray(ranks)
    if ranks.ndim != 1 or not ranks.size or not np.issubdtype(ranks.dtype, np.integer):
        raise ValueError(
            "`ranks` must be a vector of at least one integer. "
            f"Received: shape {ranks.shape}, dtype {ranks.dtype}."
        )
    if ranks.min() < 1:
        raise ValueError(f"`ranks` must be 1 or more. Received: {ranks.min()}.")
    means = {}
    for name, function in METRICS.items():
        for cutoff in (None,) if name in WITHOUT_CUTOFF else CUTOFFS:
            key = name if cutoff is None else f"{name}@{cutoff}"
            means[f"{prefix}{key}{suffix}"] = float(function(ranks, cutoff).mean())
    return means


def _within(ranks: np.ndarray, cutoff: int | None) -> np.ndarray:
    """Returns bool [M]: True where the rank is inside the cutoff."""
    if cutoff is not None and cutoff < 1:
        raise ValueError(f"`cutoff` must be a positive integer or None. Received: {cutoff}.")
    return np.asarray(ranks) <= (np.inf if cutoff is None else cutoff)
