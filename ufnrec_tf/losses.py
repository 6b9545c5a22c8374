"""Losses as pure, unreduced functions of logits."""

import numpy as np
import tensorflow as tf


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


def catalogue_cross_entropy(
    vectors: tf.Tensor,
    catalogue: tf.Tensor,
    positive_logits: tf.Tensor,
    is_candidate: tf.Tensor | None = None,
) -> tf.Tensor:
    """Returns -log softmax of each positive among all items, float32 [P].

    Args:
        vectors: float32 [P, D].
        catalogue: float32 [V, D], all items; the [P, V] logits are their dot products.
        positive_logits: float32 [P], the positives' dot products.
        is_candidate: bool [V], items that are in the softmax; None: all.
    """
    logits = tf.matmul(vectors, catalogue, transpose_b=True)  # [P, V]
    if is_candidate is not None:
        logits = tf.where(is_candidate, logits, -np.inf)
    return tf.reduce_logsumexp(tf.cast(logits, tf.float32), axis=1) - positive_logits
