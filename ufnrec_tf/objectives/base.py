"""The contract of a loss: the inputs of its terms, and their sum over all replicas."""

from abc import ABC, abstractmethod
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from ufnrec_tf.common.distribution import num_replicas


class Entries(NamedTuple):
    """The candidates of a step and their role in the loss, all [C, 1 + N], column 0 the positive.

    Attributes:
        candidates: int32, item ids.
        is_flipped: bool, True for a suspect that gets label 1 in this step.
        is_removed: bool, True for a suspect that is left out of the loss in this step.
        is_counted: bool, True for a candidate that takes part in the loss.
    """

    candidates: tf.Tensor
    is_flipped: tf.Tensor
    is_removed: tf.Tensor
    is_counted: tf.Tensor


class LossCounts(NamedTuple):
    """Numbers of entries and positions in the loss, over all replicas.

    An entry is a candidate of one position.

    Attributes:
        labels: Entries with a hard label.
        entries: Entries that take part.
        softened: Softened entries.
        positions: Real positions.
        softened_positions: Positions with a softened entry.
    """

    labels: tf.Tensor
    entries: tf.Tensor
    softened: tf.Tensor
    positions: tf.Tensor
    softened_positions: tf.Tensor


class Scored(NamedTuple):
    """The inputs of a loss; P positions, K = 1 + probes + negatives, column 0 the positive.

    Attributes:
        logits: float32 [P, K], the student's.
        candidates: int32 [P, K], item ids.
        is_counted: bool [P, K], entries that take part; False in all of a filler's columns.
        is_flipped: bool [P, K], suspects whose label is 1.
        is_removed: bool [P, K], suspects that are left out.
        is_softened: bool [P, K], flipped entries that the teacher has scored.
        is_hard_flip: bool [P, K], flipped entries with a hard label: all, or, under
            `uses_soft_label_only`, those that are not softened.
        teacher_logits: float32 [P, K], read only where `is_softened`, and in column 0 of the
            positions that have such an entry.
        vectors: float32 [P, D], the positions' vectors.
        item_table: float32 [num_items + 1, D].
        counts: Over all replicas, float32 [] each, at least 1.
    """

    logits: tf.Tensor
    candidates: tf.Tensor
    is_counted: tf.Tensor
    is_flipped: tf.Tensor
    is_removed: tf.Tensor
    is_softened: tf.Tensor
    is_hard_flip: tf.Tensor
    teacher_logits: tf.Tensor
    vectors: tf.Tensor
    item_table: tf.Tensor
    counts: LossCounts

    def is_positive(self) -> tf.Tensor:
        """Returns bool [1, K], True in column 0."""
        return tf.one_hot(0, self.logits.shape[1])[None, :] > 0

    def labels(self) -> tf.Tensor:
        """Returns float32 [P, K], 1 for the positive and for flipped entries, else 0."""
        positive = tf.one_hot(0, self.logits.shape[1], dtype=self.logits.dtype)[None, :]
        return tf.where(self.is_flipped, tf.ones_like(positive), positive)


class Targets(NamedTuple):
    """The targets of P positions with soft labels, all [P, 1 + K], column 0 the observed item.

    An item may stand in several columns of a row: its weights add up.

    Attributes:
        items: int32, item ids; 0 in a column of weight 0.
        weights: float32, how much of the target each item has; they sum to 1.
        logits: float32, the student's.
    """

    items: tf.Tensor
    weights: tf.Tensor
    logits: tf.Tensor

    def num_equal(self, candidates: tf.Tensor, is_counted: tf.Tensor) -> tf.Tensor:
        """Returns float32 [P, 1 + K], how many of the counted candidates equal each target.

        Args:
            candidates: int32 [P, N], item ids.
            is_counted: bool [P, N].
        """
        return _sums_where_equal(self.items, candidates, tf.cast(is_counted, self.logits.dtype))

    def weights_of(self, candidates: tf.Tensor) -> tf.Tensor:
        """Returns float32 [P, N], the weight that each of int32 [P, N] candidates has as target."""
        return _sums_where_equal(candidates, self.items, self.weights)


