"""Dropout with cheap random numbers, of single elements and of sums of equal weights."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ufnrec_tf.common.distribution import replica_number
from ufnrec_tf.common.tensors import GOLDEN, bits_like, mix


class _KeyedLayer(keras.layers.Layer):
    """A layer that draws a new key at each call, a different one on each replica.

    The keys follow from Keras's seed.

    Args:
        rate: Dropout rate in [0, 1).
        dtype: Keras's dtype policy.
    """

    def __init__(self, rate: float, *, dtype: Any = None) -> None:
        super().__init__(dtype=dtype)
        self.rate = rate
        self.seed_generator = keras.random.SeedGenerator()
        self.built = True

    def _next_key(self) -> tf.Tensor:
        """Returns the key of this call, int64 []."""
        seed, count = tf.unstack(tf.cast(self.seed_generator.next(), tf.int64))
        return mix(mix(seed + GOLDEN) + count * GOLDEN + tf.cast(replica_number(), tf.int64))


class Dropout(_KeyedLayer):
    """Zeroes each element with probability `rate`, and divides the others by 1 - rate.

    Keras's layer draws with Philox, which took a third of the encoder's time on a CPU.
    """

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Returns float [...], shaped as the inputs."""
        if not training or not self.rate:
            return inputs
        is_kept = bits_like(inputs, self._next_key()) >= np.uint32(self.rate * 2**32)
        return tf.where(is_kept, inputs / (1.0 - self.rate), tf.zeros([], inputs.dtype))


class PooledDropout(_KeyedLayer):
    """Dropout of n equal weights, of which only the sum is stored.

    Multiplies by Binomial(n, 1 - rate) / (n (1 - rate)): the distribution of the sum when each of
    the n weights is dropped by itself.

    Args:
        rate: Dropout rate in [0, 1).
        max_count: The largest n.
        dtype: Keras's dtype policy.
    """

    def __init__(self, rate: float, *, max_count: int, dtype: Any = None) -> None:
        super().__init__(rate, dtype=dtype)
        self.max_count = max_count
        # Row n: P(Binomial(n, 1 - rate) <= k), k = 0..n - 1; then 1.
        self._distribution = _binomial_distribution(max_count, 1.0 - rate)

    def call(self, sums: tf.Tensor, counts: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Returns `sums` with dropout.

        Args:
            sums: float [...].
            counts: int32, broadcastable to `sums`, 0..max_count.
            training: True if dropout acts.
        """
        if not training or not self.rate:
            return sums
        counts = tf.broadcast_to(counts, tf.shape(sums))
        # 24 bits, which float32 holds exactly.
        bits = tf.bitwise.right_shift(bits_like(sums, self._next_key()), np.uint32(8))
        draws = tf.cast(bits, tf.float32) * 2.0**-24
        kept = tf.cast(self._search(draws, counts), tf.float32)
        factor = kept / (tf.cast(tf.maximum(counts, 1), tf.float32) * (1.0 - self.rate))
        return sums * tf.cast(factor, sums.dtype)

    def _search(self, draws: tf.Tensor, counts: tf.Tensor) -> tf.Tensor:
        """Returns int32, how many entries of row `counts` are at most the draw; by bisection."""
        table = tf.constant(self._distribution.ravel())
        begin = counts * self._distribution.shape[1]
        found = tf.zeros_like(counts)
        for bit in reversed(range(self.max_count.bit_length())):
            further = found + (1 << bit)
            place = tf.minimum(begin + further - 1, table.shape[0] - 1)
            is_below = (further <= counts) & (tf.gather(table, place) <= draws)
            found = tf.where(is_below, further, found)
        return found


def _binomial_distribution(max_count: int, chance: float) -> np.ndarray:
    """Returns float32 [max_count + 1, max_count + 1], P(Binomial(n, chance) <= k) at [n, k]."""
    masses = np.zeros([max_count + 1, max_count + 1])
    masses[0, 0] = 1.0
    for count in range(1, max_count + 1):
        masses[count] = (1.0 - chance) * masses[count - 1]
        masses[count, 1:] += chance * masses[count - 1, :-1]
    return np.minimum(np.cumsum(masses, axis=1), 1.0).astype(np.float32)
