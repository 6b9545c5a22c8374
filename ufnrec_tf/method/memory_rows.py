"""Rows of the memory, as pure functions: find items, merge a visit, choose the items that stay."""

from typing import NamedTuple

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
    """Rows to be stored.

    Attributes:
        items: int32 [P, K], ascending, zeros first.
        states: int32 [P, K], twice the count, plus 1 while remembered.
        num_used: int32 [P], items of each row.
        num_evicted: int64 [], items with a count that lost their slot.
        num_refused: int64 [], items without a count that got no slot.
    """

    items: tf.Tensor
    states: tf.Tensor
    num_used: tf.Tensor
    num_evicted: tf.Tensor
    num_refused: tf.Tensor


class SortedEntries(NamedTuple):
    """The entries of a visit in order of item, and their places in the slots of their rows.

    Attributes:
        items: int32 [P, K], ascending, zeros first.
        before: int32 [P, K], how many slots of the row hold a lower item.
        is_known: bool [P, K], True for the first of equal entries whose item has a slot.
        is_new: bool [P, K], True for the first of equal entries whose item has none.
        num_used: int32 [P], items of each row once the new ones are in it.
    """

    items: tf.Tensor
    before: tf.Tensor
    is_known: tf.Tensor
    is_new: tf.Tensor
    num_used: tf.Tensor


def flat_slots(slot_items: tf.Tensor, items: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the slots of items in their rows.

    Args:
        slot_items: int32 [P, S], ascending, zeros first.
        items: int32 [P, K], 0 for none.

    Returns:
        int32 [P, K], the slot's index in the flattened [P * S] table (some valid index where
        the item is not found), and bool [P, K], True where it is found.
    """
    slots = _flat(tf.searchsorted(slot_items, items), slot_items)
    is_found = (tf.gather(tf.reshape(slot_items, [-1]), slots) == items) & (items > 0)
    return slots, is_found


def _flat(slots: tf.Tensor, slot_items: tf.Tensor) -> tf.Tensor:
    """Returns the indices in the flattened [P * S] table of slots int32 [P, K], 0 to S."""
    num_slots = tf.shape(slot_items)[1]
    return tf.minimum(slots, num_slots - 1) + num_slots * tf.range(tf.shape(slots)[0])[:, None]


def compact(entries: tf.Tensor) -> tf.Tensor:
    """Returns the non-zero entries of int32 [P, N] in order, from the left, int32 [P, K].

    K is the number of entries of the fullest row, at least 1.
    """
    is_entry = entries > 0
    place = tf.cumsum(tf.cast(is_entry, tf.int32), axis=1)
    num_rows, width = tf.shape(entries)[0], tf.maximum(tf.reduce_max(place[:, -1:]), 1)
    place += width * tf.range(num_rows)[:, None] - 1
    moved = add_at(tf.where(is_entry, place, -1), entries, num_rows * width)
    return tf.reshape(moved, [num_rows, width])


def add_at(places: tf.Tensor, values: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Returns [size], the sums of the values at each place; values at place -1 are left out.

    A segment sum costs a third of a scatter.
    """
    return tf.math.unsorted_segment_sum(values, places, size)


