"""Attention and feed-forward layers of the backbones, with their initializers."""

from typing import Any

import keras
import tensorflow as tf

from ufnrec_tf.backbones.dropout import Dropout, PooledDropout
from ufnrec_tf.backbones.packing import Neighbourhood, NewestPositions
from ufnrec_tf.common.errors import UserError
from ufnrec_tf.common.tensors import widen


def xavier_normal(fan_in: int, fan_out: int) -> keras.initializers.Initializer:
    """Returns the normal initializer of deviation sqrt(2 / (fan_in + fan_out)), Xavier's."""
    return keras.initializers.RandomNormal(stddev=(2.0 / (fan_in + fan_out)) ** 0.5)


def fan_in_uniform(fan_in: int) -> keras.initializers.Initializer:
    """Returns the uniform initializer within +-1/sqrt(fan_in), torch's of a convolution."""
    bound = fan_in**-0.5
    return keras.initializers.RandomUniform(-bound, bound)


def softmax(logits: tf.Tensor) -> tf.Tensor:
    """Returns the softmax over the last axis, summed in float32, in the dtype of the logits."""
    return tf.cast(tf.nn.softmax(widen(logits)), logits.dtype)


def check_heads(num_heads: int, width: int) -> None:
    """Checks that the heads divide the width.

    Raises:
        UserError: Naming both settings.
    """
    if width % num_heads:
        raise UserError(
            f"`backbone.num_heads` must divide `backbone.width`. "
            f"Received: {num_heads} heads, width {width}. Set "
            "--config.backbone.num_heads=1, or a width that it divides."
        )


def attention_rate(attention_dropout: float, dropout: float) -> float:
    """Returns the dropout rate of attention weights: its own, or if negative `dropout`."""
    return dropout if attention_dropout < 0 else attention_dropout


