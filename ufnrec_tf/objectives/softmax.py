"""Softmax losses, which choose the positive among the candidates.

Let p be the softmax of the adjusted logits over the denominator's candidates C, F the flipped
suspects of a position and R the removed ones. The ranking term is the mean over positions of

    -sum over i in {positive} and F of q_i * log p_i,   q_i = 1 / (1 + |F|),   C without R:

`remove` leaves a suspect out of the denominator, `flip` gives it as much target mass as the
positive, `ufnrec` adds alpha times the consistency term, the mean over positions of

    KL(softmax of the teacher's || of the student's logits over {positive} and F).

An item in several columns of a position is several entries, each drawn or flipped by itself; the
whole catalogue's denominator holds each item once, and a removed item is subtracted once.

With soft labels nothing is flipped or removed, and the term is the mean over positions of

    sum over z of target(z) * (log(exp s_z + sum over negatives but z of exp s_j) - s_z),

s the adjusted logits; the whole catalogue's denominator is the same for each z.

With `uses_soft_label_only` softened suspects get no target mass; the teacher then decides how the
mass of positive and suspects is divided among them.
"""

import math
from abc import abstractmethod

import tensorflow as tf

from ufnrec_tf.common.tensors import PAD
from ufnrec_tf.objectives.base import Objective, Scored, Targets
from ufnrec_tf.objectives.functions import (
    LEAST_SHARE,
    MINUS_INFINITY,
    catalogue_log_denominators,
    first_of_each,
    masked_softmax_kl,
)


class SoftmaxObjective(Objective):
    """Mean over positions of cross-entropy against positive and flipped suspects; see the module.

    The mean of the consistency term is over positions with a softened suspect, or
    (`averages_over_flipped` False) over all.
    """

    @abstractmethod
    def log_denominators(self, scored: Scored) -> tf.Tensor:
        """Returns float32 [], the sum of the real positions' log denominators; see the module."""

    def ranking_term(self, scored: Scored) -> tf.Tensor:
        """Returns this replica's share, float32 []; see the formula of the module."""
        is_target = (scored.is_positive() | scored.is_hard_flip) & scored.is_counted
        mass = tf.cast(is_target, scored.logits.dtype)
        num_targets = tf.maximum(tf.reduce_sum(mass, axis=1), 1.0)
        targets = tf.reduce_sum(mass * scored.logits, axis=1) / num_targets
        targets = self.smoothed(targets[:, None], scored)[:, 0]
        sums = self.log_denominators(scored) - _sum_over_real(targets, scored)
        return sums / scored.counts.positions

    def smoothed(self, logits: tf.Tensor, scored: Scored) -> tf.Tensor:
        """Returns float32 [P, T], the mean logit of T targets, each perhaps shared with others."""
        del scored
        return logits

    def consistency_term(self, scored: Scored) -> tf.Tensor:
        """Returns this replica's share, float32 []; see the formula of the module."""
        has_suspect = tf.reduce_any(scored.is_softened, axis=1)
        divergence = masked_softmax_kl(
            scored.logits, scored.teacher_logits, scored.is_positive() | scored.is_softened
        )
        counts = scored.counts
        divisor = counts.softened_positions if self.averages_over_flipped else counts.positions
        return tf.reduce_sum(tf.where(has_suspect, divergence, 0.0)) / divisor


def _sum_over_real(values: tf.Tensor, scored: Scored) -> tf.Tensor:
    """Returns float32 [], the sum of float32 [P] values over the real positions."""
    return tf.reduce_sum(tf.where(scored.is_counted[:, 0], values, 0.0))


class SampledSoftmax(SoftmaxObjective):
    """Cross-entropy of the positive among itself and N uniform negatives, uncorrected.

    Source: Jean et al., ACL 2015, without the correction.
    """

    def log_denominators(self, scored: Scored) -> tf.Tensor:
        """Returns float32 []; the denominators are of the adjusted logits of the row."""
        adjusted = scored.logits + self.adjustment(scored)
        is_inside = scored.is_counted & ~scored.is_removed
        logs = tf.reduce_logsumexp(tf.where(is_inside, adjusted, MINUS_INFINITY), axis=1)
        return _sum_over_real(logs, scored)

    def adjustment(self, scored: Scored) -> tf.Tensor:
        """Returns float32 [P, K], the numbers added to the logits of negatives with label 0."""
        return tf.where(
            scored.is_positive() | scored.is_flipped,
            tf.zeros([], scored.logits.dtype),
            self.negative_shift(),
        )

    def negative_shift(self) -> float:
        """Returns the number that is added to every negative's logit."""
        return 0.0

    def soft_ranking_term(self, scored: Scored, targets: Targets) -> tf.Tensor:
        """Returns this replica's share, float32 []; see the formula of the module."""
        losses = tf.reduce_sum(targets.weights * self.target_losses(scored, targets), axis=1)
        return _sum_over_real(losses, scored) / scored.counts.positions

    def target_losses(self, scored: Scored, targets: Targets) -> tf.Tensor:
        """Returns float32 [P, 1 + K], the position's loss with each target as its positive."""
        shift = self.negative_shift()
        is_inside = scored.is_counted[:, 1:]
        adjusted = tf.where(is_inside, scored.logits[:, 1:] + shift, MINUS_INFINITY)
        negatives = tf.reduce_logsumexp(adjusted, axis=1, keepdims=True)
        # Draws that equal the target are taken out again: most targets have none.
        num_equal = targets.num_equal(scored.candidates[:, 1:], is_inside)
        logs = tf.math.log(tf.maximum(num_equal, 1.0)) + targets.logits + shift - negatives
        parts = tf.exp(tf.where(num_equal > 0, tf.minimum(logs, 0.0), MINUS_INFINITY))
        negatives += tf.math.log1p(-tf.minimum(parts, 1.0 - LEAST_SHARE))
        return tf.nn.softplus(negatives - targets.logits)


