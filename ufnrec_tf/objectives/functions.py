"""Losses as pure, unreduced functions of logits."""

from typing import Any

import numpy as np
import tensorflow as tf

from ufnrec_tf.common.distribution import has_gpu
from ufnrec_tf.common.tensors import PAD

BLOCK_POSITIONS = 256
"""Positions whose logits over the catalogue are held at once (measured: with 12,101 and 100,000
items 128 take 4 to 10% more time, 512 the same)."""

GPU_BLOCK_POSITIONS = 4096
"""The same on a GPU, which small products do not fill (measured on an H100 with 12,101 items: a
step of 11,728 positions takes 3.4 ms with 256, 3.1 with 1,024, 2.7 with 4,096 or all)."""

BLOCK_LOGITS = 1 << 27
"""Logits that are held at once: 512 MB, 134 positions of a million items."""

LEAST_SHARE = 1e-6
"""The least share of a denominator that removed items leave; the positive is never removed."""

MINUS_INFINITY = -1e30
"""Stands for minus infinity, whose difference from itself is not a number."""


def bce(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Returns the binary cross-entropy of each logit against its label in [0, 1], same shape."""
    return tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=logits)


def bernoulli_kl(student_logits: tf.Tensor, teacher_logits: tf.Tensor) -> tf.Tensor:
    """Returns KL(teacher || student) of two Bernoulli distributions, entry by entry.

    Zero where they agree. Its gradient by the student's logit is sigmoid(student) -
    sigmoid(teacher), that of BCE against the teacher's soft label.

    Source: arXiv 2208.04116, section 3.3 (consistency).
    """
    soft_label = tf.nn.sigmoid(teacher_logits)
    return bce(student_logits, soft_label) - bce(teacher_logits, soft_label)


def masked_softmax_kl(
    student_logits: tf.Tensor, teacher_logits: tf.Tensor, is_inside: tf.Tensor
) -> tf.Tensor:
    """Returns KL(softmax of teacher || of student) over the marked entries of each row, [P].

    Zero where they agree, and where one entry or none is marked. The values of unmarked
    entries have no effect.

    Args:
        student_logits: float32 [P, K].
        teacher_logits: float32 [P, K].
        is_inside: bool [P, K].
    """
    teacher = _masked_log_softmax(teacher_logits, is_inside)
    student = _masked_log_softmax(student_logits, is_inside)
    return tf.reduce_sum(tf.where(is_inside, tf.exp(teacher) * (teacher - student), 0.0), axis=1)


def _masked_log_softmax(logits: tf.Tensor, is_inside: tf.Tensor) -> tf.Tensor:
    inside = tf.where(is_inside, logits, MINUS_INFINITY)
    return tf.where(is_inside, tf.nn.log_softmax(inside, axis=1), 0.0)


def first_of_each(items: tf.Tensor, is_marked: tf.Tensor) -> tf.Tensor:
    """Returns bool [P, K], the marked entries but for repeats of an item in a row.

    Args:
        items: int32 [P, K], item ids from 1.
        is_marked: bool [P, K].
    """
    num_columns = items.shape[1]
    # Item and column in one number: a single sort of plain values, which XLA does cheapest.
    marked = tf.cast(tf.where(is_marked, items, PAD), tf.int64)
    keys = tf.sort(marked * num_columns + tf.range(num_columns, dtype=tf.int64), axis=1)
    ascending = keys // num_columns
    is_new = ascending > tf.pad(ascending[:, :-1], [[0, 0], [1, 0]])
    columns = keys % num_columns
    rows = tf.broadcast_to(tf.range(tf.shape(keys, tf.int64)[0])[:, None], tf.shape(keys))
    places = tf.stack([rows, columns], axis=2)
    return tf.scatter_nd(places, tf.cast(is_new, tf.int32), tf.shape(items, tf.int64)) > 0


def block_positions() -> int:
    """Returns the positions whose logits are held at once on the device that trains."""
    return GPU_BLOCK_POSITIONS if has_gpu() else BLOCK_POSITIONS


def catalogue_log_denominators(
    vectors: tf.Tensor,
    catalogue: tf.Tensor,
    weights: tf.Tensor,
    removed_logits: tf.Tensor,
    is_candidate: np.ndarray | None = None,
    most_positions: int = 0,
) -> tf.Tensor:
    """Returns the weighted sum of the positions' log softmax denominators, float32 [].

    sum over positions of weight * log(sum over the catalogue's items but the removed ones of
    exp(vector . item)). Logits, their sum and both gradients of a block of positions are made at
    once, while its logits are in the cache, and never kept; the weights must hence be known
    beforehand. The catalogue's gradient is added up as [D, V]: XLA multiplies that way in half the
    time.

    Args:
        vectors: float32 [P, D].
        catalogue: float32 [V, D], all items.
        weights: float32 [P]; they get no gradient.
        removed_logits: float32 [P, R], the logits of the removed items, each item once in a
            position, and `MINUS_INFINITY` elsewhere. They leave at least `LEAST_SHARE`.
        is_candidate: bool [V], items that are in the sum; None for all.
        most_positions: Positions of a block; 0 for those that suit the device.
    """
    num_items, width = catalogue.shape
    num_positions = tf.shape(vectors)[0]
    most = max(min(most_positions or block_positions(), BLOCK_LOGITS // num_items), 1)
    num_blocks = tf.maximum((num_positions + most - 1) // most, 1)
    size = tf.maximum((num_positions + num_blocks - 1) // num_blocks, 1)

    def in_blocks(values: tf.Tensor) -> tf.Tensor:
        fillers = tf.zeros(
            tf.concat([[num_blocks * size - num_positions], tf.shape(values)[1:]], 0), values.dtype
        )
        shape = tf.concat([[num_blocks, size], tf.shape(values)[1:]], 0)
        return tf.reshape(tf.concat([values, fillers], 0), shape)

    def put(into: tf.Tensor, block: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
        return tf.tensor_scatter_nd_update(into, [[block]], values[None])

    @tf.custom_gradient
    def log_denominators(
        vectors: tf.Tensor, catalogue: tf.Tensor, removed_logits: tf.Tensor
    ) -> tuple[tf.Tensor, Any]:
        parts = in_blocks(vectors), in_blocks(weights[:, None]), in_blocks(removed_logits)

        def add(block: tf.Tensor, total: tf.Tensor, *gradients: tf.Tensor) -> tuple:
            own, weight, removed = (part[block] for part in parts)
            logits = tf.matmul(own, catalogue, transpose_b=True)  # [size, V]
            if is_candidate is not None:
                logits = tf.where(is_candidate, logits, MINUS_INFINITY)
            largest = tf.reduce_max(logits, axis=1, keepdims=True)
            shares = tf.exp(logits - largest)
            whole = tf.reduce_sum(shares, axis=1, keepdims=True)
            gone = tf.exp(tf.minimum(removed - largest, 0.0))
            rest = whole - tf.reduce_sum(gone, axis=1, keepdims=True)
            is_enough = rest >= LEAST_SHARE * whole
            rest = tf.maximum(rest, LEAST_SHARE * whole)
            scale = weight / tf.where(is_enough, rest, whole)
            by_vectors, by_catalogue, by_removed = gradients
            return (
                block + 1,
                total + tf.reduce_sum(weight * (largest + tf.math.log(rest))),
                put(by_vectors, block, scale * tf.matmul(shares, catalogue)),
                by_catalogue + tf.matmul(scale * own, shares, transpose_a=True),
                put(by_removed, block, tf.where(is_enough, -scale * gone, 0.0)),
            )

        starts = (
            tf.constant(0),
            tf.zeros([], vectors.dtype),
            tf.zeros_like(parts[0]),
            tf.zeros([width, num_items], vectors.dtype),
            tf.zeros_like(parts[2]),
        )
        _, total, by_vectors, by_catalogue, by_removed = tf.while_loop(
            lambda block, *_: block < num_blocks, add, starts
        )

        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            return (
                upstream * tf.reshape(by_vectors, [-1, width])[:num_positions],
                upstream * tf.transpose(by_catalogue),
                upstream * tf.reshape(by_removed, [-1, removed_logits.shape[1]])[:num_positions],
            )

        return total, gradient

    return log_denominators(vectors, catalogue, removed_logits)
