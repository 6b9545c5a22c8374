"""State that only one worker holds: memory tables and sums, saved in chunks."""

import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol, TypeAlias, runtime_checkable

import numpy as np
import tensorflow as tf

from ufnrec_tf.common.distribution import ALONE, Workers

_CHUNK_BYTES = 1 << 24


@runtime_checkable
class SparseTable(Protocol):
    """A table [rows, S] most of whose columns may be empty, such as `method.memory_table.RowTable`.

    A checkpoint holds the used columns of its rows, which are their last ones.
    """

    shape: tf.TensorShape

    def row_chunks(self) -> Iterator[slice]:
        """Yields all rows in slices that are bounded in memory."""

    def read_used(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns how many columns rows use, int [P], and their numbers end to end, [K]."""

    def write_used(self, rows: np.ndarray, num_used: np.ndarray, values: np.ndarray) -> None:
        """Replaces rows int64 [P], distinct, by what `read_used` returned."""

    def write_rows(self, rows: np.ndarray, values: np.ndarray) -> None:
        """Replaces rows int64 [P], distinct, by whole rows int [P, S]."""

    def numpy(self) -> np.ndarray:
        """Returns all rows, [rows, S]."""


Array: TypeAlias = tf.Variable | np.ndarray
_USED, _VALUES = ".used", ".values"
"""What the files of a sparse table are called behind its name."""
_SHAPES = "shapes"
"""The key of PREFIX.json that holds the shape of each sparse table by name."""


def write_arrays(prefix: Path, arrays: Mapping[str, Array | SparseTable]) -> None:
    """Writes the files of each array, of one dimension or more, and `PREFIX.json`.

    An array is written whole to `PREFIX.NAME.npy`. Of a sparse table `PREFIX.NAME.used.npy` has
    the number of used columns of each row, [rows], and `PREFIX.NAME.values.npy` their numbers end
    to end.

    Raises:
        OSError: If the disk does not take them.
    """
    checksums: dict[str, int] = {}
    shapes = {}
    for name, array in arrays.items():
        if isinstance(array, SparseTable):
            shapes[name] = [int(size) for size in array.shape]
            names = [f"{name}{kind}" for kind in (_USED, _VALUES)]
            written = _write_files([_file_of(prefix, key) for key in names], _used_chunks(array))
            checksums |= dict(zip(names, written, strict=True))
        else:
            chunks = ((chunk,) for chunk in _chunks(array))
            (checksums[name],) = _write_files([_file_of(prefix, name)], chunks)
    text = json.dumps({**checksums, _SHAPES: shapes})
    prefix.with_name(f"{prefix.name}.json").write_text(text, encoding="utf-8")


def _write_files(paths: Sequence[Path], pieces: Iterable[tuple[np.ndarray, ...]]) -> list[int]:
    """Writes one array a path, piece by piece; returns the checksums of their numbers.

    Args:
        paths: The files.
        pieces: An array [n, ...] for each path, one piece or more.
    """
    checksums, lengths = [0] * len(paths), [0] * len(paths)
    with ExitStack() as opened:
        files = [opened.enter_context(path.open("wb")) for path in paths]
        for piece in pieces:
            for place, (file, part) in enumerate(zip(files, piece, strict=True)):
                if not file.tell():
                    _write_header(file, part, 0)
                data = np.ascontiguousarray(part).tobytes()
                checksums[place] = zlib.crc32(data, checksums[place])
                lengths[place] += len(part)
                file.write(data)
        # NumPy leaves room in a header for a longer first axis.
        for file, part, length in zip(files, piece, lengths, strict=True):
            file.seek(0)
            _write_header(file, part, length)
    return checksums


def _write_header(file: BinaryIO, part: np.ndarray, length: int) -> None:
    header = {
        "descr": np.lib.format.dtype_to_descr(part.dtype),
        "fortran_order": False,
        "shape": (length, *part.shape[1:]),
    }
    np.lib.format.write_array_header_1_0(file, header)


def _chunks(array: Array) -> Iterator[np.ndarray]:
    """Yields the rows of an array some at a time, one chunk or more."""
    length, dtype = int(array.shape[0]), array.dtype
    own = dtype if isinstance(dtype, np.dtype) else dtype.as_numpy_dtype
    step = _chunk_rows(tuple(array.shape), np.dtype(own))
    for begin in range(0, max(length, 1), step):
        end = min(begin + step, length)
        if isinstance(array, np.ndarray):
            yield array[begin:end]
        else:
            # Not a slice: that of a variable that has been written to would copy all of it.
            yield array.sparse_read(tf.range(begin, end)).numpy()


def _used_chunks(table: SparseTable) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields the used columns of rows, in the smallest type that holds S, and their numbers."""
    dtype = np.min_scalar_type(int(table.shape[1]))
    for chunk in table.row_chunks():
        num_used, values = table.read_used(np.arange(chunk.start, chunk.stop))
        yield num_used.astype(dtype), values


def _chunk_rows(shape: tuple[int, ...], dtype: np.dtype) -> int:
    """Returns the number of rows of one chunk of an array."""
    return max(1, _CHUNK_BYTES // max(int(np.prod(shape[1:])) * dtype.itemsize, 1))


def _file_of(prefix: Path, name: str) -> Path:
    return prefix.with_name(f"{prefix.name}.{name}.npy")


def _facts(prefix: Path) -> tuple[dict[str, int], dict[str, list[int]]]:
    """Returns the checksum of each file, and the shape of each sparse table, by name.

    Raises:
        OSError: If there are none.
        ValueError: If they are damaged.
    """
    text = prefix.with_name(f"{prefix.name}.json").read_text(encoding="utf-8")
    checksums = json.loads(text)
    shapes = checksums.pop(_SHAPES, {}) if isinstance(checksums, dict) else None
    if not isinstance(shapes, dict):
        raise ValueError(f"{prefix.name}.json holds no checksums")
    return checksums, shapes  # before format 3 all arrays were written whole


def names_of(prefix: Path) -> list[str]:
    """Returns the names of the arrays written under a prefix.

    Raises:
        OSError: If there are none.
        ValueError: If the list of them is damaged.
    """
    checksums, shapes = _facts(prefix)
    parts = {f"{name}{kind}" for name in shapes for kind in (_USED, _VALUES)}
    return [*shapes, *(name for name in checksums if name not in parts)]


class _ArrayFile:
    """The numbers of an array file, read from the first row to the last.

    Args:
        file: Open behind its header.
        shape: The shape of the array.
        dtype: The type of its numbers.
    """

    def __init__(self, file: BinaryIO, shape: tuple[int, ...], dtype: np.dtype) -> None:
        self.shape, self.dtype, self.checksum = shape, dtype, 0
        self._file = file

    def take(self, num_rows: int) -> np.ndarray:
        """Returns the next rows.

        Raises:
            ValueError: If there are fewer.
        """
        size = int(np.prod(self.shape[1:])) * num_rows
        data = self._file.read(size * self.dtype.itemsize)
        if len(data) != size * self.dtype.itemsize:
            raise ValueError("an array is cut short")
        self.checksum = zlib.crc32(data, self.checksum)
        return np.frombuffer(data, self.dtype).reshape(num_rows, *self.shape[1:])


@contextmanager
def _opened(prefix: Path, name: str) -> Iterator[_ArrayFile]:
    """Opens an array file, and compares its checksum once the block has read it.

    Raises:
        OSError: If the file is missing.
        ValueError: If it is damaged.
    """
    path, expected = _file_of(prefix, name), _facts(prefix)[0].get(name)
    with path.open("rb") as file:
        if np.lib.format.read_magic(file) != (1, 0):
            raise ValueError(f"{path.name} is no array file of this program")
        shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(file)
        if is_fortran or dtype.hasobject or not shape:
            raise ValueError(f"{path.name} is no array file of this program")
        found = _ArrayFile(file, shape, dtype)
        yield found
        if found.checksum != expected or file.read(1):
            raise ValueError(f"{path.name} has another checksum than was written")


class UsedRows(NamedTuple):
    """The content of rows of a sparse table.

    Attributes:
        num_used: int [P], used columns of each row.
        values: int [K], their numbers end to end.
    """

    num_used: np.ndarray
    values: np.ndarray

    def whole(self, num_columns: int) -> np.ndarray:
        """Returns whole rows, [P, num_columns]."""
        rows = np.zeros((len(self.num_used), num_columns), self.values.dtype)
        rows[np.arange(num_columns) >= num_columns - self.num_used[:, None]] = self.values
        return rows

    def chosen(self, is_chosen: np.ndarray) -> "UsedRows":
        """Returns the rows that are True in bool [P]."""
        return UsedRows(self.num_used[is_chosen], self.values[np.repeat(is_chosen, self.num_used)])


class Chunk(NamedTuple):
    """Some rows of a stored array.

    Attributes:
        shape: The shape of the whole array.
        begin: The number of the first row.
        rows: The rows, [n, ...], or those of a sparse table.
    """

    shape: tuple[int, ...]
    begin: int
    rows: np.ndarray | UsedRows


def read_chunks(prefix: Path, name: str, *, num_rows: int = 0) -> Iterator[Chunk]:
    """Yields an array some rows at a time.

    An array without rows yields one empty chunk. The checksum is compared once the last chunk
    has been read.

    Args:
        prefix: The prefix of the part.
        name: The name of the array.
        num_rows: Rows of a chunk; 0 for as many as 16 MB hold.

    Raises:
        OSError: If a file is missing.
        ValueError: If one is damaged.
    """
    shape = _facts(prefix)[1].get(name)
    if shape is not None:
        yield from _sparse_chunks(prefix, name, tuple(shape), num_rows)
        return
    with _opened(prefix, name) as array:
        step = num_rows or _chunk_rows(array.shape, array.dtype)
        for begin in range(0, max(array.shape[0], 1), step):
            rows = array.take(min(step, array.shape[0] - begin))
            yield Chunk(array.shape, begin, rows)


def _sparse_chunks(
    prefix: Path, name: str, shape: tuple[int, ...], num_rows: int
) -> Iterator[Chunk]:
    """Yields a sparse table; see `read_chunks`."""
    step = num_rows or _chunk_rows(shape, np.dtype(np.int32))
    with _opened(prefix, f"{name}{_USED}") as used, _opened(prefix, f"{name}{_VALUES}") as values:
        for begin in range(0, max(shape[0], 1), step):
            num_used = used.take(min(step, shape[0] - begin)).astype(np.int64)
            if num_used.max(initial=0) > shape[1]:
                raise ValueError(f"{name} has rows of more than {shape[1]} columns")
            yield Chunk(shape, begin, UsedRows(num_used, values.take(int(num_used.sum()))))


def _whole(chunk: Chunk) -> np.ndarray:
    """Returns the rows of a chunk with all their columns."""
    rows = chunk.rows
    return rows if isinstance(rows, np.ndarray) else rows.whole(chunk.shape[1])


def read_array(prefix: Path, name: str) -> np.ndarray:
    """Returns a whole array."""
    return np.concatenate([_whole(chunk) for chunk in read_chunks(prefix, name)])


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
        tables: Mapping[str, tf.Variable | SparseTable],
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
        # Then no row moves, and the numbers of the rows, 8 bytes each, are not needed.
        mine = None if is_same else self._rows_of(self._workers.index, self._workers.count)
        totals = {n: np.zeros(s.shape, s.dtype.as_numpy_dtype) for n, s in self.sums.items()}
        for worker in [self._workers.index] if is_same else range(num_workers):
            prefix = part_prefix(folder, worker, num_workers)
            moves = None if mine is None else (self._rows_of(worker, num_workers), mine)
            for name, table in self.tables.items():
                _read_table(prefix, name, table, moves)
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
    prefix: Path,
    name: str,
    table: tf.Variable | SparseTable,
    moves: tuple[np.ndarray, np.ndarray] | None,
) -> None:
    """Copies this worker's rows from one worker's file into a table, chunk by chunk.

    Args:
        prefix: The part's.
        name: The table's.
        table: This worker's, [rows, ...].
        moves: int64 [n] and int64 [m], ascending, which rows the part holds and which the table;
            None where they are the same.

    Raises:
        ValueError: If the part is damaged, or its shape differs.
        OSError: If it is missing.
    """
    num_rows = table.shape[0] if moves is None else max(len(moves[0]), 1)
    for chunk in read_chunks(prefix, f"{_TABLES}{name}"):
        if chunk.shape != (num_rows, *table.shape[1:]):
            raise ValueError(f"{name} has shape {chunk.shape}")
        rows = chunk.rows
        count = len(rows) if isinstance(rows, np.ndarray) else len(rows.num_used)
        is_mine, places = np.ones(count, bool), chunk.begin + np.arange(count)
        if moves is not None:
            is_mine, places = _places(moves[0][chunk.begin :][:count], moves[1], count)
        if not len(places):
            continue
        if isinstance(rows, np.ndarray):
            put_rows(table, places, rows[is_mine])
        elif isinstance(table, SparseTable):
            table.write_used(places, *rows.chosen(is_mine))
        else:
            put_rows(table, places, _whole(chunk)[is_mine])


def put_rows(table: tf.Variable | SparseTable, places: np.ndarray, rows: np.ndarray) -> None:
    """Replaces the rows `places` int64 [P], distinct, of a table by whole rows [P, ...]."""
    if isinstance(table, SparseTable):
        table.write_rows(places, rows)
    elif len(places):
        table.scatter_nd_update(places[:, None], rows)


def _places(theirs: np.ndarray, mine: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns bool [count], which rows are this worker's, and their places in its table.

    Args:
        theirs: int64, the numbers of the first rows of the chunk; one without any is a filler.
        mine: int64 [m], ascending, the numbers of this worker's rows.
        count: Rows of the chunk.
    """
    places = np.searchsorted(mine, theirs)
    is_mine = np.zeros(count, bool)
    is_inside = places < len(mine)
    is_mine[: len(theirs)][is_inside] = mine[places[is_inside]] == theirs[is_inside]
    return is_mine, places[is_mine[: len(theirs)]]


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


def read_table_rows(
    folder: Path, worker: int, num_workers: int, *, num_rows: int
) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
    """Yields the number of a first row, and `num_rows` whole rows of each of a worker's tables.

    Raises:
        ValueError: If a table is damaged, or they differ in rows.
        OSError: If one is missing.
    """
    prefix = part_prefix(folder, worker, num_workers)
    keys = [key for key in names_of(prefix) if key.startswith(_TABLES)]
    names = [key.removeprefix(_TABLES) for key in keys]
    chunks = [read_chunks(prefix, key, num_rows=num_rows) for key in keys]
    for found in zip(*chunks, strict=True):
        yield found[0].begin, dict(zip(names, map(_whole, found), strict=True))


def _folded(sums: np.ndarray, shape: tf.TensorShape) -> np.ndarray:
    """Returns sums of another number of replicas added up in the first replica's place."""
    if sums.shape == tuple(shape):
        return sums
    folded = np.zeros(shape, sums.dtype)
    folded[0] = sums.sum(axis=0)
    return folded
