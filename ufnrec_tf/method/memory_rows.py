"""Rows of the memory, as pure functions: find items, merge a visit, choose the items that stay."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf


class MergedRows(NamedTuple):
    """Rows after a visit, before any is shortened to its slots; P rows, M places.

    Attributes:
        items: int32 [P, M], 0 in an unused place, otherwise ascending from left to right.
        counts: int32 [P, M].
        order: int32 [P, M], the column at which the item was written, `never` where it was not.
        never: A number above every column.
        num_refused: int64 [], hard items beyond the list's capacity.
    """

    items: tf.Tensor
    counts: tf.Tensor
    order: tf.Tensor
    never: int
    num_refused: tf.Tensor


class KeptRows(NamedTuple):
    """Rows as they are stored.

    Attributes:
        items: int32 [P, S], ascending, zeros first.
        states: int32 [P, S], twice the count, plus 1 while remembered.
        num_evicted: int64 [], items with a count that lost their slot.
        num_refused: int64 [], items without a count that got no slot.
    """

    items: tf.Tensor
    states: tf.Tensor
    num_evicted: tf.Tensor
    num_refused: tf.Tensor


def flat_slots(slot_items: tf.Tensor, items: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the slots of items in their rows.

    Args:
        slot_items: int32 [P, S], ascending, zeros first.
        items: int32 [P, K], 0 for none.

    Returns:
        int32 [P, K], the slot's index in the flattened [P * S] table (some valid index where
        the item is not found), and bool [P, K], True where it is found.
    """
    num_slots = slot_items.shape[1]
    slots = tf.minimum(tf.searchsorted(slot_items, items), num_slots - 1)
    slots += num_slots * tf.range(tf.shape(items)[0])[:, None]
    is_found = (tf.gather(tf.reshape(slot_items, [-1]), slots) == items) & (items > 0)
    return slots, is_found


