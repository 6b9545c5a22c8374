"""Values that cross modules: the padding id and the tuples that the training step passes on."""

from typing import NamedTuple

import tensorflow as tf

PAD = 0
"""Internal item id of padding; items are 1..num_items."""

EMPTY_SCORE = -1e30
"""Score of an empty place, where fewer candidates are left than were asked for."""


def widen(tensor: tf.Tensor) -> tf.Tensor:
    """Returns a float tensor in float32, in which scores and sums are; float64 stays as it is."""
    return tensor if tensor.dtype == tf.float64 else tf.cast(tensor, tf.float32)


class Lookup(NamedTuple):
    """What the memory says of one step's positions; nothing is committed by it.

    Attributes:
        negatives: int32 [P, N], the fresh negatives with remembered items in the first columns.
        is_shown: bool [P, N], True where the entry came from memory.
        is_ripe: bool [P, N], True where a shown entry's count is now above the patience.
        is_excluded: bool [P, N], True where the entry takes no part in loss and record.
        slot_items: int32 [P, S], the rows' counted items, ascending, zeros first.
        slot_states: int32 [P, S], their states if this visit is recorded; see
            `FalseNegativeMemory`.
    """

    negatives: tf.Tensor
    is_shown: tf.Tensor
    is_ripe: tf.Tensor
    is_excluded: tf.Tensor
    slot_items: tf.Tensor
    slot_states: tf.Tensor


class Entries(NamedTuple):
    """What each candidate is to the loss, all [C, 1 + N], column 0 the positive.

    Attributes:
        candidates: int32, item ids.
        is_flipped: bool, a negative that is labelled 1 in this step.
        is_removed: bool, a negative that is left out of the loss in this step.
        is_counted: bool, takes part in the loss.
    """

    candidates: tf.Tensor
    is_flipped: tf.Tensor
    is_removed: tf.Tensor
    is_counted: tf.Tensor


class Student(NamedTuple):
    """What the student made of a step's candidates.

    Attributes:
        terms: The loss, this replica's share.
        gradients: As many as there are trainable variables, shaped as they are.
        is_hard: bool [C, N], the negative's logit is strictly above the positive's.
        counts: int64 [4], negatives in the loss, flipped, removed, and hard ones of label 0.
    """

    terms: "LossTerms"
    gradients: list[tf.Tensor]
    is_hard: tf.Tensor
    counts: tf.Tensor


class LossTerms(NamedTuple):
    """Scalar loss terms of a step, float32 []; `total` is what is minimised.

    With replicas each holds this replica's share: their sum over replicas is the global value.
    """

    total: tf.Tensor
    ranking: tf.Tensor
    consistency: tf.Tensor
    l2: tf.Tensor
