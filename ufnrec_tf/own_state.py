"""What one worker alone has, and how it is dealt out anew where their number changes."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from ufnrec_tf.distribution import ALONE, Workers, on_host

VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"

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
        """Writes this worker's part into a checkpoint's folder."""
        prefix = part_prefix(folder, self._workers.index, self._workers.count)
        _write(prefix, tables=self.tables, sums=self.sums)

    def read(self, folder: Path, *, num_workers: int) -> None:
        """Reads what is this worker's now from the parts that `num_workers` wrote.

        Raises:
            ValueError: If a shape differs.
            tf.errors.OpError: If a part is missing or damaged.
        """
        if num_workers == self._workers.count:
            reader = _reader(folder, self._workers.index, num_workers)
            for name, table in self.tables.items():
                table.assign(_tensor(reader, "tables", name))
            for name, total in self.sums.items():
                total.assign(_folded(_tensor(reader, "sums", name), total.shape))
            return
        self._deal_out(folder, num_workers)

    def _deal_out(self, folder: Path, num_workers: int) -> None:
        """Reads from all parts the rows that are this worker's now; the chief takes the sums."""
        mine = self._rows_of(self._workers.index, self._workers.count)
        values = {n: np.zeros(t.shape, t.dtype.as_numpy_dtype) for n, t in self.tables.items()}
        totals = {n: np.zeros(s.shape, s.dtype.as_numpy_dtype) for n, s in self.sums.items()}
        for worker in range(num_workers):
            reader = _reader(folder, worker, num_workers)
            theirs = self._rows_of(worker, num_workers)
            place = np.searchsorted(mine, theirs)
            is_mine = place < len(mine)
            is_mine[is_mine] = mine[place[is_mine]] == theirs[is_mine]
            for name, value in values.items():
                found = _tensor(reader, "tables", name)
                if found.shape[1:] != value.shape[1:] or len(found) != max(len(theirs), 1):
                    raise ValueError(f"{name} has shape {found.shape}")
                value[place[is_mine]] = found[: len(theirs)][is_mine]
            if self._workers.is_chief:
                for name, total in totals.items():
                    total += _folded(_tensor(reader, "sums", name), total.shape)
        for name, table in self.tables.items():
            table.assign(values.pop(name))
        for name, total in totals.items():
            self.sums[name].assign(total)


def part_prefix(folder: Path, worker: int, num_workers: int) -> str:
    """Returns where in a checkpoint's folder a worker's part is, as TensorFlow names it."""
    return str(folder / f"worker-{worker:05d}-of-{num_workers:05d}")


def read_part(folder: Path, worker: int, num_workers: int) -> Part:
    """Returns what a worker wrote into a checkpoint's folder.

    Raises:
        tf.errors.OpError: If it is missing or damaged.
    """
    reader = _reader(folder, worker, num_workers)
    found: dict[str, dict[str, np.ndarray]] = {"tables": {}, "sums": {}}
    for key in reader.get_variable_to_shape_map():
        group, _, name = key.removesuffix(VALUE).partition("/")
        if key.endswith(VALUE) and group in found:
            found[group][name] = _tensor(reader, group, name)
    return Part(**found)


def write_part(folder: Path, worker: int, num_workers: int, part: Part) -> None:
    """Writes what a worker has into a checkpoint's folder, as `OwnState.write` does."""
    with on_host():
        variables = {
            group: {name: tf.Variable(value, trainable=False) for name, value in values.items()}
            for group, values in part._asdict().items()
        }
    _write(part_prefix(folder, worker, num_workers), **variables)


def _write(
    prefix: str, *, tables: Mapping[str, tf.Variable], sums: Mapping[str, tf.Variable]
) -> None:
    groups = {"tables": tables, "sums": sums}
    parts = {name: tf.train.Checkpoint(**group) for name, group in groups.items() if group}
    tf.train.Checkpoint(**parts).write(prefix)


def _reader(folder: Path, worker: int, num_workers: int) -> Any:
    return tf.train.load_checkpoint(part_prefix(folder, worker, num_workers))


def _tensor(reader: Any, group: str, name: str) -> np.ndarray:
    return np.asarray(reader.get_tensor(f"{group}/{name}{VALUE}"))


def _folded(sums: np.ndarray, shape: tf.TensorShape) -> np.ndarray:
    """Returns sums of another number of replicas as those of the first one."""
    if sums.shape == tuple(shape):
        return sums
    folded = np.zeros(shape, sums.dtype)
    folded[0] = sums.sum(axis=0)
    return folded
