"""A table whose rows are filled from the right, and which costs what its rows hold."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

_BLOCK_COLUMNS = 64
_CHUNK_ROWS = 65_536
_CHUNK_NUMBERS = 1 << 21


class RowTable:
    """A variable [rows, S] in which the used columns of each row are its last ones.

    Its numbers take two bytes where none is above 65,535, else four. A step passes them as int32.

    A wide row lies in blocks of at most 64 columns, of which a step reads and writes only as many
    as its fullest row uses. The last blocks of all rows come first, then those to their left, and
    so on. A block that is not used, and a narrow row that was never written, is not touched, so
    that its page takes no memory of the machine.

    A checkpoint reads and writes the used columns of some rows at a time. Beside these there are
    members of `tf.Variable` that take and return whole rows.

    Attributes:
        shape: [rows, S].
        dtype: int32.
        bytes_per_number: 2 or 4.

    Args:
        num_rows: Number of rows, 1 or more.
        num_columns: S.
        name: Name of the variable.
        largest: No number is above it, and none below 0.
    """

    def __init__(
        self, num_rows: int, num_columns: int, name: str, *, largest: int = tf.int32.max
    ) -> None:
        self.shape = tf.TensorShape([num_rows, num_columns])
        self.dtype = tf.int32
        held = tf.uint16 if largest <= tf.uint16.max else tf.int32
        self.bytes_per_number = held.size
        self._num_blocks = max(-(-num_columns // _BLOCK_COLUMNS), 1)
        self._block = -(-num_columns // self._num_blocks)
        self._is_wide = self._num_blocks > 1
        # One block more: the zeros that are read in the place of a block that is not used.
        self._no_block = num_rows * self._num_blocks
        # The blocks of a wide table need no zeros, as those that are not used are not read.
        self._blocks = (
            _untouched([self._no_block + 1, self._block], held, name)
            if self._is_wide
            else untouched_zeros([num_rows, self._block], held, name)
        )
        self._num_used = tf.Variable(
            tf.zeros([num_rows if self._is_wide else 0], tf.int32),
            trainable=False,
            name=f"{name}_used_blocks",
        )
        if self._is_wide:
            nothing = tf.zeros([1, self._block], held)
            self._blocks.scatter_update(tf.IndexedSlices(nothing, [self._no_block]))

    @property
    def variables(self) -> list[tf.Variable]:
        """The variables that hold the table."""
        return [self._blocks, self._num_used]

    @property
    def device(self) -> str:
        """The device that holds the table."""
        return str(self._blocks.device)

    def width(self, rows: tf.Tensor, *, least: int = 1) -> tf.Tensor | int:
        """Returns the columns to read, so that none that these rows use is left out.

        Args:
            rows: int64 [P].
            least: Columns that must be among them, at most S.
        """
        if not self._is_wide:
            return self._block
        used = tf.reduce_max(tf.gather(self._num_used, rows))
        return self._block * tf.maximum(used, -(-least // self._block))

    def read(self, rows: tf.Tensor, width: tf.Tensor | int) -> tf.Tensor:
        """Returns the last columns of rows, int32 [P, width].

        Args:
            rows: int64 [P].
            width: A result of `width`.
        """
        if not self._is_wide:
            return tf.cast(tf.gather(self._blocks, rows), self.dtype)
        places = self._places(rows, tf.gather(self._num_used, rows), width // self._block)
        found = tf.cast(tf.gather(self._blocks, places), self.dtype)
        return tf.reshape(found, [-1, width])

    def write(self, rows: tf.Tensor, values: tf.Tensor, num_used: tf.Tensor) -> None:
        """Replaces rows.

        Args:
            rows: int64 [P], distinct.
            values: int32 [P, K], the last columns, with zeros in those that are not used.
            num_used: int32 [P], the used columns, at most S.
        """
        values = tf.cast(values, self._blocks.dtype)
        if not self._is_wide:
            # Narrow rows are read and written whole, which takes a tenth of the operations.
            self._blocks.scatter_update(tf.IndexedSlices(values[:, -self._block :], rows))
            return
        num_used = (num_used + self._block - 1) // self._block
        self._num_used.scatter_update(tf.IndexedSlices(num_used, rows))
        num_blocks = tf.maximum(tf.reduce_max(num_used), 1)
        width = num_blocks * self._block
        missing = tf.maximum(width - tf.shape(values)[1], 0)
        values = tf.pad(values, [[0, 0], [missing, 0]])[:, -width:]
        # Zeros go to the block of zeros, as often as a row uses fewer blocks than another.
        places = tf.reshape(self._places(rows, num_used, num_blocks), [-1])
        values = tf.reshape(values, [-1, self._block])
        self._blocks.scatter_update(tf.IndexedSlices(values, places))

    def _places(
        self, rows: tf.Tensor, num_used: tf.Tensor, num_blocks: tf.Tensor | int
    ) -> tf.Tensor:
        """Returns where the last blocks of rows are, int64 [P, blocks], left to right."""
        block = tf.range(num_blocks - 1, -1, -1)
        places = rows[:, None] + tf.cast(block, tf.int64) * self.shape[0]
        return tf.where(block < num_used[:, None], places, self._no_block)

    def row_chunks(self, num_rows: int | None = None) -> Iterator[slice]:
        """Yields all rows, or the first `num_rows`, some at a time, fewer where they are wide."""
        num_rows = self.shape[0] if num_rows is None else num_rows
        step = min(_CHUNK_ROWS, max(_CHUNK_NUMBERS // self.shape[1], 1))
        for begin in range(0, num_rows, step):
            yield slice(begin, min(begin + step, num_rows))

    def read_used(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the content of rows: int64 [P], how many columns each uses, and their numbers.

        Args:
            rows: int64 [P].

        Returns:
            The number of columns from a row's first number that is not 0 on, and the numbers, row
            by row, in the 2 or 4 bytes in which they are held.
        """
        num_used, values = _used_of(self.read(rows, self.width(rows)).numpy())
        return num_used, values.astype(self._blocks.dtype.as_numpy_dtype)

    def write_used(self, rows: np.ndarray, num_used: np.ndarray, values: np.ndarray) -> None:
        """Replaces rows. Those that are empty and stay so are not touched.

        Args:
            rows: int64 [P], distinct.
            num_used: int [P], used columns of each, at most S.
            values: int [K], their numbers end to end.

        Raises:
            ValueError: If a number is above what the table can hold.
        """
        if values.max(initial=0) > self._blocks.dtype.max:
            raise ValueError(
                f"the memory's table has {self.bytes_per_number} bytes a number, which do not hold "
                f"{values.max()}"
            )
        width = max(int(num_used.max(initial=0)), 1) if self._is_wide else self._block
        whole = np.zeros([len(rows), width], np.int32)
        whole[_last_columns(num_used, width)] = values
        is_there = (self.read(rows, self.width(rows)).numpy() != 0).any(axis=1)
        chosen = np.flatnonzero(is_there | (num_used > 0))
        if len(chosen):
            self.write(
                tf.constant(rows[chosen], tf.int64),
                tf.constant(whole[chosen]),
                tf.constant(num_used[chosen], tf.int32),
            )

    def sparse_read(self, rows: Any) -> tf.Tensor:
        """Returns whole rows, int32 [P, S], of rows int [P]."""
        values = self.read(tf.cast(rows, tf.int64), self._block * self._num_blocks)
        return values[:, -self.shape[1] :]

    def write_rows(self, rows: np.ndarray, values: np.ndarray) -> None:
        """Replaces rows int64 [P] by whole rows int [P, S]; see `write_used`."""
        self.write_used(rows, *_used_of(values))

    def assign(self, values: Any) -> None:
        """Replaces all rows by `values` int [rows, S]."""
        for chunk in self.row_chunks():
            self.write_rows(np.arange(chunk.start, chunk.stop), np.asarray(values[chunk]))

    def numpy(self) -> np.ndarray:
        """Returns all rows."""
        return self.sparse_read(tf.range(self.shape[0])).numpy()


