"""Lists with less of the same: maximal marginal relevance over the items' vectors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ufnrec_tf.common.arguments import shown
from ufnrec_tf.common.errors import UserError
from ufnrec_tf.export.saved_model import VECTORS_FILE

CANDIDATES = 100
"""Best items that a list is chosen from, or twice its length where that is more."""

_NO_SCORE = -1e29  # above that of an empty place, and below any other
_FAR = 1e6  # farther than values of candidates lie apart
_MOST_FLOATS = 1 << 24  # of the vectors that are held at once


def checked_diversity(value: Any, name: str = "`diversity`") -> float:
    """Returns a diversity from 0 to 1.

    Raises:
        UserError: If it is anything else.
    """
    is_number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if not is_number or not 0 <= value <= 1:
        raise UserError(f"{name} must be a number from 0 to 1. Received: {shown(value)}.")
    return float(value)


def item_vectors(version: Path, model: Any) -> np.ndarray:
    """Returns the vectors by which a model scores its items, float32 [V, D].

    Args:
        version: The version folder of the export, whose file is mapped, not read.
        model: The loaded SavedModel, for an older export without that file.
    """
    path = version / VECTORS_FILE
    if path.is_file():
        return np.load(path, mmap_mode="r", allow_pickle=False)
    return model.item_vectors()["vectors"].numpy()[1:]


def diverse_order(
    scores: np.ndarray, vectors: np.ndarray, *, k: int, diversity: float
) -> np.ndarray:
    """Returns the places of k candidates of each list, chosen one by one.

    Each time the candidate i is taken with the highest

        (1 - diversity) * relevance(i) - diversity * max over the items j taken of cosine(i, j)

    where relevance is the score, scaled so that the best candidate of the list has 1 and the worst
    0: scores of any scale then weigh the same against cosines, which are at most 1. Ties go to the
    better score. The first item is always the best one; with a diversity of 0 the order stays.

    Source: Carbonell and Goldstein, The use of MMR, diversity-based reranking for reordering
    documents and producing summaries, SIGIR 1998, whose lambda is 1 - diversity.

    Args:
        scores: float32 [B, C], best first; empty places at the end have `EMPTY_SCORE`.
        vectors: float32 [B, C, D], the candidates' vectors; those of empty places do not matter.
        k: Items of a list, at most C.
        diversity: From 0 to 1.

    Returns:
        int64 [B, k]; empty places stay at the end.
    """
    scores = scores.astype(np.float64)
    num_rows, num_left = len(scores), scores.shape[1]
    is_item = scores > _NO_SCORE
    best = scores[:, :1]
    worst = np.where(is_item, scores, best).min(axis=1, keepdims=True)
    relevance = (scores - worst) / np.where(best > worst, best - worst, 1)
    # An empty place is behind every item, and its order stays.
    values = np.where(is_item, (1 - diversity) * relevance, -_FAR - np.arange(num_left))
    lengths = np.linalg.norm(vectors, axis=2, keepdims=True)
    units = vectors / np.where(lengths > 0, lengths, 1)
    nearest = np.full_like(values, -np.inf)
    order = np.zeros((num_rows, k), np.int64)
    rows = np.arange(num_rows)
    for place in range(k):
        penalty = diversity * nearest if place else 0
        taken = np.argmax(values - penalty, axis=1)  # the first of equals
        order[:, place] = taken
        values[rows, taken] = -np.inf
        cosines = np.einsum("bcd,bd->bc", units, units[rows, taken])
        nearest = np.maximum(nearest, cosines)
    return order


class Diversifier:
    """Chooses diverse lists among a model's best items.

    Args:
        vectors: float32 [V, D], by internal id from 1.
        diversity: From 0 to 1.
    """

    def __init__(self, vectors: np.ndarray, diversity: float) -> None:
        self._vectors = vectors
        self._diversity = diversity

    def num_candidates(self, k: int) -> int:
        """Returns the number of best items to choose k from."""
        return min(max(CANDIDATES, 2 * k), len(self._vectors))

    def chosen(
        self, item_ids: np.ndarray, scores: np.ndarray, places: np.ndarray, k: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns the ids and scores of k candidates of each list, in the order of choice.

        Args:
            item_ids: object (bytes) [B, C], best first, "" at empty places.
            scores: float32 [B, C].
            places: int32 [B, C], internal ids, 0 at empty places.
            k: Items of a list, at most C.
        """
        rows = np.maximum(places, 1) - 1
        size = max(1, _MOST_FLOATS // (rows.shape[1] * self._vectors.shape[1]))
        orders = [
            diverse_order(
                scores[start : start + size],
                self._vectors[rows[start : start + size]],  # [B, C, D]
                k=k,
                diversity=self._diversity,
            )
            for start in range(0, max(len(rows), 1), size)
        ]
        order = np.concatenate(orders)
        return np.take_along_axis(item_ids, order, 1), np.take_along_axis(scores, order, 1)


def make_diversifier(version: Path, model: Any, diversity: float) -> Diversifier | None:
    """Returns the chooser of diverse lists by a loaded SavedModel; None for a diversity of 0."""
    return Diversifier(item_vectors(version, model), diversity) if diversity else None
