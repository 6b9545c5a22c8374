"""HSTU: pointwise attention gated by the inputs, with a bias by distance and by time."""

from typing import Any, NamedTuple

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
from ufnrec_tf.backbones.times import (
    NUM_BUCKETS,
    TimeGaps,
    first_columns,
    first_positions,
    num_times,
    padded_times,
    time_buckets,
)
from ufnrec_tf.common.tensors import PAD, widen

DEVIATION = 0.02
EPSILON = 1e-6


class HSTU(BlockBackbone):
    """Hierarchical sequential transduction units with a tied item table.

    A unit: U, V, Q, K = split(SiLU(W1 norm(x))); A = SiLU(Q K^T + bias) / L, over the query's own
    and earlier columns; x <- x + W2 dropout(norm(A V) * U) + b. Nothing sums to one as in a
    softmax, so that the number of similar items in a history matters. Padding has no effect.

    With `time` `bias` or `both` a second learnt bias depends on the time between the two events, in
    buckets of its logarithm. In the paper it depends on the time between the key and what the query
    predicts, which is not known until somebody asks: that is `request_time`.

    Differs from the released code: positions enter only by the bias by distance, there is no table
    of them beside it; a layer normalisation at the end stands where the release divides by the
    norm, which needs the temperature of its own loss.

    Source: Zhai et al., "Actions Speak Louder than Words: Trillion-Parameter Sequential
    Transducers for Generative Recommendations", ICML 2024, arXiv 2402.17152, section 3.

    Args:
        num_heads: Heads; divides `width`.
        time: `bias` adds the bias by time, `gaps` a learnt vector to each item's by the time since
            the event before, `both` both; `none` reads no times.
        request_time: True lets a query stand at the time of the request that follows its event,
            and with `gaps` adds a vector by the time between the two.
        **settings: See `BlockBackbone`; a block is a unit.
    """

    times_read = ("none", "gaps", "bias", "both")

    def __init__(
        self,
        *,
        num_heads: int = 1,
        time: str = "none",
        request_time: bool = False,
        **settings: Any,
    ) -> None:
        super().__init__(num_heads=num_heads, time=time, request_time=request_time, **settings)
        policy = self.dtype_policy
        self.num_times = num_times(time, request_time, self.max_length, allowed=self.times_read)
        self.has_gaps, self.has_bias = time in ("gaps", "both"), time in ("bias", "both")
        check_heads(num_heads, self.width)
        self.item_table = self.add_weight(
            shape=(self.num_items + 1, self.width),
            initializer=keras.initializers.RandomNormal(stddev=DEVIATION),
            name="item_table",
        )
        if self.has_gaps:
            self.time_gaps = TimeGaps(self.width, has_request=request_time, dtype=policy)
        self.input_dropout = Dropout(self.dropout_rate, dtype=policy)
        self.units = [
            TransductionUnit(
                width=self.width,
                num_heads=num_heads,
                dropout=self.dropout_rate,
                max_length=self.max_length,
                has_time_bias=self.has_bias,
                dtype=policy,
            )
            for _ in range(self.num_blocks)
        ]
        self.final_norm = keras.layers.LayerNormalization(epsilon=EPSILON, dtype=policy)
        self.build_now()

    def call(
        self, histories: tf.Tensor, training: bool = False, times: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Returns float32 [B, L, D] for int32 [B, L] histories; see `Backbone.call`."""
        is_real = histories != PAD
        at = None
        if times is not None:
            at = _Times(*padded_times(times, self.max_length), first_columns(is_real))
        items = tf.reshape(histories, [-1])
        vectors = self._run(items, at, padded_neighbourhood(is_real), training=training)
        return tf.reshape(vectors, [-1, self.max_length, self.width])

    def call_packed(self, packed: PackedHistories, training: bool = False) -> tf.Tensor:
        """Returns float32 [P, D] for packed histories; see `Backbone.call_packed`."""
        filled = fill_up(packed, block_size(self.max_length))
        near = neighbourhood(filled, self.max_length)
        at = None
        if filled.times is not None:
            at = _Times(filled.times, filled.next_times, first_positions(filled.rows))
        vectors = self._run(filled.items, at, near, training=training)
        return vectors[: tf.shape(packed.items)[0]]

    def encode(
        self, histories: tf.Tensor, training: bool = False, times: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Returns float32 [B, D], the vector of the newest position; see `Backbone.encode`."""
        empty = widen(self.final_norm(tf.zeros([1, self.width], self.compute_dtype)))
        return self.encode_packed(histories, empty, training=training, times=times)

    def _run(
        self, items: tf.Tensor, at: "_Times | None", near: Neighbourhood, training: bool
    ) -> tf.Tensor:
        """Returns float32 [P, D] of int32 [P] items that see each other as `near` says."""
        keep = tf.cast(items != PAD, self.compute_dtype)[:, None]
        hidden = self.embed(items) * self.width**0.5
        buckets = None
        if at is not None and self.has_gaps:
            hidden += self.time_gaps(*at)
        if at is not None and self.has_bias:
            asked = at.times if at.next_times is None else at.next_times
            between = near.blocks(asked)[:, :, None] - near.windows(at.times)[:, None, :]
            buckets = time_buckets(between)  # [P / W, W, K]
        hidden = self.input_dropout(hidden, training=training) * keep
        for unit in self.units:
            hidden = unit(hidden, near=near, buckets=buckets, training=training) * keep
        return widen(self.final_norm(hidden))


class _Times(NamedTuple):
    """The times of P events one after the other; see `TimeGaps.call`."""

    times: tf.Tensor
    next_times: tf.Tensor | None
    is_first: tf.Tensor


class TransductionUnit(keras.layers.Layer):
    """One unit with its residual; the caller sets the padded columns of its output to zero.

    Args:
        width: D.
        num_heads: Heads; divides `width`.
        dropout: Rate on the gated values.
        max_length: L, the longest history.
        has_time_bias: True if the time between two events has a bias.
        dtype: Keras's dtype policy.
    """

    def __init__(
        self,
        *,
        width: int,
        num_heads: int,
        dropout: float,
        max_length: int,
        has_time_bias: bool,
        dtype: Any,
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
        if has_time_bias:
            self.time_bias = self.add_weight(
                shape=(NUM_BUCKETS,), initializer=normal(stddev=DEVIATION), name="time_bias"
            )
        self.output_kernel = self.add_weight(
            shape=(width, width), initializer=xavier_normal(width, width), name="output_kernel"
        )
        self.output_bias = self.add_weight(shape=(width,), initializer="zeros", name="output_bias")
        self.dropout = Dropout(dropout, dtype=dtype)
        self.built = True

    def call(
        self,
        inputs: tf.Tensor,
        near: Neighbourhood,
        buckets: tf.Tensor | None = None,
        training: bool = False,
    ) -> tf.Tensor:
        """Returns float [P, D].

        Args:
            inputs: float [P, D].
            near: Which positions see which.
            buckets: int32 [P / W, W, K], of the time between query and key; None without a bias.
            training: True if dropout acts.
        """
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
        if buckets is not None:
            logits += tf.gather(tf.cast(self.time_bias, self.compute_dtype), buckets)[:, None]
        weights = tf.where(is_visible, tf.nn.silu(logits), tf.zeros([], logits.dtype))
        mixed = tf.matmul(weights / self.max_length, self._heads(near.windows(value)))
        mixed = tf.reshape(tf.transpose(mixed, [0, 2, 1, 3]), tf.shape(inputs))
        gated = self.dropout(self.value_norm(mixed) * gate, training=training)
        return inputs + tf.matmul(gated, self.output_kernel) + self.output_bias

    def _heads(self, tensor: tf.Tensor) -> tf.Tensor:
        count, size, width = tf.shape(tensor)[0], tensor.shape[1], tensor.shape[2]
        heads = tf.reshape(tensor, [count, size, self.num_heads, width // self.num_heads])
        return tf.transpose(heads, [0, 2, 1, 3])  # [P / W, H, W, D / H]
