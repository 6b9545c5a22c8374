"""Scores of the whole catalogue for chunks of users, on the device: counts for ranks, and top-k.

A column is an item id less 1: the padding row is cut off the table before scoring.
"""

import weakref
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import tensorflow as tf

from ufnrec_tf.common.graphs import graph_function
from ufnrec_tf.common.progress import working_on
from ufnrec_tf.common.tensors import EMPTY_SCORE, PAD, shared_constant

_FLOAT32_MAX = float(np.finfo(np.float32).max)


class CatalogueRanker:
    """Scores all items for M users, a chunk of users at a time, always in one static shape.

    A backbone is traced once for all rankers; each call reads its current weights.
    """

    def __init__(
        self,
        items: np.ndarray,
        starts: np.ndarray,
        ends: np.ndarray,
        *,
        targets: np.ndarray,
        mask_ends: np.ndarray,
        is_first: np.ndarray,
        sampled: np.ndarray,
        num_items: int,
        max_length: int,
        batch_size: int,
        times: Callable[[], np.ndarray] | None = None,
    ) -> None:
        """Puts the arrays of all chunks on the device.

        Args:
            items: int32 [E], ids 1..num_items.
            starts: int64 [M], where each user's history starts in `items`.
            ends: int64 [M], where it ends.
            targets: int32 [M].
            mask_ends: int64 [M], the items from each start to here are no candidates.
            is_first: bool [E], True for a user's first event with its item.
            sampled: int32 [M, N], items; N may be 0.
            num_items: V.
            max_length: L, columns of a window.
            batch_size: B, users a chunk.
            times: Returns int64 [E], when each event was; called if a backbone reads times. A
                target is the event at which its history ends: its time is that of the request.
        """
        self._times = times
        self._num_users, self._max_length, self._batch_size = len(targets), max_length, batch_size
        # Rows past the end repeat the last user and are dropped.
        num_rows = -(-len(targets) // batch_size) * batch_size
        rows = np.minimum(np.arange(num_rows), len(targets) - 1)
        self._chunk_starts = np.arange(0, len(targets), batch_size, dtype=np.int32)
        self._tensors = {
            "items": shared_constant(items, tf.int32),
            "starts": tf.constant(starts[rows], tf.int64),
            "ends": tf.constant(ends[rows], tf.int64),
            "columns": tf.constant(targets[rows] - 1, tf.int32),
            "sampled": tf.constant(sampled[rows] - 1, tf.int32),
            # Rows past the end mask nothing.
            "mask_ends": tf.constant(
                np.where(np.arange(num_rows) < len(targets), mask_ends[rows], starts[rows]),
                tf.int64,
            ),
            "is_first": shared_constant(is_first, tf.bool),
        }
        self._num_items = num_items

    def _arrays(self, backbone: Any) -> dict[str, tf.Tensor]:
        """Returns the arrays that the chunks of a backbone read."""
        if getattr(backbone, "num_times", 0) and "times" not in self._tensors:
            assert self._times is not None
            self._tensors["times"] = tf.constant(self._times(), tf.int64)
        return {name: self._tensors[name] for name in _specs(backbone)}

    def count(self, backbone: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns how many items score at least as high as each target.

        Args:
            backbone: A `Backbone`: `encode(histories, training)` and `item_embeddings()`.

        Returns:
            int32 [M], other unmasked items (undefined where the target is masked);
            int32 [M], sampled items; bool [M], True where scores are not finite.
        """
        return self._run(backbone, 0)

    def top_k(self, backbone: Any, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns `best_items` of all users, and bool [M], True where scores are not finite.

        Args:
            backbone: See `count`.
            k: 1..num_items.
        """
        return self._run(backbone, k)

    def _run(self, backbone: Any, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns the outputs of `_chunk` for all users."""
        if not self._num_users:
            return np.zeros([0, k] if k else 0, np.int32), np.zeros([0, k] if k else 0), np.zeros(0)
        table, step = self._traced(backbone, k)
        tensors = self._arrays(backbone)
        catalogue, norm = table()
        outputs = []
        label = "finding the best items" if k else "ranking"
        with working_on(label, self._num_users, "users") as ranked:
            for start in self._chunk_starts:
                outputs.append(step(tensors, catalogue, norm, tf.constant(start)))
                ranked.advance(self._batch_size)
        first, second, is_bad = zip(*outputs, strict=True)
        size = self._num_users
        return (
            np.concatenate(first)[:size],
            np.concatenate(second)[:size],
            np.concatenate(is_bad)[:size],
        )

    def _traced(self, backbone: Any, k: int) -> tuple[Callable, ...]:
        """Returns the functions (item table, chunk) of this backbone and k."""
        known = _TRACED.setdefault(backbone, {})
        key = (k, self._batch_size, self._max_length)
        if key not in known:
            known[key] = _trace(backbone, *key)
        return known[key]


_TRACED: WeakKeyDictionary[Any, dict[tuple[int, ...], tuple[Callable, ...]]] = WeakKeyDictionary()
"""Backbone -> k, batch size and window length -> its functions: one trace for all rankers."""


def _trace(backbone: Any, k: int, batch_size: int, max_length: int) -> tuple[Callable, Callable]:
    """Returns the function of the item table and that of a chunk; see `CatalogueRanker`.

    They do not keep the backbone, as they are kept for as long as it is.
    """
    owner: Callable[[], Any] = weakref.ref(backbone)
    num_times = getattr(backbone, "num_times", 0)

    def table() -> tuple[tf.Tensor, tf.Tensor]:
        catalogue = tf.cast(owner().item_embeddings(), tf.float32)[PAD + 1 :]  # [V, D]
        return catalogue, tf.norm(catalogue)

    def step(tensors: dict, catalogue: tf.Tensor, norm: tf.Tensor, start: tf.Tensor) -> tuple:
        histories, columns, sampled, masked = _inputs(tensors, start, batch_size, max_length)
        times = {}
        if num_times:
            times["times"] = _times(tensors, start, batch_size, num_times, max_length)
        vectors = tf.cast(owner().encode(histories, training=False, **times), tf.float32)  # [B, D]
        scores = tf.linalg.matmul(vectors, catalogue, transpose_b=True)  # [B, V]
        targets = tf.gather(scores, columns, batch_dims=1)
        is_bad = has_nan(vectors, scores, norm) | ~tf.math.is_finite(targets)
        if k:
            return *best_items(scores, masked, k=k), is_bad
        better = count_better(scores, targets, masked)
        return better, count_better_sampled(scores, targets, sampled), is_bad

    shape = backbone.item_embeddings().shape
    specs = [
        _specs(backbone),
        tf.TensorSpec([shape[0] - 1, shape[1]], tf.float32),
        tf.TensorSpec([], tf.float32),
        tf.TensorSpec([], tf.int32),
    ]
    return (
        graph_function(table, backbone),
        graph_function(step, backbone, input_signature=specs),
    )


_TENSORS = {
    "items": tf.TensorSpec([None], tf.int32),
    "starts": tf.TensorSpec([None], tf.int64),
    "ends": tf.TensorSpec([None], tf.int64),
    "columns": tf.TensorSpec([None], tf.int32),
    "sampled": tf.TensorSpec([None, None], tf.int32),
    "mask_ends": tf.TensorSpec([None], tf.int64),
    "is_first": tf.TensorSpec([None], tf.bool),
}
"""The arrays of a ranker: those of validation and test differ in length, and share a trace."""


def _specs(backbone: Any) -> dict[str, tf.TensorSpec]:
    """Returns the arrays of a ranker that the chunks of a backbone read."""
    if not getattr(backbone, "num_times", 0):
        return _TENSORS
    return {**_TENSORS, "times": tf.TensorSpec([None], tf.int64)}


def _inputs(
    tensors: dict[str, tf.Tensor], start: tf.Tensor, batch_size: int, max_length: int
) -> tuple[tf.Tensor, ...]:
    """Returns a chunk's histories, target columns, sampled columns and masked pairs.

    Args:
        tensors: As `_TENSORS`.
        start: int32 [], the chunk's first row.
        batch_size: B.
        max_length: L.
    """
    rows = start + tf.range(batch_size)
    starts, ends, columns, sampled = (
        tf.gather(tensors[name], rows) for name in ("starts", "ends", "columns", "sampled")
    )
    windows = newest_windows(tensors["items"], starts, ends, max_length=max_length)
    counts = tf.gather(tensors["mask_ends"], rows) - starts
    masked_rows = tf.repeat(tf.range(batch_size), counts)
    firsts = starts - tf.cumsum(counts, exclusive=True)
    events = tf.gather(firsts, masked_rows) + tf.range(tf.reduce_sum(counts))
    is_first = tf.gather(tensors["is_first"], events)
    events, masked_rows = events[is_first], masked_rows[is_first]
    masked = tf.stack([masked_rows, tf.gather(tensors["items"], events) - 1], axis=1)
    return windows, columns, sampled, masked


def _times(
    tensors: dict[str, tf.Tensor], start: tf.Tensor, batch_size: int, num_times: int, length: int
) -> tf.Tensor:
    """Returns int64 [batch_size, num_times], the times of a chunk's histories of `length` columns.

    A column more is the time of the target.
    """
    rows = start + tf.range(batch_size)
    starts, ends = (tf.gather(tensors[name], rows) for name in ("starts", "ends"))
    later = num_times - length
    return newest_windows(tensors["times"], starts, ends + later, max_length=num_times)


def newest_windows(
    items: tf.Tensor, starts: tf.Tensor, ends: tf.Tensor, *, max_length: int
) -> tf.Tensor:
    """Returns the last items of each range `items[starts:ends]`, left-padded: [B, L].

    Args:
        items: int32 [E], or their times, int64.
        starts: int64 [B].
        ends: int64 [B].
        max_length: L.
    """
    index = ends[:, None] + tf.range(-max_length, 0, dtype=tf.int64)  # [B, L]
    is_real = index >= starts[:, None]
    return tf.where(is_real, tf.gather(items, tf.where(is_real, index, 0)), PAD)


def has_nan(vectors: tf.Tensor, scores: tf.Tensor, catalogue_norm: tf.Tensor) -> tf.Tensor:
    """Returns bool [B], True where a row of `scores` holds NaN.

    By Cauchy and Schwarz a score, and each partial sum of it, is at most the product of the
    norms. Where that is finite no score can be NaN, and none is checked.

    Args:
        vectors: float32 [B, D].
        scores: float32 [B, V], the dot products of vectors and catalogue.
        catalogue_norm: float32 [], Euclidean norm of the whole catalogue.
    """
    # A norm is a sum, so that one NaN makes it NaN; the kernel of a maximum may ignore NaN.
    return tf.cond(
        tf.norm(vectors) * catalogue_norm < _FLOAT32_MAX,
        lambda: tf.zeros_like(scores[:, 0], tf.bool),
        lambda: tf.reduce_any(tf.math.is_nan(scores), axis=1),
    )


def count_better(scores: tf.Tensor, targets: tf.Tensor, masked: tf.Tensor) -> tf.Tensor:
    """Returns int32 [B], how many other unmasked columns score at least as high as the target.

    Counts over all columns, then subtracts the masked ones: no [B, V] mask is made. Undefined in
    a row whose target is masked.

    Args:
        scores: float32 [B, V].
        targets: float32 [B], the targets' scores, each an entry of its row.
        masked: int32 [K, 2], distinct (row, column) pairs.
    """
    is_better = tf.gather_nd(scores, masked) >= tf.gather(targets, masked[:, 0])  # [K]
    num_masked = tf.math.unsorted_segment_sum(
        tf.cast(is_better, tf.int32), masked[:, 0], tf.shape(scores)[0]
    )
    return _count(scores >= targets[:, None]) - num_masked - 1


def count_better_sampled(scores: tf.Tensor, targets: tf.Tensor, sampled: tf.Tensor) -> tf.Tensor:
    """Returns int32 [B], how many sampled columns score at least as high as the target.

    Args:
        scores: float32 [B, V].
        targets: float32 [B], the targets' scores, each an entry of its row.
        sampled: int32 [B, N], columns; a repeated one counts each time.
    """
    return _count(tf.gather(scores, sampled, batch_dims=1) >= targets[:, None])


def best_items(scores: tf.Tensor, masked: tf.Tensor, *, k: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the k best unmasked items, of equal scores the lower id first.

    Args:
        scores: float32 [B, V].
        masked: int32 [K, 2], (row, column) pairs.
        k: 1..V.

    Returns:
        items int32 [B, k] and scores float32 [B, k]; item 0 with score -1e30 where none is left.
    """
    hidden = tf.fill([tf.shape(masked)[0]], np.float32(-np.inf))
    best = tf.math.top_k(tf.tensor_scatter_nd_update(scores, masked, hidden), k)
    is_candidate = best.values > -np.inf
    items = tf.where(is_candidate, best.indices + 1, PAD)
    return items, tf.where(is_candidate, best.values, EMPTY_SCORE)


def _count(is_counted: tf.Tensor) -> tf.Tensor:
    """Returns int32 [B], the number of True in each row."""
    # tf.math.count_nonzero takes one and a half times as long.
    return tf.reduce_sum(tf.cast(is_counted, tf.int32), axis=1)
