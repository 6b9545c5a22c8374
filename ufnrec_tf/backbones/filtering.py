"""The base of FMLP-Rec and BSARec: inputs with positions, post-norm blocks, filtered windows."""

from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from ufnrec_tf.backbones.attention import xavier_normal
from ufnrec_tf.backbones.base import BlockBackbone
from ufnrec_tf.backbones.dropout import Dropout
from ufnrec_tf.backbones.packing import (
    Neighbourhood,
    PackedHistories,
    block_size,
    fill_up,
    neighbourhood,
    padded_neighbourhood,
)
from ufnrec_tf.common.lookup import pick
from ufnrec_tf.common.tensors import PAD, widen

DEVIATION = 0.02
EPSILON = 1e-12
INNER_FACTOR = 4

FILTERS = {"circular": False, "causal": True}
"""Name of a filter: True if a column sees only itself and earlier ones."""


PADDINGS = {"zero": False, "released": True}
"""Name of what padded columns are to circular filters: True for the released codes' way."""


def normal() -> keras.initializers.Initializer:
    """Returns the initializer of the released codes' weights."""
    return keras.initializers.RandomNormal(stddev=DEVIATION)


def layer_norm(dtype: Any) -> keras.layers.Layer:
    """Returns the released codes' layer normalisation."""
    return keras.layers.LayerNormalization(epsilon=EPSILON, dtype=dtype)


@dataclass(frozen=True)
class Places:
    """The places of P positions in their windows of L columns.

    Not a tuple: Keras looks into tuples that are passed to a layer, and refuses the whole number.

    Attributes:
        packed: The histories without their padding; None where the positions are all columns of
            padded ones, row by row.
        near: Which positions see which.
        max_length: L.
    """

    packed: PackedHistories | None
    near: Neighbourhood
    max_length: int

    def to_windows(self, tensor: tf.Tensor) -> tf.Tensor:
        """Returns [B, L, D], zeros in padded columns, for [P, D] that is zero in fillers."""
        if self.packed is None:
            return tf.reshape(tensor, [-1, self.max_length, tensor.shape[-1]])
        shape = [tf.shape(self.packed.lengths)[0], self.max_length, tensor.shape[-1]]
        return tf.scatter_nd(self._cells(self.packed), tensor, shape)

    def from_windows(self, tensor: tf.Tensor) -> tf.Tensor:
        """Returns [P, D] of [B, L, D]."""
        if self.packed is None:
            return tf.reshape(tensor, [-1, tensor.shape[-1]])
        return tf.gather_nd(tensor, self._cells(self.packed))

    @staticmethod
    def _cells(packed: PackedHistories) -> tf.Tensor:
        return tf.stack([packed.rows, packed.columns], axis=1)


