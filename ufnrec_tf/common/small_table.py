"""An item table in bfloat16 or in int8 with a scale a row: half or a quarter of the memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

TABLES = ("float32", "bfloat16", "int8")
_LARGEST = 127


class SmallTable(tf.Module):
    """Takes the place of a backbone's `item_table`; its rows are read as float32.

    int8 is symmetric: a row's largest absolute value becomes 127, and a row is read as its whole
    numbers times its scale, so that no value is wrong by more than half a scale. TensorFlow takes
    it for a tensor, too, which widens the whole table at each call.

    Attributes:
        values: bfloat16 or int8 [V + 1, D].
        scales: float32 [V + 1] of int8, else None.
        replaced: Path of the Keras variable that it stands for.
    """

    def __init__(self, table: np.ndarray, kind: str, *, replaced: str = "") -> None:
        """Rounds the table.

        Args:
            table: float [V + 1, D], finite.
            kind: "bfloat16" or "int8".
            replaced: See the attribute.
        """
        super().__init__(name="item_table")
        self.replaced = replaced
        self.scales = None
        table = np.asarray(table, np.float32)
        if kind == "bfloat16":
            self.values = tf.Variable(tf.cast(table, tf.bfloat16), trainable=False)
            return
        largest = np.abs(table).max(axis=1)
        scales = np.where(largest > 0, largest / _LARGEST, 1).astype(np.float32)
        whole = np.clip(np.rint(table / scales[:, None]), -_LARGEST, _LARGEST)
        self.values = tf.Variable(whole.astype(np.int8), trainable=False)
        self.scales = tf.Variable(scales, trainable=False)

    def rows(self, items: tf.Tensor) -> tf.Tensor:
        """Returns float32 [..., D], the rows of int32 [...] items."""
        # Of tensors: once a variable itself is gathered from, every read copies the whole of it.
        rows = tf.cast(tf.gather(tf.convert_to_tensor(self.values), items), tf.float32)
        if self.scales is None:
            return rows
        return rows * tf.gather(tf.convert_to_tensor(self.scales), items)[..., None]

    def scores(self, vectors: tf.Tensor, start: tf.Tensor, stop: tf.Tensor) -> tf.Tensor:
        """Returns float32 [B, stop - start], the dot products of vectors and rows.

        Args:
            vectors: float32 [B, D].
            start: int32 [], the first row.
            stop: int32 [], one after the last.
        """
        rows = tf.cast(self.values[start:stop], tf.float32)
        products = tf.linalg.matmul(vectors, rows, transpose_b=True)
        return products if self.scales is None else products * self.scales[start:stop][None, :]

    def __tf_tensor__(self, dtype: Any = None, name: str | None = None) -> tf.Tensor:
        """Returns the whole table, float32 [V + 1, D] or in the dtype that is asked for."""
        table = self.rows(tf.range(tf.shape(self.values)[0]))
        return table if dtype is None else tf.cast(table, dtype)


def with_small_table(backbone: Any, kind: str) -> Any:
    """Returns the backbone, or a copy that reads all its items from a small table.

    Args:
        backbone: A `Backbone` with its `item_table`.
        kind: One of `TABLES`; "float32" returns the backbone itself.

    Raises:
        ValueError: For another kind.
    """
    if kind not in TABLES:
        raise ValueError(f"`table` must be one of {TABLES}. Received: {kind!r}.")
    if kind == TABLES[0]:
        return backbone
    copy = backbone.clone()
    table = copy.item_table
    copy.item_table = SmallTable(tf.convert_to_tensor(table).numpy(), kind, replaced=table.path)
    return copy