def _sums_where_equal(items: tf.Tensor, others: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """Returns float32 [P, A], the sum of the values whose items equal each item of the row.

    Column by column: all comparisons at once, [P, A, B] of them, take twice as long.

    Args:
        items: int32 [P, A].
        others: int32 [P, B].
        values: float32 [P, B], those of `others`.
    """
    others, values = tf.transpose(others), tf.transpose(values)

    def add(column: tf.Tensor, sums: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        is_equal = items == others[column][:, None]
        return column + 1, sums + tf.where(is_equal, values[column][:, None], 0.0)

    return tf.while_loop(
        lambda column, _: column < others.shape[0],
        add,
        (tf.constant(0), tf.zeros_like(items, values.dtype)),
    )[1]


class LossTerms(NamedTuple):
    """The loss of a step and its terms, float32 [] each; `total` is minimised.

    With replicas each is this replica's share, and the sum over replicas is the global value.
    """

    total: tf.Tensor
    ranking: tf.Tensor
    consistency: tf.Tensor
    l2: tf.Tensor


class LossSettings(NamedTuple):
    """The settings of all losses; each reads its own.

    Attributes:
        num_items: Number of items of the catalogue.
        num_negatives: Negatives that are drawn for the loss at each position.
        calibration: t of gBCE, in [0, 1].
        scale: alpha of the scaled cross-entropy.
        label_smoothing: Share of each target that cross-entropy spreads over the catalogue.
        is_candidate: bool [num_items], items that a loss over the catalogue reads, where training
            must not know every item; None for all.
        label_mass: Share of each target that goes to the soft labels, in [0, 1].
    """

    num_items: int
    num_negatives: int
    calibration: float = 0.75
    scale: float = 100.0
    label_smoothing: float = 0.0
    is_candidate: np.ndarray | None = None
    label_mass: float = 0.0


class Objective(ABC):
    """Ranking loss, consistency with the teacher, and the norm of the item table.

    total = ranking term + alpha * consistency term + l2 * ||item table||

    A subclass computes the first two. Means are over all replicas, by the global counts; each
    replica returns its share, since the gradients are summed.

    With soft labels the ranking term is, for each position,

        sum over z of target(z) * loss(z),

    where loss(z) is the position's loss with item z in the place of the positive: the expectation
    of the loss if the positive were drawn from the target. Where loss(z) leaves out draws equal to
    the positive, those equal to z are left out. A mean is taken over the same numbers of positions
    and entries as without labels. See `Targets`.

    Source: arXiv 2208.04116, section 3.3, and the released code.

    Args:
        settings: See `LossSettings`.
        consistency_weight: alpha. Paper: 0.3.
        averages_over_flipped: True takes the consistency term's mean only over flipped entries
            (the authors'), so that one of F of them weighs alpha * entries / (2 F) times an
            ordinary entry; False divides by the number of all entries.
        uses_soft_label_only: True takes a flipped entry that the teacher scores out of the ranking
            term, so that a probability below 0.5 of the teacher does not contradict a hard label
            1. False leaves it in both terms (the authors').
        l2: Weight of the item table's norm (not squared).
    """

    most_negatives: int | None = None
    """Negatives that the ranking term reads at most; None for no limit. If it is 0 or 1 the
    memory reads probes: candidates that are drawn only for it, and enter the loss only once they
    are flipped."""

    def __init__(
        self,
        settings: LossSettings,
        *,
        consistency_weight: float,
        averages_over_flipped: bool,
        uses_soft_label_only: bool,
        l2: float,
    ) -> None:
        self.settings = settings
        self.consistency_weight = consistency_weight
        self.averages_over_flipped = averages_over_flipped
        self.uses_soft_label_only = uses_soft_label_only
        self.l2 = l2

    @abstractmethod
    def ranking_term(self, scored: Scored) -> tf.Tensor:
        """Returns this replica's share of the ranking term, float32 []."""

    @abstractmethod
    def consistency_term(self, scored: Scored) -> tf.Tensor:
        """Returns this replica's share of the consistency term, before alpha, float32 []."""

    def soft_ranking_term(self, scored: Scored, targets: Targets) -> tf.Tensor:
        """Returns this replica's share of the ranking term with soft labels, float32 [].

        Args:
            scored: The scored candidates, of which none is flipped or removed.
            targets: The targets; in a filler they have no meaning.
        """
        raise NotImplementedError(f"{type(self).__name__} has no `soft_ranking_term`.")

    @classmethod
    def has_soft_ranking_term(cls) -> bool:
        """True if the loss defines `soft_ranking_term`, in the module of its class.

        One inherited from another module belongs to a `ranking_term` that the class may have
        changed.
        """
        owner = next(kind for kind in cls.__mro__ if "soft_ranking_term" in vars(kind))
        return owner is not Objective and owner.__module__ == cls.__module__

    def __call__(
        self,
        *,
        logits: tf.Tensor,
        entries: Entries,
        is_softened: tf.Tensor,
        teacher_logits: tf.Tensor,
        vectors: tf.Tensor,
        item_table: tf.Tensor,
        divisors: tf.Tensor,
        labels: tuple[tf.Tensor, tf.Tensor, tf.Tensor] | None = None,
    ) -> LossTerms:
        """Returns this replica's share of each term.

        Args:
            logits: float32 [P, K], the student's.
            entries: The candidates and their role, each [P, K].
            is_softened: bool [P, K], flipped entries that the teacher has scored.
            teacher_logits: float32 [P, K]; see `Scored`.
            vectors: float32 [P, D], the student's vectors of the positions.
            item_table: float32 [num_items + 1, D].
            divisors: int64 [5], the numbers of `LossCounts`, summed over all replicas.
            labels: Of the soft labels the item ids int32 [P, K], their shares float32 [P, K], which
                sum to 1, or to 0 in a position without labels, and the student's logits of them
                float32 [P, K]; None for a policy without soft labels.
        """
        is_hard_flip = entries.is_flipped
        if self.uses_soft_label_only:
            is_hard_flip &= ~is_softened
        scored = Scored(
            logits=logits,
            candidates=entries.candidates,
            is_counted=entries.is_counted,
            is_flipped=entries.is_flipped,
            is_removed=entries.is_removed,
            is_softened=is_softened,
            is_hard_flip=is_hard_flip,
            teacher_logits=teacher_logits,
            vectors=vectors,
            item_table=item_table,
            counts=LossCounts(*tf.unstack(tf.maximum(tf.cast(divisors, logits.dtype), 1.0))),
        )
        if labels is None:
            ranking = self.ranking_term(scored)
        else:
            ranking = self.soft_ranking_term(scored, self._targets(scored, *labels))
        consistency = l2 = tf.zeros([], logits.dtype)
        if self.consistency_weight:
            consistency = self.consistency_term(scored)
        if self.l2:
            l2 = self.l2 * tf.norm(item_table) / num_replicas()
        total = ranking + self.consistency_weight * consistency + l2
        return LossTerms(total=total, ranking=ranking, consistency=consistency, l2=l2)

    def _targets(
        self, scored: Scored, items: tf.Tensor, shares: tf.Tensor, logits: tf.Tensor
    ) -> Targets:
        """Returns the targets: the labels share the mass, the observed item has the rest."""
        weights = self.settings.label_mass * tf.cast(shares, logits.dtype)
        observed = 1.0 - tf.reduce_sum(weights, axis=1, keepdims=True)
        return Targets(
            items=tf.concat([scored.candidates[:, :1], items], axis=1),
            weights=tf.concat([observed, weights], axis=1),
            logits=tf.concat([scored.logits[:, :1], logits], axis=1),
        )
