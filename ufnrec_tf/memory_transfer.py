"""The memory of one run into the tables of another: rows by user and position, items by raw id."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from ufnrec_tf.data.placement import RowOwners
from ufnrec_tf.data.splits import Split, seen_train_items
from ufnrec_tf.distribution import Workers
from ufnrec_tf.memory import FalseNegativeMemory
from ufnrec_tf.memory_carry import Rows, fit_rows
from ufnrec_tf.own_state import read_part
from ufnrec_tf.run_ids import RunIds

_CHUNK_ROWS = 4096


class Carried(NamedTuple):
    """How much of a memory came over, and how much did not, in numbers.

    Attributes:
        rows_carried: Rows with at least one item.
        rows_dropped: Rows that had one and have none now, or whose transition is gone.
        items_carried: Items that are counted or remembered.
        items_dropped: Those that are gone: with their row, from the catalogue, because the user
            has taken them since, or for want of a slot.
        remembered_carried: Of the former those that are shown at the next visit.
        remembered_dropped: Of the latter, or items that are now counted alone.
    """

    rows_carried: int
    rows_dropped: int
    items_carried: int
    items_dropped: int
    remembered_carried: int
    remembered_dropped: int

    def over_workers(self, workers: Workers) -> "Carried":
        """Returns the numbers of all workers; all of them call it, each with its own."""
        rows, items, remembered = self[0] + self[1], self[2] + self[3], self[4] + self[5]
        own = workers.sum(np.array([self[0], self[2], self[4]], np.int64)).tolist()
        return Carried(own[0], rows - own[0], own[1], items - own[1], own[2], remembered - own[2])


class Carrier:
    """Takes rows of an older run's memory to where this worker's memory has them.

    Args:
        split: What is trained on now: what a user has taken cannot be remembered as a negative.
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

    def carry(
        self, tables: dict[str, tf.Variable], folder: Path, older: RunIds, *, num_workers: int
    ) -> Carried:
        """Fills this worker's tables from the parts that an older run's workers wrote.

        Args:
            tables: Name to variable [rows, ...], empty as they are made.
            folder: The older run's checkpoint.
            older: Its ids.
            num_workers: Its workers.

        Returns:
            What came over to this worker, and what of the whole older memory did not.

        Raises:
            ValueError: If a table is missing or does not fit the ids.
            OSError: If a part is missing.
        """
        values = {n: np.zeros(t.shape, t.dtype.as_numpy_dtype) for n, t in tables.items()}
        owners = RowOwners(older.users, older.users_of_rows)
        before = np.zeros(3, np.int64)
        for worker in range(num_workers):
            found = read_part(folder, worker, num_workers).tables
            rows = owners.rows_of(worker, num_workers)
            check_tables(found, len(rows))
            before += _count(found["items"], found["states"])
            for begin in range(0, len(rows), _CHUNK_ROWS):
                chunk = slice(begin, begin + _CHUNK_ROWS)
                own = {name: table[: len(rows)][chunk] for name, table in found.items()}
                self._put(values, own, self._new_rows[rows[chunk]])
        after = _count(values["items"], values["states"])
        for name, table in tables.items():
            table.assign(values.pop(name))
        counts = np.stack([after, before - after], axis=1).ravel().tolist()
        return Carried(*counts)

    def _put(
        self, values: dict[str, np.ndarray], found: dict[str, np.ndarray], rows: np.ndarray
    ) -> None:
        """Puts the tables of older rows into those of `rows` int64 [P] that are this worker's."""
        places = np.searchsorted(self._own_rows, rows)
        is_here = (rows >= 0) & (places < len(self._own_rows))
        is_here[is_here] = self._own_rows[places[is_here]] == rows[is_here]
        places, users = places[is_here], self._users_of_rows[rows[is_here]]
        moved = {
            name: self._new_ids(found[name][is_here], users)
            for name in ("items", "lists", "substitutes")
            if name in found
        }
        memory = self._memory
        fitted = fit_rows(
            Rows(moved["items"], found["states"][is_here], moved.get("lists")),
            num_slots=memory.num_slots,
            capacity=memory.capacity,
            has_lists=memory.lists is not None,
        )
        values["items"][places], values["states"][places] = fitted.items, fitted.states
        if fitted.lists is not None:
            values["lists"][places] = fitted.lists
        if "substitutes" in values and "substitutes" in moved:
            values["substitutes"][places] = moved["substitutes"]

    def _new_ids(self, items: np.ndarray, users: np.ndarray) -> np.ndarray:
        """Returns this run's ids of items [P, ...] of rows of users [P]; 0 where it has none."""
        ids = self._new_items[items]
        keys = users.astype(np.int64).reshape([-1] + [1] * (ids.ndim - 1)) * self._base + ids
        places = np.minimum(np.searchsorted(self._taken, keys), len(self._taken) - 1)
        is_negative = self._may_be_drawn[ids] & (self._taken[places] != keys)
        return np.where(is_negative, ids, 0).astype(np.int32)


def check_tables(tables: dict[str, np.ndarray], num_rows: int) -> None:
    """Raises ValueError where what a worker wrote is no memory of `num_rows` rows."""
    for name in ("items", "states"):
        if name not in tables or len(tables[name]) != max(num_rows, 1):
            raise ValueError(f"its rows are not those that ids/ lists ({num_rows})")


def _count(items: np.ndarray, states: np.ndarray) -> np.ndarray:
    """Returns int64 [3]: rows with an item, items, remembered items."""
    is_used = items > 0
    numbers = (is_used.any(axis=1).sum(), is_used.sum(), (is_used & (states % 2 == 1)).sum())
    return np.array(numbers, np.int64)
