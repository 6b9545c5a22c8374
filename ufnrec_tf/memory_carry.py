"""Rows of one memory as rows of another: other item ids, other numbers of slots, in NumPy."""

from typing import NamedTuple

import numpy as np

_COUNT_UNIT = np.int64(2**31)
_REMEMBERED = np.int64(2**62)
"""Counts stay below 2**30, so whatever is remembered comes before whatever is only counted."""


class Rows(NamedTuple):
    """Rows of a memory's tables; see `FalseNegativeMemory`.

    Attributes:
        items: int32 [P, S], 0 in an empty slot.
        states: int32 [P, S], twice the count, plus 1 while the item is remembered.
        lists: int32 [P, R], the ordered lists of faithful mode; else None.
    """

    items: np.ndarray
    states: np.ndarray
    lists: np.ndarray | None = None


def fit_rows(rows: Rows, *, num_slots: int, capacity: int, has_lists: bool) -> Rows:
    """Returns rows as a memory of `num_slots` slots keeps them: by item, the empty ones first.

    Where they are too many, the memory's own rule says who stays: the remembered ones first, then
    the highest counts, ties by the lower item id. The order of writing among the remembered ones
    is known from a list alone; without one, their counts decide.

    Args:
        rows: Items are the new memory's ids, in any order, 0 for none or gone.
        num_slots: S of the new memory.
        capacity: Items, or entries of a list, that a row may remember.
        has_lists: Whether the new memory has lists. Where the old one has none, what is
            remembered stands in them once each, by item.
    """
    counts, is_remembered = rows.states // 2, (rows.states % 2 == 1) & (rows.items > 0)
    lists = _lists(rows, is_remembered, capacity) if has_lists else None
    if lists is not None:
        places = _places(rows.items, lists)
        is_remembered = places < lists.shape[1]
        priority = _priority(rows.items, counts, is_remembered)
        by_order = _REMEMBERED + (lists.shape[1] - places.astype(np.int64)) * _COUNT_UNIT
        priority = np.where(is_remembered, by_order, priority)
    else:
        is_remembered = _first(_priority(rows.items, counts, is_remembered), capacity, _REMEMBERED)
        priority = _priority(rows.items, counts, is_remembered)
    is_kept = _first(priority, num_slots, np.int64(0))
    items = np.where(is_kept, rows.items, 0)
    states = np.where(is_kept, 2 * counts + is_remembered, 0)
    order = np.argsort(items, axis=1, kind="stable")
    items = _last(np.take_along_axis(items, order, axis=1), num_slots)
    states = _last(np.take_along_axis(states, order, axis=1), num_slots)
    if lists is not None:
        lists = _compact(np.where(_places(lists, items) < num_slots, lists, 0), capacity)
    return Rows(items.astype(np.int32), states.astype(np.int32), lists)


def _lists(rows: Rows, is_remembered: np.ndarray, capacity: int) -> np.ndarray:
    if rows.lists is not None:
        return _compact(rows.lists, capacity)
    entries = np.where(is_remembered, rows.items, 0)
    last = np.iinfo(np.int32).max
    entries = np.sort(np.where(entries > 0, entries, last), axis=1)
    return _compact(np.where(entries < last, entries, 0), capacity)


def _priority(items: np.ndarray, counts: np.ndarray, is_remembered: np.ndarray) -> np.ndarray:
    """Returns int64 [P, S]: the higher stays; -1 where nothing is counted or remembered."""
    priority = counts * _COUNT_UNIT + (_COUNT_UNIT - 1 - items) + is_remembered * _REMEMBERED
    return np.where((items > 0) & (is_remembered | (counts > 0)), priority, -1)


def _first(priority: np.ndarray, count: int, least: np.int64) -> np.ndarray:
    """Returns bool [P, S]: the `count` highest of each row that are no lower than `least`."""
    order = np.argsort(-priority, axis=1, kind="stable")
    is_first = np.zeros(priority.shape, bool)
    np.put_along_axis(is_first, order[:, :count], True, axis=1)
    return is_first & (priority >= least)


def _last(values: np.ndarray, count: int) -> np.ndarray:
    """Returns the last `count` columns, filled up with zeros on the left."""
    values = values[:, -count:]
    return np.pad(values, [(0, 0), (count - values.shape[1], 0)])


def _places(items: np.ndarray, entries: np.ndarray) -> np.ndarray:
    """Returns int64 [P, S], the column of `entries` [P, R] that first holds an item, R if none."""
    is_same = (items[:, :, None] == entries[:, None, :]) & (items[:, :, None] > 0)
    return np.where(is_same.any(axis=2), is_same.argmax(axis=2), entries.shape[1])


def _compact(entries: np.ndarray, capacity: int) -> np.ndarray:
    """Moves the non-zero entries of each row to the left, order kept; int32 [P, capacity]."""
    order = np.argsort(entries == 0, axis=1, kind="stable")
    moved = np.take_along_axis(entries, order, axis=1)[:, :capacity]
    return np.pad(moved, [(0, 0), (0, capacity - moved.shape[1])]).astype(np.int32)