class SampledSoftmaxLogQ(SampledSoftmax):
    """Sampled softmax whose denominator estimates the whole catalogue's.

    A negative stands for (I - 1) / N items, hence + log((I - 1) / N) on its logit (logQ with a
    uniform proposal); the positive stands for itself.

    Source: Bengio & Senecal, 2008; Yi et al., RecSys 2019; the positive's own term as in
    Khrylchenko et al., arXiv 2507.09331.
    """

    def negative_shift(self) -> float:
        """Returns log((I - 1) / N)."""
        settings = self.settings
        return math.log(max(settings.num_items - 1, 1) / settings.num_negatives)


class ScaledCrossEntropy(SampledSoftmax):
    """Sampled softmax with the negatives' part of the denominator multiplied by alpha.

    Source: Xu et al., arXiv 2402.06216, section 4 (alpha 100 with 500 negatives on Beauty).
    """

    def negative_shift(self) -> float:
        """Returns log(alpha)."""
        return math.log(self.settings.scale)


class CrossEntropy(SoftmaxObjective):
    """Mean over positions of -log softmax(positive) in the whole catalogue.

    Items that the user has seen are in the softmax too, as is usual. It draws no negatives: only
    probes are remembered, removed and flipped. The logits of a block of positions are held at once;
    see `functions.catalogue_log_denominators`.

    With label smoothing e, a target's mass 1 becomes 1 - e, and each item of the catalogue, itself
    included, gets e / (number of items): the target's logit s becomes (1 - e) s + e * mean of all
    logits. Of the probes nothing changes.

    Source: Klenitskiy & Vasilev, "Turning Dross Into Gold Loss", RecSys 2023; label smoothing:
    Szegedy et al., CVPR 2016, section 7.
    """

    most_negatives = 0

    def log_denominators(self, scored: Scored) -> tf.Tensor:
        """Returns float32 []; the denominators are over all items but the removed ones."""
        # An item is in a denominator once, in however many columns of the row it was removed.
        is_gone = scored.is_removed
        if is_gone.shape[1] > 1:  # else only the positive, which is never removed
            is_gone = tf.cond(
                tf.reduce_any(scored.is_removed),  # in most configurations never
                lambda: first_of_each(scored.candidates, scored.is_removed),
                lambda: scored.is_removed,
            )
        return catalogue_log_denominators(
            scored.vectors,
            scored.item_table[PAD + 1 :],
            tf.cast(scored.is_counted[:, 0], scored.vectors.dtype),
            tf.where(is_gone, scored.logits, MINUS_INFINITY),
            self.settings.is_candidate,
        )

    def soft_ranking_term(self, scored: Scored, targets: Targets) -> tf.Tensor:
        """Returns this replica's share, float32 []; the denominator is the same for each target."""
        logits = self.smoothed(targets.logits, scored)
        logits = tf.reduce_sum(targets.weights * logits, axis=1)
        sums = self.log_denominators(scored) - _sum_over_real(logits, scored)
        return sums / scored.counts.positions

    def smoothed(self, logits: tf.Tensor, scored: Scored) -> tf.Tensor:
        """Returns float32 [P, T], the mean logit of T targets; see the class."""
        share = self.settings.label_smoothing
        if not share:
            return logits
        catalogue, is_candidate = scored.item_table[PAD + 1 :], self.settings.is_candidate
        if is_candidate is not None:
            catalogue = catalogue * (is_candidate / is_candidate.mean())[:, None].astype("float32")
        mean = tf.linalg.matvec(scored.vectors, tf.reduce_mean(catalogue, axis=0))
        return (1 - share) * logits + share * mean[:, None]