class CausalAttention(keras.layers.Layer):
    """Multi-head attention in which a query sees its own and earlier columns.

    Source: Kang & McAuley, "Self-Attentive Sequential Recommendation", ICDM 2018, section
    III-B. The projections of query, key and value are initialised as one
    (3 * width, width) matrix, as torch's MultiheadAttention holds them.

    Args:
        width: D.
        num_heads: Number of heads; divides `width`.
        dropout: Rate on the attention weights.
        masks_padding: True leaves padded keys out. False is the authors' behaviour: a query
            then also attends to the zero vectors of the padding.
        max_length: L, the longest history.
        deviation: Standard deviation of the initial matrices; None for Xavier's.
        is_uniform: True draws the matrix of query, key and value uniformly, as torch does. Its
            deviation is the same.
        dtype: Keras's dtype policy.
    """

    def __init__(
        self,
        *,
        width: int,
        num_heads: int,
        dropout: float,
        masks_padding: bool,
        max_length: int,
        deviation: float | None = None,
        is_uniform: bool = False,
        dtype: Any = None,
    ) -> None:
        super().__init__(dtype=dtype)
        self.width = width
        self.num_heads = num_heads
        self.masks_padding = masks_padding
        self.dropout = Dropout(dropout, dtype=dtype)
        if not masks_padding:
            self.pooled_dropout = PooledDropout(dropout, max_count=max_length, dtype=dtype)
        fused = deviation or (2.0 / (3 * width + width)) ** 0.5
        for name, size, spread in (
            ("query", width, fused),
            ("key_value", 2 * width, fused),
            ("output", width, deviation or (2.0 / (width + width)) ** 0.5),
        ):
            # The same initializer object would repeat its draw: a fresh one for each matrix.
            initializer: keras.initializers.Initializer
            if is_uniform and name != "output":
                bound = 3**0.5 * spread
                initializer = keras.initializers.RandomUniform(-bound, bound)
            else:
                initializer = keras.initializers.RandomNormal(stddev=spread)
            kernel = self.add_weight(
                shape=(width, size), initializer=initializer, name=f"{name}_kernel"
            )
            bias = self.add_weight(shape=(size,), initializer="zeros", name=f"{name}_bias")
            setattr(self, f"{name}_kernel", kernel)
            setattr(self, f"{name}_bias", bias)
        self.built = True

    def call(
        self, queries: tf.Tensor, values: tf.Tensor, is_real: tf.Tensor, training: bool = False
    ) -> tf.Tensor:
        """Returns the attended values, float32 [B, L, D].

        Args:
            queries: float32 [B, L, D].
            values: float32 [B, L, D], read as keys and as values.
            is_real: bool [B, L], True where the column is not padding.
            training: True if dropout acts.
        """
        query, key, value = self._project(queries, values)
        logits = tf.matmul(self._split(query), self._split(key), transpose_b=True)  # [B, H, L, L]
        weights = softmax(tf.where(self._is_visible(is_real), logits, logits.dtype.min))
        weights = self.dropout(weights, training=training)
        mixed = self._merge(tf.matmul(weights, self._split(value)))
        return tf.matmul(mixed, self.output_kernel) + self.output_bias

    def call_packed(
        self, queries: tf.Tensor, values: tf.Tensor, near: Neighbourhood, training: bool = False
    ) -> tf.Tensor:
        """Returns the attended values of the real columns, float32 [P, D].

        Args:
            queries: float32 [P, D], P a multiple of the block size.
            values: float32 [P, D], zero in a padded column of the padded form.
            near: Which positions see which.
            training: True if dropout acts.
        """
        query, key, value = self._project(queries, values)
        blocks = self._split(near.blocks(query))  # [P / W, H, W, D / H]
        logits = tf.matmul(blocks, self._split(near.windows(key)), transpose_b=True)
        logits = tf.where(near.is_visible[:, None], logits, logits.dtype.min)  # [P/W, H, W, K]
        values = self._split(near.windows(value))  # [P / W, H, K, D / H]
        if self.masks_padding:
            weights = self.dropout(softmax(logits), training=training)
        else:
            weights = softmax(tf.concat([logits, self._padding_logits(blocks, near)], -1))
            counts = near.blocks(near.num_padding)[:, None, :, None]
            share = self.pooled_dropout(weights[..., -1:], counts, training=training)
            weights = self.dropout(weights[..., :-1], training=training)
            weights = tf.concat([weights, share], axis=-1)
            values = tf.concat([values, self._padding_value(values)], axis=2)
        mixed = tf.reshape(self._merge(tf.matmul(weights, values)), [-1, self.width])
        return tf.matmul(mixed, self.output_kernel) + self.output_bias

    def call_newest(
        self, queries: tf.Tensor, values: tf.Tensor, newest: NewestPositions
    ) -> tf.Tensor:
        """Returns the attended values of one query a history, float32 [B, D], without dropout.

        No keys or values are made. The logit of a key is q (W_k x + b_k) = (W_k' q) x + q b_k,
        whose second term is the same for all keys and so has no effect. Nor has it on padded keys,
        where x = 0: their logits are 0. W_v is multiplied by the weighted sum of x.

        Args:
            queries: float32 [B, D].
            values: float32 [B, T, D], the positions that `newest` sees.
            newest: Which of them are real.
        """
        query = tf.matmul(queries, self.query_kernel) + self.query_bias
        query *= (self.width // self.num_heads) ** -0.5
        key_kernel, value_kernel = tf.split(tf.convert_to_tensor(self.key_value_kernel), 2, axis=1)
        asked = tf.einsum("bhd,xhd->bhx", self._heads(query), self._heads(key_kernel))
        logits = tf.matmul(asked, values, transpose_b=True)  # [B, H, T]
        logits = tf.where(newest.is_real[:, None], logits, logits.dtype.min)
        if self.masks_padding:
            weights = softmax(logits)
        else:
            weights = softmax(tf.concat([logits, self._padding_share(logits, newest)], axis=-1))
            weights = weights[..., :-1]
        mixed = tf.matmul(weights, values)  # [B, H, D]
        mixed = tf.einsum("bhx,xhd->bhd", mixed, self._heads(value_kernel))
        mixed = tf.reshape(mixed, [-1, self.width]) + self.key_value_bias[self.width :]
        return tf.matmul(mixed, self.output_kernel) + self.output_bias

    def _padding_share(self, logits: tf.Tensor, newest: NewestPositions) -> tf.Tensor:
        """Returns [B, H, 1], the logit of all padded keys together; see `_padding_logits`."""
        counts = newest.num_padding[:, None, None]
        share = tf.math.log(tf.cast(tf.maximum(counts, 1), widen(logits).dtype))
        share = tf.where(counts > 0, tf.cast(share, logits.dtype), logits.dtype.min)
        return tf.tile(share, [1, self.num_heads, 1])

    def _heads(self, tensor: tf.Tensor) -> tf.Tensor:
        """Returns [N, H, D / H] of [N, D]."""
        return tf.reshape(tensor, [-1, self.num_heads, self.width // self.num_heads])

    def _padding_logits(self, blocks: tf.Tensor, near: Neighbourhood) -> tf.Tensor:
        """Returns [P / W, H, W, 1], the logit of all padded keys together.

        Padding is a zero vector: its key is the key's bias, the same in every column, so that n
        such keys weigh as much as one key with log(n) added to its logit.
        """
        bias = tf.reshape(self.key_value_bias[: self.width], [1, self.num_heads, 1, -1])
        counts = near.blocks(near.num_padding)[:, None, :, None]
        # Not a matmul: one that is followed by this sum crashes where oneDNN fuses the two.
        logits = tf.reduce_sum(blocks * bias, axis=-1, keepdims=True)
        wide = widen(logits).dtype
        logits += tf.cast(tf.math.log(tf.cast(tf.maximum(counts, 1), wide)), logits.dtype)
        return tf.where(counts > 0, logits, logits.dtype.min)

    def _padding_value(self, values: tf.Tensor) -> tf.Tensor:
        """Returns [P / W, H, 1, D / H], the value of a padded column: its bias."""
        bias = tf.reshape(self.key_value_bias[self.width :], [1, self.num_heads, 1, -1])
        return tf.tile(bias, [tf.shape(values)[0], 1, 1, 1])

    def _project(
        self, queries: tf.Tensor, values: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Returns scaled queries, keys and values, all [..., D]."""
        query = tf.matmul(queries, self.query_kernel) + self.query_bias
        key, value = tf.split(tf.matmul(values, self.key_value_kernel) + self.key_value_bias, 2, -1)
        return query * (self.width // self.num_heads) ** -0.5, key, value

    def _is_visible(self, is_real: tf.Tensor) -> tf.Tensor:
        """Returns bool [B or 1, 1, L, L], True where the query (row) sees the key (column)."""
        length = tf.shape(is_real)[1]
        column = tf.range(length)
        visible = (column[:, None] >= column[None, :])[None, None]  # [1, 1, L, L]
        if not self.masks_padding:
            return visible
        # A padded query sees itself, so that its softmax is over at least one key.
        itself = (column[:, None] == column[None, :])[None, None]
        return tf.logical_or(tf.logical_and(visible, is_real[:, None, None, :]), itself)

    def _split(self, tensor: tf.Tensor) -> tf.Tensor:
        if self.num_heads == 1:
            return tf.expand_dims(tensor, 1)
        batch, length = tf.shape(tensor)[0], tf.shape(tensor)[1]
        heads = tf.reshape(tensor, [batch, length, self.num_heads, self.width // self.num_heads])
        return tf.transpose(heads, [0, 2, 1, 3])  # [B, H, L, D/H]

    def _merge(self, tensor: tf.Tensor) -> tf.Tensor:
        if self.num_heads == 1:
            return tf.squeeze(tensor, 1)
        batch, length = tf.shape(tensor)[0], tf.shape(tensor)[2]
        return tf.reshape(tf.transpose(tensor, [0, 2, 1, 3]), [batch, length, self.width])


class FeedForward(keras.layers.Layer):
    """Position-wise dropout(W2 relu(dropout(W1 x))), inner size = width.

    Source: SASRec, section III-C; biases start as torch's of a convolution, as in the authors'
    code.

    Args:
        width: D.
        dropout: Rate of both dropouts.
        is_uniform: True draws the matrices too as torch does those of a convolution, False from
            Xavier's normal distribution.
        dtype: Keras's dtype policy.
    """

    def __init__(
        self, *, width: int, dropout: float, is_uniform: bool = False, dtype: Any = None
    ) -> None:
        super().__init__(dtype=dtype)
        for name in ("inner", "outer"):
            kernel = self.add_weight(
                shape=(width, width),
                initializer=fan_in_uniform(width) if is_uniform else xavier_normal(width, width),
                name=f"{name}_kernel",
            )
            bias = self.add_weight(
                shape=(width,), initializer=fan_in_uniform(width), name=f"{name}_bias"
            )
            setattr(self, f"{name}_kernel", kernel)
            setattr(self, f"{name}_bias", bias)
        self.inner_dropout = Dropout(dropout, dtype=dtype)
        self.outer_dropout = Dropout(dropout, dtype=dtype)
        self.built = True

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Returns float32 [B, L, D] for float32 [B, L, D]; the caller adds the residual."""
        hidden = tf.matmul(inputs, self.inner_kernel) + self.inner_bias
        hidden = tf.nn.relu(self.inner_dropout(hidden, training=training))
        hidden = tf.matmul(hidden, self.outer_kernel) + self.outer_bias
        return self.outer_dropout(hidden, training=training)