def untouched_zeros(shape: list[int], dtype: tf.DType, name: str) -> tf.Variable:
    """Returns a variable of zeros whose pages take memory only once they are written.

    Args:
        shape: [rows, ...], 1 or more rows.
        dtype: The type of its numbers.
        name: Its name.
    """
    width = int(np.prod(shape[1:]))
    if shape[0] * width <= _CHUNK_NUMBERS:
        return tf.Variable(tf.zeros(shape, dtype), trainable=False, name=name)
    variable = _untouched(shape, dtype, name)
    # The system gives a large allocation as pages of zeros, and a page that is only read takes no
    # memory. Nobody promises it, so that memory which was in use before is cleared.
    step = max(_CHUNK_NUMBERS // width, 1)
    for begin in range(0, shape[0], step):
        rows = tf.range(begin, min(begin + step, shape[0]))
        if tf.reduce_any(tf.gather(variable, rows) != 0):
            zeros = tf.zeros([len(rows), *shape[1:]], dtype)
            variable.scatter_update(tf.IndexedSlices(zeros, rows))
    return variable


def _untouched(shape: list[int], dtype: tf.DType, name: str) -> tf.Variable:
    # Not under a name of its own: the first write to a tensor that is held twice copies it.
    return tf.Variable(tf.raw_ops.Empty(shape=shape, dtype=dtype), trainable=False, name=name)


def _used_of(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the used columns of rows int [P, W], int64 [P], and their numbers end to end."""
    is_number, width = rows != 0, rows.shape[1]
    num_used = np.where(is_number.any(axis=1), width - is_number.argmax(axis=1), 0)
    return num_used, rows[_last_columns(num_used, width)]


def _last_columns(num_used: np.ndarray, width: int) -> np.ndarray:
    """Returns bool [P, width], True in the last `num_used` int [P] columns of each row."""
    return np.arange(width) >= width - num_used[:, None]
