"""What one worker alone has, and how it is dealt out anew where their number changes."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from ufnrec_tf.array_files import names_of, read_array, read_chunks, write_arrays
from ufnrec_tf.distribution import ALONE, Workers

RowsOf = Callable[[int, int], np.ndarray]
"""(worker, number of workers) -> int64 [n], the rows of all tables that it holds, ascending."""


class Part(NamedTuple):
    """What one worker wrote, by name: tables [rows, ...] and sums."""

    tables: dict[str, np.ndarray]
    sums: dict[str, np.ndarray]


class OwnState:
    """The tables and sums of a worker: written by each, read by whoever has the rows next.

    Args:
        tables: Name to variable [rows, ...]; row r is the r-th of `rows_of(worker, workers)`.
        sums: Name to variable; what the run has is their sum over workers, and over the first
            axis where that is one of replicas.
        rows_of: Which rows a worker holds.
        workers: Those that train together now.
    """

    def __init__(
        self,
        *,
        tables: dict[str, tf.Variable],
        sums: dict[str, tf.Variable],
        rows_of: RowsOf,
        workers: Workers = ALONE,
    ) -> None:
        self.tables = tables
        self.sums = sums
        self._rows_of = rows_of
        self._workers = workers

    def write(self, folder: Path) -> None:
        """Writes this worker's part into a checkpoint's folder.

        Raises:
            OSError: If the disk does not take it.
        """
        prefix = part_prefix(folder, self._workers.index, self._workers.count)
        write_arrays(prefix, _named(self.tables, self.sums))

    def read(self, folder: Path, *, num_workers: int) -> None:
        """Reads what is this worker's now from the parts that `num_workers` wrote.

        Raises:
            ValueError: If a part is damaged, or a shape differs.
            OSError: If a part is missing.
        """
        is_same = num_workers == self._workers.count
        mine = self._rows_of(self._workers.index, self._workers.count)
        totals = {n: np.zeros(s.shape, s.dtype.as_numpy_dtype) for n, s in self.sums.items()}
        for worker in [self._workers.index] if is_same else range(num_workers):
            prefix = part_prefix(folder, worker, num_workers)
            theirs = mine if is_same else self._rows_of(worker, num_workers)
            for name, table in self.tables.items():
                _read_table(prefix, name, table, theirs, mine)
            if is_same or self._workers.is_chief:
                for name, total in totals.items():
                    total += _folded(read_array(prefix, f"{_SUMS}{name}"), total.shape)
        for name, total in totals.items():
            self.sums[name].assign(total)


_TABLES, _SUMS = "tables.", "sums."


def _named(tables: Mapping[str, Any], sums: Mapping[str, Any]) -> dict[str, Any]:
    named = {f"{_TABLES}{name}": value for name, value in tables.items()}
    return named | {f"{_SUMS}{name}": value for name, value in sums.items()}


def _read_table(
    prefix: Path, name: str, table: tf.Variable, theirs: np.ndarray, mine: np.ndarray
) -> None:
    """Puts into a table those of a part's rows that are this worker's, some at a time.

    Args:
        prefix: The part's.
        name: The table's.
        table: This worker's, [rows, ...].
        theirs: int64 [n], ascending, which rows the part holds.
        mine: int64 [m], ascending, which rows the table holds.
    """
    for shape, begin, rows in read_chunks(prefix, f"{_TABLES}{name}"):
        if shape[1:] != tuple(table.shape[1:]) or shape[0] != max(len(theirs), 1):
            raise ValueError(f"{name} has shape {shape}")
        own = theirs[begin : begin + len(rows)]
        place = np.searchsorted(mine, own)
        is_mine = place < len(mine)
        is_mine[is_mine] = mine[place[is_mine]] == own[is_mine]
        if is_mine.any():
            table.scatter_nd_update(place[is_mine][:, None], rows[: len(own)][is_mine])


def part_prefix(folder: Path, worker: int, num_workers: int) -> Path:
    """Returns what the names of a worker's files in a checkpoint's folder begin with."""
    return folder / f"worker-{worker:05d}-of-{num_workers:05d}"


def read_part(folder: Path, worker: int, num_workers: int) -> Part:
    """Returns what a worker wrote into a checkpoint's folder.

    Raises:
        ValueError: If it is damaged.
        OSError: If it is missing.
    """
    prefix = part_prefix(folder, worker, num_workers)
    found: dict[str, dict[str, np.ndarray]] = {_TABLES: {}, _SUMS: {}}
    for key in names_of(prefix):
        for group, values in found.items():
            if key.startswith(group):
                values[key.removeprefix(group)] = read_array(prefix, key)
    return Part(found[_TABLES], found[_SUMS])


def write_part(folder: Path, worker: int, num_workers: int, part: Part) -> None:
    """Writes what a worker has into a checkpoint's folder, as `OwnState.write` does.

    Raises:
        OSError: If the disk does not take it.
    """
    write_arrays(part_prefix(folder, worker, num_workers), _named(part.tables, part.sums))


def _folded(sums: np.ndarray, shape: tf.TensorShape) -> np.ndarray:
    """Returns sums of another number of replicas as those of the first one."""
    if sums.shape == tuple(shape):
        return sums
    folded = np.zeros(shape, sums.dtype)
    folded[0] = sums.sum(axis=0)
    return folded