def merge(
    slot_items: tf.Tensor,
    slot_states: tf.Tensor,
    entries: tf.Tensor,
    *,
    num_items: int,
    capacity: int,
    is_cumulative: bool,
) -> MergedRows:
    """Returns the rows' slots merged with the entries that a visit writes.

    One sort by (item, column) puts an item's slot before its entries, so that all facts about an
    item stand in its first place and the place to the right of it.

    Args:
        slot_items: int32 [P, S], ascending, zeros first.
        slot_states: int32 [P, S], with the visit's counts.
        entries: int32 [P, N], items to remember in the order of their columns, 0 for none.
        num_items: Number of items.
        capacity: Distinct items remembered at most.
        is_cumulative: True keeps the count of items that are not written.
    """
    num_columns = entries.shape[1]
    base = num_columns + 1
    dtype = tf.int32 if (num_items + 1) * base < 2**31 else tf.int64
    column = tf.range(1, base, dtype=dtype)
    new_keys = tf.cast(entries, dtype) * base + tf.where(entries > 0, column, 0)
    keys = tf.concat([tf.cast(slot_items, dtype) * base, new_keys], axis=1)
    negated, source = tf.math.top_k(-keys, keys.shape[1])
    items, order = tf.cast(-negated // base, tf.int32), tf.cast(-negated % base, tf.int32)
    states = tf.concat([slot_states, tf.zeros_like(entries)], axis=1)
    states = tf.gather(states, source, batch_dims=1)
    is_first = (items > 0) & (items != tf.pad(items[:, :-1], [[0, 0], [1, 0]]))
    has_entry = tf.pad(items[:, 1:], [[0, 0], [0, 1]]) == items
    next_order = tf.pad(order[:, 1:], [[0, 0], [0, 1]])
    written = tf.where(order > 0, order, tf.where(has_entry, next_order, base))
    written = tf.where(is_first, written, base)
    written, num_refused = _cut(written, base, capacity)
    counts = tf.where(is_first, states // 2, 0)
    if not is_cumulative:
        counts = tf.where(written < base, counts, 0)
    is_used = is_first & ((written < base) | (counts > 0))
    return MergedRows(tf.where(is_used, items, 0), counts, written, base, num_refused)


def _cut(order: tf.Tensor, never: int, capacity: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the order with only the first `capacity` items of each row; int64 [], cut ones."""
    if capacity >= never - 1:
        return order, tf.constant(0, tf.int64)
    last = -tf.math.top_k(-order, capacity).values[:, -1:]
    is_cut = (order > last) & (order < never)
    return tf.where(is_cut, never, order), tf.math.count_nonzero(is_cut)


def keep_best(rows: MergedRows, *, num_slots: int, num_items: int) -> KeptRows:
    """Returns merged rows cut to their slots: remembered items first, then the highest counts."""
    is_used = rows.items > 0
    overflow = tf.reduce_max(tf.math.count_nonzero(is_used, axis=1)) > num_slots
    is_kept = tf.cond(overflow, lambda: _is_among_best(rows, num_slots, num_items), lambda: is_used)
    is_dropped = is_used & ~is_kept
    is_counted = rows.counts > 0
    items, place = tf.math.top_k(tf.where(is_kept, rows.items, 0), num_slots)
    is_listed = tf.cast(rows.order < rows.never, tf.int32)
    states = tf.gather(rows.counts * 2 + is_listed, place, batch_dims=1)
    states = tf.where(items > 0, states, 0)
    return KeptRows(
        items=tf.reverse(items, [1]),
        states=tf.reverse(states, [1]),
        num_evicted=tf.math.count_nonzero(is_dropped & is_counted),
        num_refused=rows.num_refused + tf.math.count_nonzero(is_dropped & ~is_counted),
    )


def _is_among_best(rows: MergedRows, num_slots: int, num_items: int) -> tf.Tensor:
    """Returns bool [P, M]: the `num_slots` first by (remembered, column | count, item id)."""
    span = num_items + 1
    by_count = tf.cast(rows.counts, tf.int64) * span + tf.cast(num_items - rows.items, tf.int64)
    # Counts stay below 2**30, so that remembered items come before items with only a count.
    by_order = (2**31 + tf.cast(rows.never - rows.order, tf.int64)) * span
    priority = tf.where(rows.order < rows.never, by_order, by_count)
    priority = tf.where(rows.items > 0, priority, -1)
    last = tf.math.top_k(priority, num_slots).values[:, -1:]
    return (priority >= last) & (rows.items > 0)


def insert(slot_items: tf.Tensor, slot_states: tf.Tensor, new_items: tf.Tensor) -> KeptRows:
    """Returns rows that have room with new items inserted, by a merge instead of a sort.

    For rows with many slots: two sorted lists are merged by searching, for each item of one, how
    many items of the other come before it.

    Args:
        slot_items: int32 [P, S], ascending, zeros first.
        slot_states: int32 [P, S].
        new_items: int32 [P, N], distinct, ascending, zeros first, none of them in the slots; no
            more than there are empty slots.
    """
    num_slots, num_new = slot_items.shape[1], new_items.shape[1]
    width = num_slots + num_new
    old_place = tf.range(num_slots) + tf.searchsorted(new_items, slot_items, side="left")
    new_place = tf.range(num_new) + tf.searchsorted(slot_items, new_items, side="right")
    row = width * tf.range(tf.shape(slot_items)[0])[:, None]
    place = tf.reshape(tf.concat([old_place, new_place], axis=1) + row, [-1, 1])
    shape = [width * tf.shape(slot_items)[0]]

    def placed(old: tf.Tensor, new: tf.Tensor) -> tf.Tensor:
        values = tf.reshape(tf.concat([old, new], axis=1), [-1])
        return tf.reshape(tf.scatter_nd(place, values, shape), [-1, width])[:, num_new:]

    none = tf.constant(0, tf.int64)
    new_states = tf.cast(new_items > 0, tf.int32)  # listed, not yet counted
    return KeptRows(placed(slot_items, new_items), placed(slot_states, new_states), none, none)


def distinct_sorted(items: tf.Tensor) -> tf.Tensor:
    """Returns the distinct items of each row of int32 [P, N], ascending, zeros first."""
    items = tf.sort(items, axis=1)
    is_first = items != tf.pad(items[:, :-1], [[0, 0], [1, 0]])
    return tf.sort(tf.where(is_first, items, 0), axis=1)


def later_repeats(entries: tf.Tensor, is_repeated: tf.Tensor) -> tf.Tensor:
    """Returns int32 [P, N], how many entries to the right of each are equal to it.

    Args:
        entries: int32 [P, N].
        is_repeated: bool [P, N], entries that their row holds more than once; the others get 0,
            and rows without any are skipped.
    """
    rows = tf.where(tf.reduce_any(is_repeated, axis=1))  # [R, 1]
    some = tf.gather_nd(tf.where(is_repeated, entries, 0), rows)  # [R, N]
    num_columns = entries.shape[1]
    is_later = np.triu(np.ones([num_columns, num_columns], bool), k=1)
    is_same = (some[:, :, None] == some[:, None, :]) & (some > 0)[:, None, :] & is_later
    later = tf.reduce_sum(tf.cast(is_same, tf.int32), axis=2)
    return tf.scatter_nd(rows, later, tf.shape(entries, tf.int64))


def compact(entries: tf.Tensor, capacity: int) -> tf.Tensor:
    """Returns int32 [P, capacity], the non-zero entries of int32 [P, N] in order, from the left."""
    num_columns = entries.shape[1]
    key = tf.where(entries > 0, tf.range(num_columns, 0, -1), 0)
    place = tf.math.top_k(key, capacity).indices
    return tf.gather(entries, place, batch_dims=1)
