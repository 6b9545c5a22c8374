"""FMLP-Rec: learnt filters over the columns of the window, and no attention."""

from typing import Any

import keras
import tensorflow as tf

from ufnrec_tf.backbones.dropout import Dropout
from ufnrec_tf.backbones.filtering import (
    DEVIATION,
    FilteringBackbone,
    FilteringFeedForward,
    Places,
    layer_norm,
    normal,
)


class FMLPRec(FilteringBackbone):
    """Filter-enhanced multi-layer perceptrons with a tied item table.

    Block: x = norm(x + dropout(filter(x))); x = norm(x + dropout(W2 gelu(W1 x))).

    The paper's filter, `circular`, multiplies the window's Fourier transform by learnt complex
    weights. Multiplying transforms is a convolution that wraps around the window, so that every
    column sees all others, later ones too; the paper trains on prefixes and reads the last column.
    `causal` is not the paper's: it learns the convolution itself, one weight a distance and
    feature, with zeros before the window instead of a wrap. It has about as many weights, and
    trains at every position at once.

    Source: Zhou et al., "Filter-enhanced MLP is All You Need for Sequential Recommendation", WWW
    2022, arXiv 2202.13556, section 3; GELU, its inner size and the start after the released code.

    Args:
        **settings: See `BlockBackbone`; `filter` and `padding`: see `FilteringBackbone`.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        kind = CausalFilter if self.is_causal else CircularFilter
        self.blocks = [
            FilterBlock(
                kind(width=self.width, max_length=self.max_length, dtype=self.dtype_policy),
                width=self.width,
                dropout=self.dropout_rate,
                dtype=self.dtype_policy,
            )
            for _ in range(self.num_blocks)
        ]
        self.build_now()


class FilterBlock(keras.layers.Layer):
    """A filter and a feed-forward network, each with residual and norm."""

    def __init__(
        self, its_filter: keras.layers.Layer, *, width: int, dropout: float, dtype: Any
    ) -> None:
        super().__init__(dtype=dtype)
        self.filter = its_filter
        self.dropout = Dropout(dropout, dtype=dtype)
        self.norm = layer_norm(dtype)
        self.feed_forward = FilteringFeedForward(width=width, dropout=dropout, dtype=dtype)
        self.built = True

    def call(self, inputs: tf.Tensor, places: Places, training: bool = False) -> tf.Tensor:
        """Returns float [P, D] for float [P, D] positions at `places`."""
        filtered = places.from_windows(self.filter(places.to_windows(inputs)))
        hidden = self.norm(inputs + self.dropout(filtered, training=training))
        return self.feed_forward(hidden, training=training)


class CircularFilter(keras.layers.Layer):
    """Multiplies the Fourier transform over the columns by learnt complex weights.

    Args:
        width: D.
        max_length: L.
        dtype: Keras's dtype policy; the transforms are in float32.
    """

    def __init__(self, *, width: int, max_length: int, dtype: Any = None) -> None:
        super().__init__(dtype=dtype)
        self.max_length = max_length
        shape = (width, max_length // 2 + 1)
        self.real = self.add_weight(shape=shape, initializer=normal(), name="real")
        self.imaginary = self.add_weight(shape=shape, initializer=normal(), name="imaginary")
        self.built = True

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Returns float [B, L, D] for float [B, L, D]."""
        weights = tf.complex(tf.cast(self.real, tf.float32), tf.cast(self.imaginary, tf.float32))
        return filtered_by(inputs, weights, self.max_length)


class CausalFilter(keras.layers.Layer):
    """Sums over the earlier columns, by a learnt weight for each distance and feature.

    Args:
        width: D.
        max_length: L.
        dtype: Keras's dtype policy; the transforms are in float32.
    """

    def __init__(self, *, width: int, max_length: int, dtype: Any = None) -> None:
        super().__init__(dtype=dtype)
        self.max_length = max_length
        # The circular filter's initial weights, written as a convolution, have this deviation.
        deviation = DEVIATION * (2.0 / max_length) ** 0.5
        self.kernel = self.add_weight(
            shape=(width, max_length),
            initializer=keras.initializers.RandomNormal(stddev=deviation),
            name="kernel",
        )
        self.built = True

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Returns float [B, L, D] for float [B, L, D]."""
        # Over twice the length, so that nothing wraps around into a real column.
        length = 2 * self.max_length
        weights = tf.signal.rfft(tf.cast(self.kernel, tf.float32), [length])
        return filtered_by(inputs, weights, length)


def filtered_by(inputs: tf.Tensor, weights: tf.Tensor, length: int) -> tf.Tensor:
    """Returns float [B, L, D], the inputs with their Fourier transform multiplied by weights.

    Args:
        inputs: float [B, L, D].
        weights: complex64 [D, length // 2 + 1].
        length: Columns of the transform; shorter inputs are padded with zeros at the end.
    """
    features = tf.transpose(tf.cast(inputs, tf.float32), [0, 2, 1])  # [B, D, L]
    product = tf.signal.rfft(features, [length]) * weights
    filtered = tf.signal.irfft(product, [length])[..., : inputs.shape[1]]
    return tf.cast(tf.transpose(filtered, [0, 2, 1]), inputs.dtype)
