"""The padding id, arrays as tensors, widening to float32, random bits computed from counters."""

import weakref

import numpy as np
import tensorflow as tf

PAD = 0
"""Internal item id of padding; items are 1..num_items."""

EMPTY_SCORE = -1e30
"""Score of an empty place, where fewer candidates are left than were asked for."""


_SHARED: dict[tuple[int, str, str], tuple[weakref.ref, weakref.ref]] = {}
"""Address of an array, dtype, device -> the array and its tensor; see `shared_constant`."""


def shared_constant(array: np.ndarray, dtype: tf.DType) -> tf.Tensor:
    """Returns an array as a tensor, the same one for all who ask while any of them holds it.

    For the arrays of a log, which several parts of a run read: a copy takes 4 bytes an event.

    Args:
        array: Is not changed any more.
        dtype: The type of the tensor's numbers.
    """
    # Where a constant is put depends on its dtype and on who asks.
    key = (id(array), dtype.name, tf.constant(array[:1], dtype).device)
    for old, (gone, _) in list(_SHARED.items()):  # another thread may change it
        if gone() is None:
            _SHARED.pop(old, None)
    source, known = _SHARED.get(key, (lambda: None, lambda: None))
    tensor = known() if source() is array else None
    if tensor is None:
        tensor = tf.constant(array, dtype)
        _SHARED[key] = (weakref.ref(array), weakref.ref(tensor))
    return tensor


def widen(tensor: tf.Tensor) -> tf.Tensor:
    """Returns a float tensor as float32, the dtype of scores and sums. float64 stays float64."""
    return tensor if tensor.dtype == tf.float64 else tf.cast(tensor, tf.float32)


# Constants of splitmix64 (Steele, Lea & Flood, OOPSLA 2014), as the signed int64 they are here.
GOLDEN = np.uint64(0x9E3779B97F4A7C15).astype(np.int64)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9).astype(np.int64)
_MIX_2 = np.uint64(0x94D049BB133111EB).astype(np.int64)

# A 32-bit finaliser of the same form, its constants found by search for least bias (C. Wellons,
# "Prospecting for Hash Functions", 2018).
_GOLDEN_32 = np.uint32(0x9E3779B9)
_MIX_32_1 = np.uint32(0x7FEB352D)
_MIX_32_2 = np.uint32(0x846CA68B)


def _shift_right(bits: tf.Tensor, count: int) -> tf.Tensor:
    """Logical right shift of int64 (TensorFlow's own is arithmetic)."""
    mask = np.int64((1 << (64 - count)) - 1)
    return tf.bitwise.bitwise_and(tf.bitwise.right_shift(bits, np.int64(count)), mask)


def mix(bits: tf.Tensor) -> tf.Tensor:
    """Returns a hash int64 for each int64: the finaliser of splitmix64."""
    bits = tf.bitwise.bitwise_xor(bits, _shift_right(bits, 30)) * _MIX_1
    bits = tf.bitwise.bitwise_xor(bits, _shift_right(bits, 27)) * _MIX_2
    return tf.bitwise.bitwise_xor(bits, _shift_right(bits, 31))


def _fold(bits: tf.Tensor, count: int) -> tf.Tensor:
    return tf.bitwise.bitwise_xor(bits, tf.bitwise.right_shift(bits, np.uint32(count)))


def bits_like(tensor: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
    """Returns uint32 bits, one for each element of `tensor`, in its shape.

    An element's bits depend only on the key and its place in row-major order, not on the elements
    after it. It is made for dropout: a twentieth of the cost of Philox on a CPU, because nothing
    is written to memory.

    Args:
        tensor: Any tensor of fewer than 2**31 elements.
        key: int64 [], of `mix`.
    """
    low = tf.cast(tf.bitwise.bitwise_and(key, np.int64(2**32 - 1)), tf.uint32)
    high = tf.cast(_shift_right(key, 32), tf.uint32)
    place = tf.cast(tf.range(tf.size(tensor)), tf.uint32)
    bits = _fold(place * _GOLDEN_32 + low, 16) * _MIX_32_1
    bits = tf.bitwise.bitwise_xor(bits, high)
    bits = _fold(_fold(bits, 15) * _MIX_32_2, 16)
    return tf.reshape(bits, tf.shape(tensor))
