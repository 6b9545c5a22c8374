"""BSARec: self-attention beside a filter that weighs low and high frequencies."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ufnrec_tf.backbones.attention import CausalAttention, attention_rate, check_heads
from ufnrec_tf.backbones.dropout import Dropout
from ufnrec_tf.backbones.filtering import (
    DEVIATION,
    FilteringBackbone,
    FilteringFeedForward,
    Places,
    layer_norm,
)
from ufnrec_tf.common.lookup import pick

INITIALIZERS = {"normal": False, "xavier": True}
"""Name of how matrices start: True for Xavier's normal distribution."""


class BSARec(FilteringBackbone):
    """Beyond self-attention: frequencies rescaled beside attention, with a tied item table.

    Block: x = share * norm(x + dropout(low + beta^2 (x - low)))
             + (1 - share) * norm(x + dropout(attention(x))),
    then x = norm(x + dropout(W2 gelu(W1 x))). `low` is the part of x in the lowest frequencies,
    beta a learnt weight a feature. Attention is causal and leaves padded keys out; see
    `FilteringBackbone` for what a padded column attends to.

    The paper's filter, `circular`, keeps the lowest frequencies of the window's Fourier transform
    and so sees later columns; the paper trains on prefixes and reads the last column. `causal` is
    not the paper's: `low` is the mean of the newest ceil(L / c) columns of the history, whose
    frequency response first vanishes at frequency c.

    Source: Shin et al., "An Attentive Inductive Bias for Sequential Recommendation beyond the
    Self-Attention", AAAI 2024, arXiv 2312.10325, section 4; residuals, norms and start after the
    released code.

    Args:
        num_heads: Attention heads; divides `width`.
        frequency_share: Share of the filter in [0, 1], the rest is attention's. Paper: alpha.
        low_frequencies: Frequencies that are low, of all L: 0, +-1, ... +-(c // 2). Paper: c.
        attention_dropout: Rate on attention weights; negative for `dropout`.
        initializer: How matrices start: `normal`, with deviation 0.02 as in the released code, or
            `xavier`, Xavier's normal as in MTandHJ/RecBoard.
        **settings: See `BlockBackbone`; `filter` and `padding`: see `FilteringBackbone`.
    """

    def __init__(
        self,
        *,
        num_heads: int = 1,
        frequency_share: float = 0.7,
        low_frequencies: int = 5,
        attention_dropout: float = -1.0,
        initializer: str = "normal",
        **settings: Any,
    ) -> None:
        super().__init__(
            num_heads=num_heads,
            frequency_share=frequency_share,
            low_frequencies=low_frequencies,
            attention_dropout=attention_dropout,
            initializer=initializer,
            **settings,
        )
        is_xavier = pick(INITIALIZERS, initializer, key="backbone.initializer")
        check_heads(num_heads, self.width)
        self.blocks = [
            BSARecBlock(
                width=self.width,
                num_heads=num_heads,
                dropout=self.dropout_rate,
                attention_dropout=attention_rate(attention_dropout, self.dropout_rate),
                is_xavier=is_xavier,
                frequency_share=frequency_share,
                low_frequencies=low_frequencies,
                max_length=self.max_length,
                is_causal=self.is_causal,
                dtype=self.dtype_policy,
            )
            for _ in range(self.num_blocks)
        ]
        self.build_now()


class BSARecBlock(keras.layers.Layer):
    """Filter beside attention, then a feed-forward network."""

    def __init__(
        self,
        *,
        width: int,
        num_heads: int,
        dropout: float,
        attention_dropout: float,
        is_xavier: bool,
        frequency_share: float,
        low_frequencies: int,
        max_length: int,
        is_causal: bool,
        dtype: Any,
    ) -> None:
        super().__init__(dtype=dtype)
        self.share = frequency_share
        self.is_causal = is_causal
        self.num_averaged = -(-max_length // low_frequencies)
        self.low_pass = low_pass_matrix(max_length, low_frequencies)
        self.beta = self.add_weight(
            shape=(width,), initializer=keras.initializers.RandomNormal(stddev=1.0), name="beta"
        )
        self.attention = CausalAttention(
            width=width,
            num_heads=num_heads,
            dropout=attention_dropout,
            masks_padding=True,
            max_length=max_length,
            # Xavier's deviation of a square matrix; query, key and value are three.
            deviation=width**-0.5 if is_xavier else DEVIATION,
            dtype=dtype,
        )
        self.filter_dropout = Dropout(dropout, dtype=dtype)
        self.filter_norm = layer_norm(dtype)
        self.attention_dropout = Dropout(dropout, dtype=dtype)
        self.attention_norm = layer_norm(dtype)
        self.feed_forward = FilteringFeedForward(
            width=width, dropout=dropout, is_xavier=is_xavier, dtype=dtype
        )
        self.built = True

    def call(self, inputs: tf.Tensor, places: Places, training: bool = False) -> tf.Tensor:
        """Returns float [P, D] for float [P, D] positions at `places`."""
        low = self._mean_of_newest(inputs, places) if self.is_causal else self._low(inputs, places)
        rescaled = low + tf.square(tf.cast(self.beta, low.dtype)) * (inputs - low)
        rescaled = self.filter_norm(inputs + self.filter_dropout(rescaled, training=training))
        attended = self.attention.call_packed(inputs, inputs, places.near, training=training)
        attended = self.attention_dropout(attended, training=training)
        attended = self.attention_norm(inputs + attended)
        hidden = self.share * rescaled + (1.0 - self.share) * attended
        return self.feed_forward(hidden, training=training)

    def _low(self, inputs: tf.Tensor, places: Places) -> tf.Tensor:
        """Returns float [P, D], the part of the whole window in the lowest frequencies."""
        windows = places.to_windows(inputs)
        low = tf.einsum("lm,bmd->bld", tf.constant(self.low_pass, windows.dtype), windows)
        return places.from_windows(low)

    def _mean_of_newest(self, inputs: tf.Tensor, places: Places) -> tf.Tensor:
        """Returns float [P, D], means of each position and those just before it in its history."""
        near = places.near
        is_taken = near.is_visible & (near.distances() < self.num_averaged)[None]
        count = tf.math.count_nonzero(is_taken, axis=-1, keepdims=True, dtype=tf.int32)
        share = 1.0 / tf.cast(tf.maximum(count, 1), inputs.dtype)
        weights = tf.where(is_taken, share, tf.zeros([], inputs.dtype))  # [P / W, W, K]
        return tf.reshape(tf.matmul(weights, near.windows(inputs)), tf.shape(inputs))


def low_pass_matrix(length: int, low_frequencies: int) -> np.ndarray:
    """Returns float32 [L, L], the filter that keeps the frequencies 0, +-1, ... +-(c // 2).

    One matrix in place of a transform, the cut and the inverse transform: its rank is small, and
    one product costs less than two transforms.

    Args:
        length: L.
        low_frequencies: Paper: c.
    """
    spectrum = np.fft.rfft(np.eye(length), axis=0)
    spectrum[low_frequencies // 2 + 1 :] = 0.0
    return np.fft.irfft(spectrum, n=length, axis=0).astype(np.float32)
