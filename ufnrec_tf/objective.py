"""From logits to named loss terms: masking, weighting, means over all replicas."""

from collections.abc import Callable

import tensorflow as tf

from ufnrec_tf.distribution import num_replicas
from ufnrec_tf.losses import bce, bernoulli_kl
from ufnrec_tf.types import LossTerms


class Objective:
    """The authors' objective.

    total = 2 * mean over counted entries of BCE(logit, label)
            + alpha * mean over flipped entries of KL(teacher || student)
            + l2 * ||item table||

    Means are over the entries of all replicas, whose numbers are given; each replica returns its
    share, since the gradients are summed.

    Source: arXiv 2208.04116, section 3.3, and the released code.

    Args:
        consistency_weight: alpha. Paper: 0.3.
        averages_over_flipped: Whether alpha's mean is over flipped entries alone (the
            authors'), so that one of F flipped entries weighs alpha * entries / (2 F) times
            an ordinary one; False divides by the number of counted entries instead.
        uses_soft_label_only: Whether a flipped entry that the teacher scores leaves the BCE, so
            that a teacher who says less than 0.5 does not contradict a hard 1. False: both (the
            authors').
        l2: Weight of the item table's norm (not squared).
    """

    def __init__(
        self,
        *,
        consistency_weight: float,
        averages_over_flipped: bool,
        uses_soft_label_only: bool,
        l2: float,
    ) -> None:
        self.consistency_weight = consistency_weight
        self.averages_over_flipped = averages_over_flipped
        self.uses_soft_label_only = uses_soft_label_only
        self.l2 = l2

    def count(self, is_counted: tf.Tensor, is_softened: tf.Tensor) -> tf.Tensor:
        """Returns what this replica adds to the divisors, int64 [3]; arguments: see the call."""
        has_label = self._has_label(is_counted, is_softened)
        return tf.stack([tf.math.count_nonzero(x) for x in (has_label, is_counted, is_softened)])

    def _has_label(self, is_counted: tf.Tensor, is_softened: tf.Tensor) -> tf.Tensor:
        return is_counted & ~is_softened if self.uses_soft_label_only else is_counted

    def __call__(
        self,
        *,
        logits: tf.Tensor,
        labels: tf.Tensor,
        is_counted: tf.Tensor,
        is_softened: tf.Tensor,
        teacher_logits: tf.Tensor,
        item_table: tf.Tensor,
        divisors: tf.Tensor,
    ) -> LossTerms:
        """Returns this replica's share of each term.

        Args:
            logits: float32 [P, 1 + N], the student's; column 0 the positive.
            labels: float32 [P, 1 + N], 1 for the positive and flipped entries, else 0.
            is_counted: bool [P, 1 + N], entries in the loss.
            is_softened: bool [P, 1 + N], flipped entries that the teacher has scored.
            teacher_logits: float32 [P, 1 + N]; read only where `is_softened`.
            item_table: float32 [num_items + 1, D].
            divisors: int64 [3], `count` summed over all replicas.
        """
        has_label = self._has_label(is_counted, is_softened)
        counts = tf.maximum(tf.cast(divisors, tf.float32), 1.0)
        num_labels, num_entries, num_softened = tf.unstack(counts)
        bce_term = 2.0 * tf.reduce_sum(tf.where(has_label, bce(logits, labels), 0.0)) / num_labels
        consistency = tf.constant(0.0)
        if self.consistency_weight:
            divergence = tf.where(is_softened, bernoulli_kl(logits, teacher_logits), 0.0)
            divisor = num_softened if self.averages_over_flipped else num_entries
            consistency = tf.reduce_sum(divergence) / divisor
        l2 = tf.constant(0.0)
        if self.l2:
            l2 = self.l2 * tf.norm(item_table) / num_replicas()
        total = bce_term + self.consistency_weight * consistency + l2
        return LossTerms(total=total, bce=bce_term, consistency=consistency, l2=l2)


OBJECTIVES: dict[str, Callable[..., Objective]] = {
    "pooled_bce": Objective,
}
"""Loss name to the objective that computes it."""
