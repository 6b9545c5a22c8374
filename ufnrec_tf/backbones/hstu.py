"""HSTU: pointwise attention gated by the inputs, with a bias by distance."""

from typing import Any

import keras
import tensorflow as tf

from ufnrec_tf.backbones.attention import check_heads, xavier_normal
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
from ufnrec_tf.common.tensors import PAD, widen

DEVIATION = 0.02
EPSILON = 1e-6


class HSTU(BlockBackbone):
    """Hierarchical sequential transduction units with a tied item table.

    A unit: U, V, Q, K = split(SiLU(W1 norm(x))); A = SiLU(Q K^T + bias) / L, over the query's own
    and earlier columns; x <- x + W2 dropout(norm(A V) * U) + b. Nothing sums to one as in a
    softmax, so that the number of similar items in a history matters. Padding has no effect.

    Differs from the paper: the bias is only by distance, without the part that depends on the
    time between two events, since histories here carry no times. Differs from the released
    code: positions enter only by that bias, there is no table of them beside it; a layer
    normalisation at the end stands where the release divides by the norm, which needs the
    temperature of its own loss.

    Source: Zhai et al., "Actions Speak Louder than Words: Trillion-Parameter Sequential
    Transducers for Generative Recommendations", ICML 2024, arXiv 2402.17152, section 3.

    Args:
        num_heads: Heads; divides `width`.
        **settings: See `BlockBackbone`; a block is a unit.
    """

    def __init__(self, *, num_heads: int = 1, **settings: Any) -> None:
        super().__init__(num_heads=num_heads, **settings)
        policy = self.dtype_policy
        check_heads(num_heads, self.width)
        self.item_table = self.add_weight(
            shape=(self.num_items + 1, self.width),
            initializer=keras.initializers.RandomNormal(stddev=DEVIATION),
            name="item_table",
        )
        self.input_dropout = Dropout(self.dropout_rate, dtype=policy)
        self.units = [
            TransductionUnit(
                width=self.width,
                num_heads=num_heads,
                dropout=self.dropout_rate,
                max_length=self.max_length,
                dtype=policy,
            )
            for _ in range(self.num_blocks)
        ]
        self.final_norm = keras.layers.LayerNormalization(epsilon=EPSILON, dtype=policy)
        self.build_now()

    def call(self, histories: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Returns float32 [B, L, D] for int32 [B, L] histories; see `Backbone.call`."""
        near = padded_neighbourhood(histories != PAD)
        vectors = self._run(tf.reshape(histories, [-1]), near, training=training)
        return tf.reshape(vectors, [-1, self.max_length, self.width])

    def call_packed(self, packed: PackedHistories, training: bool = False) -> tf.Tensor:
        """Returns float32 [P, D] for packed histories; see `Backbone.call_packed`."""
        filled = fill_up(packed, block_size(self.max_length))
        near = neighbourhood(filled, self.max_length)
        return self._run(filled.items, near, training=training)[: tf.shape(packed.items)[0]]

    def encode(self, histories: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Returns float32 [B, D], the vector of the newest position; see `Backbone.encode`."""
        empty = widen(self.final_norm(tf.zeros([1, self.width], self.compute_dtype)))
        return self.encode_packed(histories, empty, training=training)

    def _run(self, items: tf.Tensor, near: Neighbourhood, training: bool) -> tf.Tensor:
        """Returns float32 [P, D] of int32 [P] items that see each other as `near` says."""
        keep = tf.cast(items != PAD, self.compute_dtype)[:, None]
        hidden = self.embed(items) * self.width**0.5
        hidden = self.input_dropout(hidden, training=training) * keep
        for unit in self.units:
            hidden = unit(hidden, near=near, training=training) * keep
        return widen(self.final_norm(hidden))


class TransductionUnit(keras.layers.Layer):
    """One unit with its residual; the caller sets the padded columns of its output to zero.

    Args:
        width: D.
        num_heads: Heads; divides `width`.
        dropout: Rate on the gated values.
        max_length: L, the longest history.
        dtype: Keras's dtype policy.
    """

    def __init__(
        self, *, width: int, num_heads: int, dropout: float, max_length: int, dtype: Any
    ) -> None:
        super().__init__(dtype=dtype)
        self.num_heads = num_heads
        self.max_length = max_length
        normal = keras.initializers.RandomNormal
        # The norms have no weights: a linear layer follows each.
        self.input_norm, self.value_norm = (
            keras.layers.LayerNormalization(epsilon=EPSILON, center=False, scale=False, dtype=dtype)
            for _ in range(2)
        )
        self.input_kernel = self.add_weight(
            shape=(width, 4 * width), initializer=normal(stddev=DEVIATION), name="input_kernel"
        )
        self.distance_bias = self.add_weight(
            shape=(max_length,), initializer=normal(stddev=DEVIATION), name="distance_bias"
        )
        self.output_kernel = self.add_weight(
            shape=(width, width), initializer=xavier_normal(width, width), name="output_kernel"
        )
        self.output_bias = self.add_weight(shape=(width,), initializer="zeros", name="output_bias")
        self.dropout = Dropout(dropout, dtype=dtype)
        self.built = True

    def call(self, inputs: tf.Tensor, near: Neighbourhood, training: bool = False) -> tf.Tensor:
        """Returns float [P, D] for float [P, D] positions that see each other as `near` says."""
        projected = tf.nn.silu(tf.matmul(self.input_norm(inputs), self.input_kernel))
        gate, value, query, key = tf.split(projected, 4, axis=-1)
        logits = tf.matmul(
            self._heads(near.blocks(query)), self._heads(near.windows(key)), transpose_b=True
        )  # [P / W, H, W, K]
        is_visible = near.is_visible[:, None]
        # Masked before the bias is added: oneDNN crashes where a sum directly follows the product.
        logits = tf.where(is_visible, logits, tf.zeros([], logits.dtype))
        distances = tf.clip_by_value(near.distances(), 0, self.max_length - 1)
        logits += tf.gather(tf.cast(self.distance_bias, self.compute_dtype), distances)
        weights = tf.where(is_visible, tf.nn.silu(logits), tf.zeros([], logits.dtype))
        mixed = tf.matmul(weights / self.max_length, self._heads(near.windows(value)))
        mixed = tf.reshape(tf.transpose(mixed, [0, 2, 1, 3]), tf.shape(inputs))
        gated = self.dropout(self.value_norm(mixed) * gate, training=training)
        return inputs + tf.matmul(gated, self.output_kernel) + self.output_bias

    def _heads(self, tensor: tf.Tensor) -> tf.Tensor:
        count, size, width = tf.shape(tensor)[0], tensor.shape[1], tensor.shape[2]
        heads = tf.reshape(tensor, [count, size, self.num_heads, width // self.num_heads])
        return tf.transpose(heads, [0, 2, 1, 3])  # [P / W, H, W, D / H]