def merge(
    slot_items: tf.Tensor,
    slot_states: tf.Tensor,
    entries: tf.Tensor,
    *,
    num_columns: int,
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
        entries: int32 [P, K], items to remember in the order of their columns, 0 for none.
        num_columns: The largest K.
        num_items: Number of items.
        capacity: Distinct items remembered at most.
        is_cumulative: True keeps the count of items that are not written.
    """
    num_bits = (num_columns + 1).bit_length()
    never = (1 << num_bits) - 1
    dtype = tf.int32 if (num_items + 1) << num_bits < 2**31 else tf.int64
    shift = tf.constant(num_bits, dtype)
    column = tf.range(1, tf.shape(entries)[1] + 1)
    new_keys = tf.bitwise.left_shift(tf.cast(entries, dtype), shift)
    new_keys += tf.cast(tf.where(entries > 0, column, 0), dtype)
    keys = tf.concat([tf.bitwise.left_shift(tf.cast(slot_items, dtype), shift), new_keys], axis=1)
    negated, source = tf.math.top_k(-keys, tf.shape(keys)[1])
    items = tf.cast(tf.bitwise.right_shift(-negated, shift), tf.int32)
    order = tf.cast(tf.bitwise.bitwise_and(-negated, never), tf.int32)
    states = tf.concat([slot_states, tf.zeros_like(entries)], axis=1)
    counts = tf.bitwise.right_shift(tf.gather(states, source, batch_dims=1), 1)
    is_first = items != tf.pad(items[:, :-1], [[0, 0], [1, 0]])  # zeros stand first
    has_entry = items == tf.pad(items[:, 1:], [[0, 0], [0, 1]])
    next_order = tf.pad(order[:, 1:], [[0, 0], [0, 1]])
    written = tf.where(order > 0, order, tf.where(has_entry, next_order, never))
    written = tf.where(is_first, written, never)
    written, num_refused = _cut(written, num_columns, never, capacity)
    if not is_cumulative:
        counts = tf.where(written < never, counts, 0)
    is_used = is_first & ((written < never) | (counts > 0))
    return MergedRows(tf.where(is_used, items, 0), counts, written, never, num_refused)


def _cut(
    order: tf.Tensor, num_columns: int, never: int, capacity: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the order with only the first `capacity` items of each row; int64 [], cut ones."""
    if capacity >= num_columns:
        return order, tf.constant(0, tf.int64)
    last = -tf.math.top_k(-order, tf.minimum(capacity, tf.shape(order)[1])).values[:, -1:]
    is_cut = (order > last) & (order < never)
    return tf.where(is_cut, never, order), tf.math.count_nonzero(is_cut)


def keep_best(rows: MergedRows, num_slots: int) -> KeptRows:
    """Returns merged rows cut to their slots: remembered items first, then the highest counts."""
    is_used = rows.items > 0
    is_listed = rows.order < rows.never
    # Counts stay below 2**30. Of equal ones top_k takes the first, which is the lower item.
    priority = tf.where(is_listed, 2**30 + rows.never - rows.order, rows.counts)
    priority = tf.where(is_used, priority, -1)
    best = tf.math.top_k(priority, tf.minimum(num_slots, tf.shape(priority)[1])).indices
    items, place = _descending(tf.gather(rows.items, best, batch_dims=1))
    best = tf.gather(best, place, batch_dims=1)
    states = tf.gather(rows.counts * 2 + tf.cast(is_listed, tf.int32), best, batch_dims=1)
    states = tf.where(items > 0, states, 0)
    num_counted = tf.math.count_nonzero(is_used & (rows.counts > 0))
    num_evicted = num_counted - tf.math.count_nonzero(states > 1)
    num_dropped = tf.math.count_nonzero(is_used) - tf.math.count_nonzero(items)
    return KeptRows(
        items=tf.reverse(items, [1]),
        states=tf.reverse(states, [1]),
        num_used=_count(items),
        num_evicted=num_evicted,
        num_refused=rows.num_refused + num_dropped - num_evicted,
    )


def _descending(items: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the items of each row from the highest on, and their columns before."""
    found = tf.math.top_k(items, tf.shape(items)[1])
    return found.values, found.indices


def sort_entries(slot_items: tf.Tensor, entries: tf.Tensor) -> SortedEntries:
    """Returns the entries int32 [P, K] of a visit in order of item, with their slots.

    Searching in order costs a fifth of searching at random, as branches are predicted.
    """
    items = tf.sort(entries, axis=1)
    before = tf.searchsorted(slot_items, items)
    known = tf.gather(tf.reshape(slot_items, [-1]), _flat(before, slot_items))
    is_first = items != tf.pad(items[:, :-1], [[0, 0], [1, 0]])  # zeros stand first
    is_new = is_first & (known != items)
    num_used = _count(slot_items) + _count(is_new)
    return SortedEntries(items, before, is_first & (known == items), is_new, num_used)


def _count(values: tf.Tensor) -> tf.Tensor:
    """Returns int32 [P], the values of each row that are not 0."""
    return tf.math.count_nonzero(values, axis=1, dtype=tf.int32)


def insert(slot_items: tf.Tensor, slot_states: tf.Tensor, entries: SortedEntries) -> KeptRows:
    """Returns rows that remember exactly the entries, with the new ones inserted.

    For rows with many slots and room for all: two sorted lists are merged without a sort.

    Args:
        slot_items: int32 [P, S], ascending, zeros first.
        slot_states: int32 [P, S], with the visit's counts.
        entries: The entries of the visit, of `sort_entries`.
    """
    num_rows, num_slots = tf.shape(slot_items)[0], tf.shape(slot_items)[1]
    num_entries = tf.shape(entries.items)[1]
    width = num_slots + num_entries
    row = tf.range(num_rows)[:, None]
    at_slot = entries.before + num_slots * row
    is_new = tf.cast(entries.is_new, tf.int32)
    num_new = tf.reduce_sum(is_new, axis=1, keepdims=True)

    def at_slots(is_counted: tf.Tensor) -> tf.Tensor:
        """Returns int32 [P, S], 1 or more at the slots of some entries."""
        places = tf.where(is_counted, at_slot, -1)
        ones = tf.ones_like(places)
        return tf.reshape(add_at(places, ones, num_rows * num_slots), [num_rows, num_slots])

    states = tf.bitwise.bitwise_and(slot_states, -2) + at_slots(entries.is_known)
    # A slot moves to the left by the new items that are higher.
    is_inside = entries.is_new & (entries.before < num_slots)
    shift = num_entries - num_new + width * row
    old_place = shift + tf.range(num_slots) + tf.cumsum(at_slots(is_inside), axis=1)
    new_place = shift + entries.before + tf.cumsum(is_new, axis=1) - 1
    old_place = tf.where(slot_items > 0, old_place, -1)
    new_place = tf.where(entries.is_new, new_place, -1)
    places = tf.concat([old_place, new_place], axis=1)

    def placed(old: tf.Tensor, new: tf.Tensor) -> tf.Tensor:
        moved = add_at(places, tf.concat([old, new], axis=1), num_rows * width)
        return tf.reshape(moved, [num_rows, width])

    none = tf.constant(0, tf.int64)
    return KeptRows(
        items=placed(slot_items, entries.items),
        states=placed(states, is_new),  # remembered, not yet counted
        num_used=entries.num_used,
        num_evicted=none,
        num_refused=none,
    )


def later_repeats(entries: tf.Tensor, is_repeated: tf.Tensor) -> tf.Tensor:
    """Returns int32 [P, N], how many entries to the right of each are equal to it.

    Args:
        entries: int32 [P, N].
        is_repeated: bool [P, N], entries that their row holds more than once; the others get 0,
            and only these are compared.
    """
    at = tf.where(is_repeated)  # [R, 2], row by row
    rows = tf.where(tf.reduce_any(is_repeated, axis=1))  # [Q, 1]
    some = compact(tf.gather_nd(tf.where(is_repeated, entries, 0), rows))  # [Q, K]
    column = tf.range(tf.shape(some)[1])
    is_later = column[:, None] < column[None, :]
    is_same = (some[:, :, None] == some[:, None, :]) & (some > 0)[:, None, :] & is_later
    later = tf.boolean_mask(tf.reduce_sum(tf.cast(is_same, tf.int32), axis=2), some > 0)
    return tf.scatter_nd(at, later, tf.shape(entries, tf.int64))
