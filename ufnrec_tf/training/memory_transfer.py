"""Copies the memory of an older run into the tables of a new one."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from ufnrec_tf.common.distribution import Workers
from ufnrec_tf.data.splits import Split, seen_train_items
from ufnrec_tf.data.windows import RowOwners
from ufnrec_tf.method.memory import FalseNegativeMemory
from ufnrec_tf.runs.raw_ids import RunIds
from ufnrec_tf.runs.worker_state import SparseTable, put_rows, read_table_rows

_COUNT_UNIT = np.int64(2**31)
_REMEMBERED = np.int64(2**62)
"""Counts stay below 2**30, so whatever is remembered comes before whatever is only counted."""


_CHUNK_ROWS = 4096

Tables = Mapping[str, tf.Variable | SparseTable]
"""Name to table, [rows, ...]."""


class Rows(NamedTuple):
    """Rows of the tables of a `FalseNegativeMemory`.

    Attributes:
        items: int32 [P, S], 0 in an empty slot.
        states: int32 [P, S], twice the count, plus 1 while the item is remembered.
        lists: int32 [P, R], the ordered lists of faithful mode; else None.
    """

    items: np.ndarray
    states: np.ndarray
    lists: np.ndarray | None = None


def fit_rows(rows: Rows, *, num_slots: int, capacity: int, has_lists: bool) -> Rows:
    """Returns rows as a memory of `num_slots` slots keeps them: sorted by item, empty slots first.

    If they are too many, the memory's own rule decides: the remembered ones stay first, then the
    highest counts, ties by the lower item id. Only a list holds the order in which the remembered
    ones were written; without a list, their counts decide.

    Args:
        rows: Items are the new memory's ids, in any order, 0 for none or gone.
        num_slots: S of the new memory.
        capacity: Items, or entries of a list, that a row may remember.
        has_lists: True if the new memory has lists. If the old one has none, each remembered item
            stands in them once, in order of item.
    """
    counts, is_remembered = rows.states // 2, (rows.states % 2 == 1) & (rows.items > 0)
    lists = _remembered_lists(rows, is_remembered, capacity) if has_lists else None
    if lists is not None:
        places = _column_of(rows.items, lists)
        is_remembered = places < lists.shape[1]
        priority = _priority(rows.items, counts, is_remembered)
        by_order = _REMEMBERED + (lists.shape[1] - places.astype(np.int64)) * _COUNT_UNIT
        priority = np.where(is_remembered, by_order, priority)
    else:
        is_remembered = _is_among_first(
            _priority(rows.items, counts, is_remembered), capacity, _REMEMBERED
        )
        priority = _priority(rows.items, counts, is_remembered)
    is_kept = _is_among_first(priority, num_slots, np.int64(0))
    items = np.where(is_kept, rows.items, 0)
    states = np.where(is_kept, 2 * counts + is_remembered, 0)
    order = np.argsort(items, axis=1, kind="stable")
    items = _last_columns(np.take_along_axis(items, order, axis=1), num_slots)
    states = _last_columns(np.take_along_axis(states, order, axis=1), num_slots)
    if lists is not None:
        lists = _compact(np.where(_column_of(lists, items) < num_slots, lists, 0), capacity)
    return Rows(items.astype(np.int32), states.astype(np.int32), lists)


def _remembered_lists(rows: Rows, is_remembered: np.ndarray, capacity: int) -> np.ndarray:
    if rows.lists is not None:
        return _compact(rows.lists, capacity)
    entries = np.where(is_remembered, rows.items, 0)
    last = np.iinfo(np.int32).max
    entries = np.sort(np.where(entries > 0, entries, last), axis=1)
    return _compact(np.where(entries < last, entries, 0), capacity)


def _priority(items: np.ndarray, counts: np.ndarray, is_remembered: np.ndarray) -> np.ndarray:
    """Returns the priority of each slot, int64 [P, S]: the higher is kept, -1 is empty."""
    priority = counts * _COUNT_UNIT + (_COUNT_UNIT - 1 - items) + is_remembered * _REMEMBERED
    return np.where((items > 0) & (is_remembered | (counts > 0)), priority, -1)


def _is_among_first(priority: np.ndarray, count: int, least: np.int64) -> np.ndarray:
    """Returns bool [P, S], True for the `count` highest of each row that reach `least`."""
    order = np.argsort(-priority, axis=1, kind="stable")
    is_first = np.zeros(priority.shape, bool)
    np.put_along_axis(is_first, order[:, :count], True, axis=1)
    return is_first & (priority >= least)


def _last_columns(values: np.ndarray, count: int) -> np.ndarray:
    """Returns the last `count` columns, padded with zeros on the left."""
    values = values[:, -count:]
    return np.pad(values, [(0, 0), (count - values.shape[1], 0)])


def _column_of(items: np.ndarray, entries: np.ndarray) -> np.ndarray:
    """Returns int64 [P, S], the column of `entries` [P, R] that first holds an item, R if none."""
    is_same = (items[:, :, None] == entries[:, None, :]) & (items[:, :, None] > 0)
    return np.where(is_same.any(axis=2), is_same.argmax(axis=2), entries.shape[1])


def _compact(entries: np.ndarray, capacity: int) -> np.ndarray:
    """Moves the non-zero entries of each row to the left, order kept; int32 [P, capacity]."""
    order = np.argsort(entries == 0, axis=1, kind="stable")
    moved = np.take_along_axis(entries, order, axis=1)[:, :capacity]
    return np.pad(moved, [(0, 0), (0, capacity - moved.shape[1])]).astype(np.int32)


class Carried(NamedTuple):
    """Counts of rows and items that were copied from a memory or left out.

    Attributes:
        rows_carried: Copied rows with at least one item.
        rows_dropped: Older rows with an item, of which none was copied.
        items_carried: Copied items, counted or remembered.
        items_dropped: Items that were left out: their row or the item is gone, the user has taken
            it since, or there was no slot.
        remembered_carried: Copied items that are still remembered.
        remembered_dropped: Remembered items that were left out, or are now only counted.
    """

    rows_carried: int
    rows_dropped: int
    items_carried: int
    items_dropped: int
    remembered_carried: int
    remembered_dropped: int

    def over_workers(self, workers: Workers) -> "Carried":
        """Returns the sum over workers. All workers call it together."""
        rows, items, remembered = self[0] + self[1], self[2] + self[3], self[4] + self[5]
        own = workers.sum(np.array([self[0], self[2], self[4]], np.int64)).tolist()
        return Carried(own[0], rows - own[0], own[1], items - own[1], own[2], remembered - own[2])


class Carrier:
    """Copies rows of an older run's memory to their place in this worker's memory.

    Args:
        split: This run's split. An item that the user has taken cannot be a negative.
        users_of_rows: int32 [rows], internal user of each row of this run, of all workers.
        own_rows: int64 [n], the rows that this worker holds, ascending.
        new_rows: int64 [old rows], this run's row of each row of the older one; -1 for none.
        new_items: int32 [old items + 1], this run's id of each item of the older one; 0 for none.
        memory: This worker's memory: its slots and its capacity.
    """

    def __init__(
        self,
        *,
        split: Split,
        users_of_rows: np.ndarray,
        own_rows: np.ndarray,
        new_rows: np.ndarray,
        new_items: np.ndarray,
        memory: FalseNegativeMemory,
    ) -> None:
        self._users_of_rows = users_of_rows
        self._new_rows = new_rows
        self._new_items = new_items
        self._memory = memory
        self._own_rows = own_rows
        self._base = split.interactions.num_items + 1
        offsets, seen = seen_train_items(split)
        users = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
        self._taken = users * self._base + seen  # ascending
        self._may_be_drawn = np.zeros(self._base, bool)
        self._may_be_drawn[split.training_items] = True

    def carry(self, tables: Tables, folder: Path, older: RunIds, *, num_workers: int) -> Carried:
        """Fills this worker's tables from the files of an older run's workers.

        Args:
            tables: Name to variable [rows, ...], empty as they are made.
            folder: The older run's checkpoint.
            older: The ids of the older run.
            num_workers: The number of workers of the older run.

        Returns:
            The counts of what this worker copied and of what it left out of the whole older memory.

        Raises:
            ValueError: If a table is missing or does not fit the ids.
            OSError: If a part is missing.
        """
        owners = RowOwners(older.users, older.users_of_rows)
        before, after = np.zeros(3, np.int64), np.zeros(3, np.int64)
        for worker in range(num_workers):
            rows = owners.rows_of(worker, num_workers)
            parts = read_table_rows(folder, worker, num_workers, num_rows=_CHUNK_ROWS)
            num_read = 0
            for begin, found in parts:
                _check_tables(found)
                num_read += len(found["items"])
                chosen = rows[begin : begin + _CHUNK_ROWS]
                own = {name: table[: len(chosen)] for name, table in found.items()}
                before += _counts_of(found["items"], found["states"])
                after += self._write_rows(tables, own, self._new_rows[chosen])
            if num_read != max(len(rows), 1):
                raise ValueError(f"its rows are not those that ids/ lists ({len(rows)})")
        counts = np.stack([after, before - after], axis=1).ravel().tolist()
        return Carried(*counts)

    def _write_rows(
        self, tables: Tables, found: dict[str, np.ndarray], rows: np.ndarray
    ) -> np.ndarray:
        """Writes older rows into those of `rows` int64 [P] that belong to this worker.

        Returns:
            See `_counts_of`, of the rows that were written.
        """
        places = np.searchsorted(self._own_rows, rows)
        is_here = (rows >= 0) & (places < len(self._own_rows))
        is_here[is_here] = self._own_rows[places[is_here]] == rows[is_here]
        places, users = places[is_here], self._users_of_rows[rows[is_here]]
        moved = {
            name: self._new_ids(found[name][is_here], users)
            for name in ("items", "lists", "substitutes")
            if name in found
        }
        memory, states = self._memory, found["states"][is_here].astype(np.int32)
        fitted = fit_rows(
            Rows(moved["items"], states, moved.get("lists")),
            num_slots=memory.num_slots,
            capacity=memory.capacity,
            has_lists=memory.lists is not None,
        )
        new = {"items": fitted.items, "states": fitted.states, "lists": fitted.lists}
        new["substitutes"] = moved.get("substitutes")
        for name, table in tables.items():
            values = new[name]
            if values is not None:
                put_rows(table, places, values)
        return _counts_of(fitted.items, fitted.states)

    def _new_ids(self, items: np.ndarray, users: np.ndarray) -> np.ndarray:
        """Returns this run's ids of older items [P, ...] of users [P], 0 for unknown ones."""
        ids = self._new_items[items]
        keys = users.astype(np.int64).reshape([-1] + [1] * (ids.ndim - 1)) * self._base + ids
        places = np.minimum(np.searchsorted(self._taken, keys), len(self._taken) - 1)
        is_negative = self._may_be_drawn[ids] & (self._taken[places] != keys)
        return np.where(is_negative, ids, 0).astype(np.int32)


def _check_tables(tables: dict[str, np.ndarray]) -> None:
    """Raises ValueError if a worker's file is not a memory."""
    for name in ("items", "states"):
        if name not in tables:
            raise ValueError(f"it has no {name}")


def _counts_of(items: np.ndarray, states: np.ndarray) -> np.ndarray:
    """Returns int64 [3]: rows with an item, items, remembered items."""
    is_used = items > 0
    numbers = (is_used.any(axis=1).sum(), is_used.sum(), (is_used & (states % 2 == 1)).sum())
    return np.array(numbers, np.int64)
