"""From logits to named loss terms: masking, weighting, means over all replicas."""

from abc import ABC, abstractmethod
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from ufnrec_tf.distribution import num_replicas
from ufnrec_tf.losses import bce, bernoulli_kl, catalogue_cross_entropy
from ufnrec_tf.types import PAD, LossTerms


class Scored(NamedTuple):
    """What a ranking term may read.

    Attributes:
        logits: float32 [P, 1 + N], the student's; column 0 the positive.
        labels: float32 [P, 1 + N].
        has_label: bool [P, 1 + N], entries that the term is over.
        num_labels: float32 [], how many such entries all replicas have together.
        vectors: float32 [P, D], the positions' vectors.
        item_table: float32 [num_items + 1, D].
    """

    logits: tf.Tensor
    labels: tf.Tensor
    has_label: tf.Tensor
    num_labels: tf.Tensor
    vectors: tf.Tensor
    item_table: tf.Tensor


class Objective(ABC):
    """Ranking loss, consistency with the teacher, and the norm of the item table.

    total = ranking term
            + alpha * mean over flipped entries of KL(teacher || student)
            + l2 * ||item table||

    A subclass gives the ranking term. Means are over the entries of all replicas, whose numbers
    are given; each replica returns its share, since the gradients are summed.

    Source: arXiv 2208.04116, section 3.3, and the released code.

    Args:
        consistency_weight: alpha. Paper: 0.3.
        averages_over_flipped: Whether alpha's mean is over flipped entries alone (the
            authors'), so that one of F flipped entries weighs alpha * entries / (2 F) times
            an ordinary one; False divides by the number of counted entries instead.
        uses_soft_label_only: Whether a flipped entry that the teacher scores leaves the ranking
            term, so that a teacher who says less than 0.5 does not contradict a hard 1. False:
            both (the authors').
        l2: Weight of the item table's norm (not squared).
    """

    needs_negatives = True
    """Whether the ranking term reads negatives; where not, none are drawn."""

    is_candidate: np.ndarray | None = None
    """bool [num_items], items that a term over the catalogue reads; None: all. Set it before the
    first call, where training must not know every item."""

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

    @abstractmethod
    def ranking_term(self, scored: Scored) -> tf.Tensor:
        """Returns this replica's share of the ranking term, float32 []."""

    def __call__(
        self,
        *,
        logits: tf.Tensor,
        labels: tf.Tensor,
        is_counted: tf.Tensor,
        is_softened: tf.Tensor,
        teacher_logits: tf.Tensor,
        vectors: tf.Tensor,
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
            vectors: float32 [P, D], the student's vectors of the positions.
            item_table: float32 [num_items + 1, D].
            divisors: int64 [3], `count` summed over all replicas.
        """
        has_label = self._has_label(is_counted, is_softened)
        counts = tf.maximum(tf.cast(divisors, tf.float32), 1.0)
        num_labels, num_entries, num_softened = tf.unstack(counts)
        ranking = self.ranking_term(
            Scored(logits, labels, has_label, num_labels, vectors, item_table)
        )
        consistency = tf.constant(0.0)
        if self.consistency_weight:
            divergence = tf.where(is_softened, bernoulli_kl(logits, teacher_logits), 0.0)
            divisor = num_softened if self.averages_over_flipped else num_entries
            consistency = tf.reduce_sum(divergence) / divisor
        l2 = tf.constant(0.0)
        if self.l2:
            l2 = self.l2 * tf.norm(item_table) / num_replicas()
        total = ranking + self.consistency_weight * consistency + l2
        return LossTerms(total=total, ranking=ranking, consistency=consistency, l2=l2)


class PooledBCE(Objective):
    """Ranking term: 2 * mean over counted entries of BCE(logit, label), the authors'.

    The pooled mean gives a positive 1 / N of the weight of its negatives together.
    """

    def ranking_term(self, scored: Scored) -> tf.Tensor:
        """Returns the term; see the base class."""
        losses = bce(scored.logits, scored.labels)
        return 2.0 * tf.reduce_sum(tf.where(scored.has_label, losses, 0.0)) / scored.num_labels


class CrossEntropy(Objective):
    """Ranking term: mean over positions of -log softmax(positive) in the whole catalogue.

    Items that the user has seen are in the softmax too, as is usual.

    Source: Klenitskiy & Vasilev, "Turning Dross Into Gold Loss", RecSys 2023.
    """

    needs_negatives = False

    def ranking_term(self, scored: Scored) -> tf.Tensor:
        """Returns the term; see the base class."""
        catalogue, positives = scored.item_table[PAD + 1 :], scored.logits[:, 0]
        losses = catalogue_cross_entropy(scored.vectors, catalogue, positives, self.is_candidate)
        return tf.reduce_sum(tf.where(scored.has_label[:, 0], losses, 0.0)) / scored.num_labels


OBJECTIVES: dict[str, type[Objective]] = {
    "pooled_bce": PooledBCE,
    "cross_entropy": CrossEntropy,
}
"""Loss name to the objective that computes it."""
