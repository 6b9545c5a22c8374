"""The best items of a catalogue of any size, scored in blocks to bound memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

# Bounds of one block: its scores of all histories, and its rows of the item table, which a small
# table widens. So few of them stay in a processor's cache (8,192 rows took a third of the time of
# 131,072).
_BLOCK_SCORES = 1 << 24
_BLOCK_ROWS = 1 << 14
# Neighbouring columns of which only the largest score is compared at first.
_GROUP = 32


class ItemFilters(NamedTuple):
    """The items that must not be returned.

    Attributes:
        hidden: int32 [B, X], items that are not returned; 0 is padding at any position.
        allowed: int32 [B, A], the only items that may be returned, padded the same; None: all.
        allows_all: bool [B], rows whose `allowed` is ignored; None exactly if `allowed` is.
    """

    hidden: tf.Tensor
    allowed: tf.Tensor | None = None
    allows_all: tf.Tensor | None = None


class TopColumns(NamedTuple):
    """The best columns of each row, best first, ties by lower column.

    Attributes:
        values: float32 [B, k], -inf where fewer are left.
        indices: int32 [B, k]; meaningless beside -inf.
    """

    values: tf.Tensor
    indices: tf.Tensor


def best_items(
    scores_of: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
    filters: ItemFilters,
    *,
    num_columns: int,
    k: tf.Tensor,
) -> TopColumns:
    """Returns the k best of the columns 1, 2, ..., scored block by block.

    A block has at most 2 ** 24 scores and 2 ** 14 columns, but never fewer than k columns.

    Args:
        scores_of: (start, stop), int32 [] each -> finite scores of the columns start <= c < stop,
            float32 [B, stop - start].
        filters: The items that are not returned; column 0, padding, never is.
        num_columns: V + 1.
        k: int32 [], at most `num_columns`.
    """
    num_rows = tf.shape(filters.hidden)[0]
    size = tf.minimum(_BLOCK_ROWS, _BLOCK_SCORES // tf.maximum(num_rows, 1))
    size = tf.minimum(tf.maximum(size, k), num_columns)

    def step(start: tf.Tensor, best: TopColumns) -> tuple[tf.Tensor, TopColumns]:
        stop = tf.minimum(start + size, num_columns)
        scores = _filtered(scores_of(start, stop), filters, start)
        own = _top_columns(scores, tf.minimum(k, stop - start))
        # tf.math.top_k documents that the lower index comes first among equal values: here the
        # earlier block.
        values = tf.concat([best.values, own.values], axis=1)
        indices = tf.concat([best.indices, own.indices + start], axis=1)
        top = tf.math.top_k(values, k)
        return stop, TopColumns(top.values, tf.gather(indices, top.indices, batch_dims=1))

    empty = TopColumns(tf.fill([num_rows, k], -np.inf), tf.zeros([num_rows, k], tf.int32))
    _, best = tf.while_loop(
        lambda start, _: start < num_columns,
        step,
        (tf.constant(0), empty),
        shape_invariants=(
            tf.TensorShape([]),
            TopColumns(tf.TensorShape([None, None]), tf.TensorShape([None, None])),
        ),
        parallel_iterations=1,
    )
    return best


def best_items_unblocked(
    scores_of: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
    filters: ItemFilters,
    *,
    num_columns: int,
    k: tf.Tensor,
) -> TopColumns:
    """Returns the answer of `best_items` without a loop, for runtimes that support none."""
    scores = scores_of(tf.constant(0), tf.constant(num_columns))
    top = tf.math.top_k(_filtered(scores, filters, tf.constant(0)), k)
    return TopColumns(top.values, top.indices)


def _top_columns(scores: tf.Tensor, k: tf.Tensor) -> TopColumns:
    """Returns the answer of `tf.math.top_k`, which takes several times as long.

    Columns are in groups of neighbours. The k best are in the k groups with the largest maxima,
    of equal maxima the earlier groups: each of these has a column that is better than any other
    group's, or as good and earlier.

    Args:
        scores: float32 [B, n].
        k: int32 [], at most n.
    """
    num_rows, size = tf.unstack(tf.shape(scores))
    missing = [[0, 0], [0, (_GROUP - size % _GROUP) % _GROUP]]
    filled = tf.pad(scores, missing, constant_values=-np.inf)
    groups = tf.reshape(filled, [num_rows, -1, _GROUP])
    count = tf.minimum(k, tf.shape(groups)[1])
    largest = tf.math.top_k(tf.reduce_max(groups, axis=2), count)
    # In the order of the columns, so that among equal values the lower index stays the first.
    chosen = -tf.math.top_k(-largest.indices, count).values  # [B, count]
    candidates = tf.reshape(tf.gather(groups, chosen, batch_dims=1), [num_rows, -1])
    top = tf.math.top_k(candidates, k)
    group = tf.gather(chosen, top.indices // _GROUP, batch_dims=1)
    return TopColumns(top.values, group * _GROUP + top.indices % _GROUP)


def _filtered(scores: tf.Tensor, filters: ItemFilters, start: tf.Tensor) -> tf.Tensor:
    """Returns a block's scores float32 [B, n], -inf where a column must not be returned."""
    num_rows, size = tf.unstack(tf.shape(scores))
    # The pad value 0 hides column 0 of the first block, which is padding.
    hidden = tf.pad(filters.hidden, [[0, 0], [1, 0]])
    scores = _scatter(scores, hidden - start, -np.inf)
    if filters.allowed is None or filters.allows_all is None:
        return scores
    is_allowed = _scatter(tf.zeros([num_rows, size], tf.bool), filters.allowed - start, True)
    return tf.where(is_allowed | filters.allows_all[:, None], scores, -np.inf)


def _scatter(rows: tf.Tensor, columns: tf.Tensor, value: float | bool) -> tf.Tensor:
    """Returns `rows` [B, n] with `value` at `columns` int32 [B, X]; others are ignored."""
    is_inside = (columns >= 0) & (columns < tf.shape(rows)[1])
    source = tf.cast(tf.where(is_inside), tf.int32)  # [P, 2]
    target = tf.stack([source[:, 0], tf.gather_nd(columns, source)], axis=1)
    values = tf.fill(tf.shape(target)[:1], tf.constant(value, rows.dtype))
    return tf.tensor_scatter_nd_update(rows, target, values)