class FilteringBackbone(BlockBackbone):
    """A backbone whose blocks filter the columns of the window.

    norm(item + position), dropout, blocks. With the filter `circular`, the papers', a block mixes
    all columns of the window, the newest into the oldest: the backbone is not causal and is to
    be trained on prefixes. It reads its padding, which holds the normed embeddings of positions
    without an item. In the released codes, and here with padding `released`, the padding's row of
    the item table, which is drawn at the start and never trained, is added to them, and a padded
    column attends to the whole window; by default to itself alone. With `causal`, no paper's, a
    column sees only itself and earlier ones, and padding is zero and has no effect, so that all
    positions of a history are trained at once, without their padding.

    A subclass fills `blocks` with layers `block(hidden, places, training)` from float [P, D] to
    float [P, D], and then calls `build_now`.

    Args:
        filter: One of `FILTERS`.
        padding: One of `PADDINGS`, read by the filter `circular`.
        **settings: The subclass's own and those of `BlockBackbone`.
    """

    def __init__(self, *, filter: str = "circular", padding: str = "zero", **settings: Any) -> None:
        super().__init__(filter=filter, padding=padding, **settings)
        self.is_causal = pick(FILTERS, filter, key="backbone.filter")
        is_released = pick(PADDINGS, padding, key="backbone.padding")
        self.has_released_padding = is_released and not self.is_causal
        self.item_table = self.add_weight(
            shape=(self.num_items + 1, self.width), initializer=normal(), name="item_table"
        )
        self.position_table = self.add_weight(
            shape=(self.max_length, self.width), initializer=normal(), name="position_table"
        )
        self.input_norm = layer_norm(self.dtype_policy)
        self.input_dropout = Dropout(self.dropout_rate, dtype=self.dtype_policy)

    def call(self, histories: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Returns float32 [B, L, D] for int32 [B, L] histories; see `Backbone.call`."""
        items = tf.reshape(histories, [-1])
        columns = tf.tile(tf.range(self.max_length), tf.shape(histories)[:1])
        near = padded_neighbourhood(
            tf.ensure_shape(histories, [None, self.max_length]) != PAD,
            padding_sees_all=self.has_released_padding,
        )
        places = Places(None, near, self.max_length)
        vectors = self._run(items, columns, places, training=training)
        return tf.reshape(vectors, [-1, self.max_length, self.width])

    def call_packed(self, packed: PackedHistories, training: bool = False) -> tf.Tensor:
        """Returns float32 [P, D] for packed histories; see `Backbone.call_packed`."""
        if not self.is_causal:
            return super().call_packed(packed, training=training)
        filled = fill_up(packed, block_size(self.max_length))
        places = Places(filled, neighbourhood(filled, self.max_length), self.max_length)
        vectors = self._run(filled.items, filled.columns, places, training=training)
        return vectors[: tf.shape(packed.items)[0]]

    def encode(self, histories: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Returns float32 [B, D], the vector of the newest position; see `Backbone.encode`."""
        if not self.is_causal:
            return super().encode(histories, training=training)
        return self.encode_packed(
            histories, tf.zeros([1, self.width], self.score_dtype), training=training
        )

    def _run(
        self, items: tf.Tensor, columns: tf.Tensor, places: Places, training: bool
    ) -> tf.Tensor:
        """Returns float32 [P, D] of int32 [P] items in int32 [P] columns."""
        is_item = tf.cast(items != PAD, self.compute_dtype)[:, None]
        keep = is_item if self.is_causal else tf.ones([], self.compute_dtype)
        hidden = self.embed(items)
        if self.has_released_padding:
            hidden = tf.where((items != PAD)[:, None], hidden, tf.stop_gradient(hidden))
        else:
            hidden *= is_item
        hidden += self.gather_rows(self.position_table, columns)
        hidden = self.input_dropout(self.input_norm(hidden), training=training) * keep
        for block in self.blocks:
            hidden = block(hidden, places=places, training=training) * keep
        return widen(hidden)


class FilteringFeedForward(keras.layers.Layer):
    """norm(x + dropout(W2 gelu(W1 x))), inner size four times the width.

    Args:
        width: D.
        dropout: Rate after the second matrix.
        is_xavier: True draws the matrices from Xavier's normal distribution.
        dtype: Keras's dtype policy.
    """

    def __init__(
        self, *, width: int, dropout: float, is_xavier: bool = False, dtype: Any = None
    ) -> None:
        super().__init__(dtype=dtype)
        inner = INNER_FACTOR * width
        for name, shape in (("inner", (width, inner)), ("outer", (inner, width))):
            initializer = xavier_normal(*shape) if is_xavier else normal()
            kernel = self.add_weight(shape=shape, initializer=initializer, name=f"{name}_kernel")
            bias = self.add_weight(shape=shape[1:], initializer="zeros", name=f"{name}_bias")
            setattr(self, f"{name}_kernel", kernel)
            setattr(self, f"{name}_bias", bias)
        self.dropout = Dropout(dropout, dtype=dtype)
        self.norm = layer_norm(dtype)
        self.built = True

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Returns float [P, D] for float [P, D]."""
        hidden = tf.nn.gelu(tf.matmul(inputs, self.inner_kernel) + self.inner_bias)
        hidden = tf.matmul(hidden, self.outer_kernel) + self.outer_bias
        return self.norm(inputs + self.dropout(hidden, training=training))
