"""Ranking metrics as pure functions of the ranks of targets; no TensorFlow."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ufnrec_tf.common.errors import UserError
from ufnrec_tf.common.lookup import pick
from ufnrec_tf.common.user_code import is_path
from ufnrec_tf.evaluation.own_metric import load_metric

COMPARED = ("hr@10", "ndcg@10", "mrr")
"""Metrics that are always computed, that tables show and comparisons test; Holm's correction is
over the arms, for each."""

MAIN = "ndcg@10"
"""The metric of findings, charts and selection, where a single one is used."""

CUTOFFS: tuple[int, ...] = (1, 5, 10, 20)
"""List lengths at which a metric with a cutoff is reported."""

WITHOUT_CUTOFF: frozenset[str] = frozenset({"mrr"})
"""Metrics of the whole list: reported once, under their own name."""


def hit_rate(ranks: np.ndarray, cutoff: int | None = None) -> np.ndarray:
    """Returns 1 where the target is among the first `cutoff` items, else 0.

    With one target in each ranking this is also recall and success. Where a user has several
    targets, each has a ranking of its own.

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


def recall(ranks: np.ndarray, cutoff: int | None = None) -> np.ndarray:
    """Returns the share of the relevant items that are among the first `cutoff`.

    A ranking has one relevant item, its target, so that this equals `hit_rate`.

    Args:
        ranks: int [M], rank of each target, 1 is best.
        cutoff: Length of the list; None for the whole list.

    Returns:
        float64 [M].
    """
    return hit_rate(ranks, cutoff)


def average_precision(ranks: np.ndarray, cutoff: int | None = None) -> np.ndarray:
    """Returns the mean over the relevant items of the precision at their ranks, 0 past `cutoff`.

    A ranking has one relevant item, its target, with precision 1 / rank there, so that this equals
    `reciprocal_rank`.

    Args:
        ranks: int [M], rank of each target, 1 is best.
        cutoff: Length of the list; None for the whole list.

    Returns:
        float64 [M]; its mean is MAP.
    """
    return reciprocal_rank(ranks, cutoff)


Metric = Callable[[np.ndarray, int | None], np.ndarray]
"""A function of ranks, int [M], and a cutoff, that returns float64 [M]."""

METRICS: dict[str, Metric] = {
    "hr": hit_rate,
    "ndcg": ndcg,
    "mrr": reciprocal_rank,
}
"""Name of a metric to its function(ranks, cutoff) -> values [M]. A new metric is a new line."""

FURTHER_METRICS: dict[str, Metric] = {"recall": recall, "map": average_precision}
"""The same for metrics that are computed only if `evaluation.metrics` names them."""


class ChosenMetrics(NamedTuple):
    """The metrics that a run computes.

    Attributes:
        functions: Name -> function.
        without_cutoff: The names of those that are of the whole list.
        cutoffs: List lengths at which the others are reported.
    """

    functions: Mapping[str, Metric] = METRICS
    without_cutoff: frozenset[str] = WITHOUT_CUTOFF
    cutoffs: tuple[int, ...] = CUTOFFS

    @property
    def names(self) -> tuple[str, ...]:
        """The name of each number that is reported, hr@1 ..., those of `COMPARED` among them."""
        own = [
            name if name in self.without_cutoff else f"{name}@{cutoff}"
            for name in self.functions
            for cutoff in ((0,) if name in self.without_cutoff else self.cutoffs)
        ]
        return tuple(dict.fromkeys([*own, *COMPARED]))

    def compared(self, monitor: str = "") -> tuple[str, ...]:
        """Returns the names that tables show: `COMPARED`, and what is not computed by default.

        Args:
            monitor: The metric that selects.
        """
        cutoff = 10 if 10 in self.cutoffs else max(self.cutoffs)
        further = [
            name if name in self.without_cutoff else f"{name}@{cutoff}"
            for name in self.functions
            if name not in METRICS
        ]
        if monitor and monitor not in ChosenMetrics().names:
            further.append(monitor)
        return tuple(dict.fromkeys([*COMPARED, *further]))

    def values(self, name: str, ranks: np.ndarray) -> np.ndarray:
        """Returns one of `names` for each rank, float64 [M]."""
        metric, _, cutoff = name.partition("@")
        function = {**METRICS, **FURTHER_METRICS, **self.functions}[metric]
        return function(ranks, int(cutoff) if cutoff else None)


def choose_metrics(
    names: Sequence[str] = tuple(METRICS), cutoffs: Sequence[int] = CUTOFFS
) -> ChosenMetrics:
    """Returns the metrics of these names.

    Args:
        names: Keys of `METRICS` and `FURTHER_METRICS`, or a user's own, path/to/file.py:name.
        cutoffs: List lengths.

    Raises:
        UserError: For an unknown name, a metric of a file that breaks its promise, a name twice, or
            a cutoff that is no whole number from 1.
    """
    if not cutoffs or not all(type(cutoff) is int and cutoff > 0 for cutoff in cutoffs):
        raise UserError(
            "`evaluation.cutoffs` must be whole numbers from 1, as in 1,5,10,20,50. Received: "
            f"{', '.join(map(repr, cutoffs)) or 'none'}."
        )
    known = {**METRICS, **FURTHER_METRICS}
    functions: dict[str, Metric] = {}
    without = set(WITHOUT_CUTOFF)
    for text in names:
        if not isinstance(text, str):
            raise UserError(
                "`evaluation.metrics` must be names such as hr, or path/to/file.py:name. "
                f"Received: {text!r}."
            )
        if not is_path(text):
            functions[text] = pick(known, text, key="evaluation.metrics")
            continue
        own = load_metric(text, cutoffs=cutoffs)
        if own.name in known or own.name in functions:
            raise UserError(
                f"`evaluation.metrics`: {text}: there is a metric {own.name!r} already. Give it "
                "another name."
            )
        functions[own.name] = own
        if not own.has_cutoff:
            without.add(own.name)
    return ChosenMetrics(functions, frozenset(without), tuple(dict.fromkeys(cutoffs)))


def check_cutoffs(cutoffs: Sequence[int], num_items: int) -> None:
    """Checks that a list of such a length can leave out an item.

    Raises:
        UserError: For a cutoff above the number of items, unless it is one of the default.
    """
    for cutoff in cutoffs:
        if cutoff > num_items and cutoff not in CUTOFFS:
            raise UserError(
                f"`evaluation.cutoffs` must not be above the number of items, {num_items:,}. "
                f"Received: {cutoff}."
            )


def metrics_from_ranks(
    ranks: np.ndarray, *, prefix: str = "", suffix: str = "", chosen: ChosenMetrics | None = None
) -> dict[str, float]:
    """Returns the mean over users of every metric at every cutoff.

    Args:
        ranks: int [M], rank of each user's target, 1 is best.
        prefix: Put before each name.
        suffix: Put after each name, `_uni100` for the ranks among 100 uniform negatives.
        chosen: The metrics; None for those of `METRICS` at `CUTOFFS`.

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
    chosen = chosen or ChosenMetrics()
    return {
        f"{prefix}{name}{suffix}": float(chosen.values(name, ranks).mean()) for name in chosen.names
    }


def _within(ranks: np.ndarray, cutoff: int | None) -> np.ndarray:
    """Returns bool [M]: True where the rank is inside the cutoff."""
    if cutoff is not None and cutoff < 1:
        raise ValueError(f"`cutoff` must be a positive integer or None. Received: {cutoff}.")
    return np.asarray(ranks) <= (np.inf if cutoff is None else cutoff)
