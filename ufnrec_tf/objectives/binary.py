"""Binary losses, which classify each candidate by itself as positive or negative.

A removed suspect is left out of the sums; a flipped one has label 1 and the weight of any other
entry; a softened one has the teacher's probability as its label. A probe enters the sums once it is
flipped.

With soft labels nothing is flipped or removed, and a position's sum is

    sum over z of target(z) * w+ * BCE(logit of z, 1) + sum over negatives of (1 - target(j)) * w- *
    BCE(logit of j, 0),

w+ and w- the weights of the two labels: a negative that is itself a target counts for the share in
which it is none.
"""

import math

import tensorflow as tf

from ufnrec_tf.objectives.base import Objective, Scored, Targets
from ufnrec_tf.objectives.functions import bce, bernoulli_kl


class BinaryObjective(Objective):
    """Sum over entries of weighted BCE of shifted logits, over positions.

    Consistency: mean of KL(Bernoulli(teacher) || Bernoulli(student)) of softened entries, over
    those entries, or (`averages_over_flipped` False) by the ranking term's divisor.
    """

    def shift(self) -> float:
        """Returns the number that is added to every logit before the sigmoid."""
        return 0.0

    def positive_weight(self) -> float:
        """Returns the weight of -log sigmoid(logit) where the label is 1."""
        return 1.0

    def negative_weight(self) -> float:
        """Returns the weight of -log(1 - sigmoid(logit)) where the label is 0."""
        return 1.0

    def divisor(self, scored: Scored) -> tf.Tensor:
        """Returns the divisor of the sum over entries, float32 []."""
        return scored.counts.positions

    def ranking_term(self, scored: Scored) -> tf.Tensor:
        """Returns this replica's share, float32 []; see the formula of the class."""
        labels = scored.labels()
        losses = bce(scored.logits + self.shift(), labels)
        positive = tf.constant(self.positive_weight(), losses.dtype)
        weights = tf.where(labels > 0, positive, self.negative_weight())
        has_label = scored.is_counted & (~scored.is_flipped | scored.is_hard_flip)
        return tf.reduce_sum(tf.where(has_label, weights * losses, 0.0)) / self.divisor(scored)

    def soft_ranking_term(self, scored: Scored, targets: Targets) -> tf.Tensor:
        """Returns this replica's share, float32 []; see the formula of the module."""
        hits = bce(targets.logits + self.shift(), tf.ones_like(targets.logits))
        losses = self.positive_weight() * tf.reduce_sum(targets.weights * hits, axis=1)
        negatives = scored.logits[:, 1:] + self.shift()
        misses = bce(negatives, tf.zeros_like(negatives))
        weights = self.negative_weight() * (1.0 - targets.weights_of(scored.candidates[:, 1:]))
        is_counted = scored.is_counted[:, 1:]
        losses += tf.reduce_sum(tf.where(is_counted, weights * misses, 0.0), axis=1)
        is_real = scored.is_counted[:, 0]
        return tf.reduce_sum(tf.where(is_real, losses, 0.0)) / self.divisor(scored)

    def consistency_term(self, scored: Scored) -> tf.Tensor:
        """Returns this replica's share, float32 []; see the formula of the class."""
        divergence = bernoulli_kl(
            scored.logits + self.shift(), scored.teacher_logits + self.shift()
        )
        divisor = scored.counts.softened if self.averages_over_flipped else self.mean_of_all(scored)
        return tf.reduce_sum(tf.where(scored.is_softened, divergence, 0.0)) / divisor

    def mean_of_all(self, scored: Scored) -> tf.Tensor:
        """Returns the divisor of the consistency term where its mean is over all, float32 []."""
        return scored.counts.positions


class PooledBCE(BinaryObjective):
    """2 * mean over counted entries of BCE(logit, label), the authors'.

    The pooled mean gives a positive 1 / N of the weight of its negatives together.

    Source: arXiv 2208.04116, section 3.3, released code.
    """

    def divisor(self, scored: Scored) -> tf.Tensor:
        """Returns half the number of entries with a hard label."""
        return scored.counts.labels / 2.0

    def mean_of_all(self, scored: Scored) -> tf.Tensor:
        """Returns the number of counted entries."""
        return scored.counts.entries


class OneNegativeBCE(BinaryObjective):
    """Mean over positions of BCE(positive, 1) + BCE(one negative, 0).

    Source: Kang & McAuley, "Self-Attentive Sequential Recommendation", ICDM 2018, section III-E.
    """

    most_negatives = 1


class NCE(BinaryObjective):
    """Mean over positions of BCE(positive, 1) + sum over N negatives of BCE(negative, 0).

    All logits are shifted by log(I / N), I the number of items, so that a score is the log of
    an item's probability, up to one constant.

    Source: Gutmann & Hyvarinen, JMLR 2012; for recommenders as in Xu et al., "Understanding the
    Role of Cross-Entropy Loss in Fairly Evaluating LLM-based Recommendation", arXiv 2402.06216.
    """

    def shift(self) -> float:
        """Returns log(I / N)."""
        return math.log(self.settings.num_items / self.settings.num_negatives)


class CalibratedBCE(BinaryObjective):
    """gBCE: mean over positions of (-beta log sigmoid(s+) - sum log(1 - sigmoid(s-))) / (1 + N).

    beta = a * (t * (1 - 1/a) + 1/a), a = N / (I - 1): t = 0 is plain BCE (beta 1), t = 1 is
    fully calibrated (beta a). A flipped entry is a positive and has its weight.

    Source: Petrov & Macdonald, "gSASRec", RecSys 2023, section 5.
    """

    def positive_weight(self) -> float:
        """Returns beta / (1 + N)."""
        rate = self.settings.num_negatives / max(self.settings.num_items - 1, 1)
        t = self.settings.calibration
        return (rate * (t * (1.0 - 1.0 / rate) + 1.0 / rate)) * self.negative_weight()

    def negative_weight(self) -> float:
        """Returns 1 / (1 + N)."""
        return 1.0 / (1 + self.settings.num_negatives)
