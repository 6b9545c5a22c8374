"""Losses as pure, unreduced functions of logits."""

import numpy as np
import tensorflow as tf

from ufnrec_tf.common.tensors import PAD

CHUNK_ITEMS = 16384
"""Items of a catalogue that are scored at once in the full softmax."""

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


def catalogue_logits(
    vectors: tf.Tensor, catalogue: tf.Tensor, is_candidate: np.ndarray | None
) -> tf.Tensor:
    """Returns float32 [P, V], all dot products, `MINUS_INFINITY` for items that are no candidates.

    Args:
        vectors: float32 [P, D].
        catalogue: float32 [V, D], all items.
        is_candidate: bool [V], or None for all.
    """
    logits = tf.matmul(vectors, catalogue, transpose_b=True)
    return logits if is_candidate is None else tf.where(is_candidate, logits, MINUS_INFINITY)


def catalogue_logsumexp(
    vectors: tf.Tensor,
    catalogue: tf.Tensor,
    is_candidate: np.ndarray | None = None,
    chunk_items: int = CHUNK_ITEMS,
) -> tf.Tensor:
    """Returns log sum exp of each vector's dot products with all items, float32 [P].

    A catalogue larger than `chunk_items` is scored in pieces, and again in pieces for the gradient:
    only [P, chunk_items] logits are held at once.

    Args:
        vectors: float32 [P, D].
        catalogue: float32 [V, D], all items.
        is_candidate: bool [V], items that are in the sum; None for all.
        chunk_items: Items of a piece.
    """
    num_items = catalogue.shape[0]
    if num_items <= chunk_items:
        return tf.reduce_logsumexp(catalogue_logits(vectors, catalogue, is_candidate), axis=1)
    if is_candidate is None:
        is_candidate = np.ones(num_items, bool)
    return _chunked_logsumexp(vectors, catalogue, is_candidate, chunk_items)


def _chunked_logsumexp(
    vectors: tf.Tensor, catalogue: tf.Tensor, is_candidate: np.ndarray, chunk_items: int
) -> tf.Tensor:
    """Returns float32 [P], `catalogue_logsumexp` piece by piece."""
    num_items, width = catalogue.shape
    num_chunks = -(-num_items // chunk_items)
    missing = num_chunks * chunk_items - num_items
    is_inside = np.pad(is_candidate, [0, missing]).reshape([num_chunks, chunk_items])

    def logits_of(number: tf.Tensor, vectors: tf.Tensor, chunks: tf.Tensor) -> tf.Tensor:
        logits = tf.matmul(vectors, chunks[number], transpose_b=True)  # [P, chunk_items]
        return tf.where(tf.constant(is_inside)[number][None, :], logits, MINUS_INFINITY)

    def add(total: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        part = tf.reduce_logsumexp(logits, axis=1)
        return tf.maximum(total, part) + tf.math.log1p(tf.exp(-tf.abs(total - part)))

    @tf.custom_gradient
    def logsumexp(vectors: tf.Tensor, catalogue: tf.Tensor) -> tuple[tf.Tensor, object]:
        padded = tf.pad(catalogue, [[0, missing], [0, 0]])
        chunks = tf.reshape(padded, [num_chunks, chunk_items, width])
        total = tf.while_loop(
            lambda number, _: number < num_chunks,
            lambda number, total: (number + 1, add(total, logits_of(number, vectors, chunks))),
            (tf.constant(1), tf.reduce_logsumexp(logits_of(tf.constant(0), vectors, chunks), 1)),
        )[1]

        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            def step(number: tf.Tensor, by_vectors: tf.Tensor, by_chunks: tf.Tensor) -> tuple:
                logits = logits_of(number, vectors, chunks)
                share = tf.exp(logits - total[:, None]) * upstream[:, None]
                by_vectors += tf.matmul(share, chunks[number])
                piece = tf.matmul(share, vectors, transpose_a=True)
                return (
                    number + 1,
                    by_vectors,
                    tf.tensor_scatter_nd_update(by_chunks, [[number]], piece[None]),
                )

            _, by_vectors, by_chunks = tf.while_loop(
                lambda number, *_: number < num_chunks,
                step,
                (tf.constant(0), tf.zeros_like(vectors), tf.zeros_like(chunks)),
            )
            return by_vectors, tf.reshape(by_chunks, [-1, width])[:num_items]

        return total, gradient

    return logsumexp(vectors, catalogue)
