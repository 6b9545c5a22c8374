"""State that only one worker holds: memory tables and sums, saved in chunks."""

import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from ufnrec_tf.common.distribution import ALONE, Workers

_CHUNK_BYTES = 1 << 24


def write_arrays(prefix: Path, arrays: Mapping[str, tf.Variable | np.ndarray]) -> None:
    """Writes `PREFIX.NAME.npy` for each array, of one dimension or more, and `PREFIX.json`.

    Raises:
        OSError: If the disk does not take them.
    """
    checksums = {}
    for name, array in arrays.items():
        own = array.dtype if isinstance(array, np.ndarray) else array.dtype.as_numpy_dtype
        dtype, shape = np.dtype(own), tuple(int(size) for size in array.shape)
        header = {
            "descr": np.lib.format.dtype_to_descr(dtype),
            "fortran_order": False,
            "shape": shape,
        }
        step, checksum = _chunk_rows(shape, dtype), 0
        with _file_of(prefix, name).open("wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            for chunk in _chunks(array, step):
                data = np.ascontiguousarray(chunk).tobytes()
                checksum = zlib.crc32(data, checksum)
                file.write(data)
        checksums[name] = checksum
    prefix.with_name(f"{prefix.name}.json").write_text(json.dumps(checksums), encoding="utf-8")


def _chunks(array: tf.Variable | np.ndarray, step: int) -> Iterator[np.ndarray]:
    length = int(array.shape[0])
    for begin in range(0, length, step):
        end = min(begin + step, length)
        if not isinstance(array, np.ndarray):
            # Not a slice: that of a variable that has been written to would copy all of it.
            yield array.sparse_read(tf.range(begin, end)).numpy()
        else:
            yield array[begin:end]


def _chunk_rows(shape: tuple[int, ...], dtype: np.dtype) -> int:
    """Returns the number of rows of one chunk of an array."""
    return max(1, _CHUNK_BYTES // max(int(np.prod(shape[1:])) * dtype.itemsize, 1))


def _file_of(prefix: Path, name: str) -> Path:
    return prefix.with_name(f"{prefix.name}.{name}.npy")


def names_of(prefix: Path) -> list[str]:
    """Returns the names of the arrays written under a prefix.

    Raises:
        OSError: If there are none.
        ValueError: If the list of them is damaged.
    """
    return list(_checksums(prefix))


def _checksums(prefix: Path) -> dict[str, int]:
    text = prefix.with_name(f"{prefix.name}.json").read_text(encoding="utf-8")
    checksums = json.loads(text)
    if not isinstance(checksums, dict):
        raise ValueError(f"{prefix.name}.json holds no checksums")
    return checksums


def read_chunks(prefix: Path, name: str) -> Iterator[tuple[tuple[int, ...], int, np.ndarray]]:
    """Yields the array's shape and, chunk by chunk, the first row's number and the rows.

    An array without rows yields one empty chunk. The checksum is compared once the last chunk
    has been read.

    Raises:
        OSError: If the file is missing.
        ValueError: If it is damaged.
    """
    path, expected = _file_of(prefix, name), _checksums(prefix).get(name)
    with path.open("rb") as file:
        if np.lib.format.read_magic(file) != (1, 0):
            raise ValueError(f"{path.name} is no array file of this program")
        shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(file)
        if is_fortran or dtype.hasobject or not shape:
            raise ValueError(f"{path.name} is no array file of this program")
        width = int(np.prod(shape[1:]))
        step, checksum = _chunk_rows(shape, dtype), 0
        for begin in range(0, max(shape[0], 1), step):
            num_rows = min(step, shape[0] - begin)
            data = file.read(num_rows * width * dtype.itemsize)
            checksum = zlib.crc32(data, checksum)
            rows = np.frombuffer(data, dtype)
            if rows.size != num_rows * width:
                raise ValueError(f"{path.name} is cut short")
            yield shape, begin, rows.reshape(num_rows, *shape[1:])
        if checksum != expected or file.read(1):
            raise ValueError(f"{path.name} has another checksum than was written")


def read_array(prefix: Path, name: str) -> np.ndarray:
    """Returns a whole array."""
    return np.concatenate([rows for _, _, rows in read_chunks(prefix, name)])


RowsOf = Callable[[int, int], np.ndarray]
"""(worker, number of workers) -> int64 [n], the rows of all tables that it holds, ascending."""


class WorkerPart(NamedTuple):
    """The arrays that one worker wrote, by name: tables [rows, ...] and sums."""

    tables: dict[str, np.ndarray]
    sums: dict[str, np.ndarray]


class WorkerState:
    """The tables and sums of a worker; the worker that owns a row restores it.

    Args:
        tables: Name to variable [rows, ...]; row r is the r-th of `rows_of(worker, workers)`.
        sums: Name to variable; what the run has is their sum over workers, and over the first
            axis where that is one of replicas.
        rows_of: Which rows a worker holds.
        workers: The workers that train together now.
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
        """Writes this worker's tables and sums into a checkpoint's folder.

        Raises:
            OSError: If the disk does not take it.
        """
        prefix = part_prefix(folder, self._workers.index, self._workers.count)
        write_arrays(prefix, named_arrays(self.tables, self.sums))

    def read(self, folder: Path, *, num_workers: int) -> None:
        """Restores this worker's rows and sums from the files that `num_workers` wrote.

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


def named_arrays(tables: Mapping[str, Any], sums: Mapping[str, Any]) -> dict[str, Any]:
    """Returns tables and sums under the names of their files, which tell the two apart."""
    named = {f"{_TABLES}{name}": value for name, value in tables.items()}
    return named | {f"{_SUMS}{name}": value for name, value in sums.items()}


def _read_table(
    prefix: Path, name: str, table: tf.Variable, theirs: np.ndarray, mine: np.ndarray
) -> None:
    """Copies this worker's rows from one worker's file into a table, chunk by chunk.

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
    """Returns the prefix of a worker's files in a checkpoint's folder."""
    return folder / f"worker-{worker:05d}-of-{num_workers:05d}"


def read_part(folder: Path, worker: int, num_workers: int) -> WorkerPart:
    """Reads the arrays that a worker wrote into a checkpoint's folder.

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
    return WorkerPart(found[_TABLES], found[_SUMS])


def _folded(sums: np.ndarray, shape: tf.TensorShape) -> np.ndarray:
    """Returns sums of another number of replicas added up in the first replica's place."""
    if sums.shape == tuple(shape):
        return sums
    folded = np.zeros(shape, sums.dtype)
    folded[0] = sums.sum(axis=0)
    return folded
