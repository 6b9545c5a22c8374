"""A table whose rows are filled from the right, and which costs what its rows hold."""

from typing import Any

import numpy as np
import tensorflow as tf

_BLOCK_COLUMNS = 64
_CHUNK_NUMBERS = 1 << 22


class RowTable:
    """A variable int32 [rows, S] in which the used columns of each row are its last ones.

    A wide row lies in blocks of at most 64 columns, of which a step reads and writes only as many
    as its fullest row uses. The last blocks of all rows come first, then those to their left, and
    so on. A block that is not used is never touched, so that it takes no memory of the machine.

    Beside `read` and `write` it has those members of `tf.Variable` by which a checkpoint is
    written and read; they take and return whole rows.

    Attributes:
        shape: [rows, S].
        dtype: int32.

    Args:
        num_rows: Number of rows, 1 or more.
        num_columns: S.
        name: Name of the variable.
    """

    def __init__(self, num_rows: int, num_columns: int, name: str) -> None:
        self.shape = tf.TensorShape([num_rows, num_columns])
        self.dtype = tf.int32
        self._num_blocks = max(-(-num_columns // _BLOCK_COLUMNS), 1)
        self._block = -(-num_columns // self._num_blocks)
        self._is_wide = self._num_blocks > 1
        # One block more: the zeros that are read in the place of a block that is not used.
        self._no_block = num_rows * self._num_blocks
        # Not under a name of its own: the first write to a tensor that is held twice copies it.
        self._blocks = tf.Variable(
            tf.raw_ops.Empty(shape=[self._no_block + 1, self._block], dtype=tf.int32)
            if self._is_wide
            else tf.zeros([num_rows, self._block], tf.int32),
            trainable=False,
            name=name,
        )
        self._num_used = tf.Variable(
            tf.zeros([num_rows if self._is_wide else 0], tf.int32),
            trainable=False,
            name=f"{name}_used_blocks",
        )
        if self._is_wide:
            nothing = tf.zeros([1, self._block], tf.int32)
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
            return tf.gather(self._blocks, rows)
        places = self._places(rows, tf.gather(self._num_used, rows), width // self._block)
        return tf.reshape(tf.gather(self._blocks, places), [-1, width])

    def write(self, rows: tf.Tensor, values: tf.Tensor, num_used: tf.Tensor) -> None:
        """Replaces rows.

        Args:
            rows: int64 [P], distinct.
            values: int32 [P, K], the last columns, with zeros in those that are not used.
            num_used: int32 [P], the used columns, at most S.
        """
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

    def sparse_read(self, rows: Any) -> tf.Tensor:
        """Returns whole rows, int32 [P, S], of rows int [P]."""
        values = self.read(tf.cast(rows, tf.int64), self._block * self._num_blocks)
        return values[:, -self.shape[1] :]

    def scatter_nd_update(self, indices: Any, updates: Any) -> None:
        """Replaces the rows `indices` int [P, 1] by `updates` int32 [P, S]."""
        updates = tf.convert_to_tensor(updates, tf.int32)
        from_right = tf.range(self.shape[1], 0, -1)
        num_used = tf.reduce_max(tf.where(updates != 0, from_right, 0), axis=1)
        self.write(tf.cast(indices, tf.int64)[:, 0], updates, num_used)

    def assign(self, values: Any) -> None:
        """Replaces all rows by `values` int32 [rows, S]."""
        step = max(_CHUNK_NUMBERS // self.shape[1], 1)
        for begin in range(0, self.shape[0], step):
            rows = tf.range(begin, min(begin + step, self.shape[0]))
            self.scatter_nd_update(rows[:, None], values[begin : begin + step])

    def numpy(self) -> np.ndarray:
        """Returns all rows."""
        return self.sparse_read(tf.range(self.shape[0])).numpy()
