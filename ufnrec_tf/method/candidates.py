"""The candidates of a step: from the memory's lookup to the role of each in the loss."""

from typing import NamedTuple

import tensorflow as tf

from ufnrec_tf.common.tensors import PAD
from ufnrec_tf.method.memory import Lookup
from ufnrec_tf.method.policies import Policy
from ufnrec_tf.method.positions import Positions, choose_rows
from ufnrec_tf.method.teacher import EmaTeacher
from ufnrec_tf.objectives.base import Entries


class Proposal(NamedTuple):
    """Candidates and the policy's proposal for each, all [C, K], column 0 the positive.

    Attributes:
        candidates: int32, item ids.
        is_flipped: bool, True for a suspect that is to get label 1.
        is_removed: bool, True for a suspect that is to be left out of the loss.
        is_eligible: bool, True for a candidate that may take part in the loss; False in all of a
            filler's columns.
    """

    candidates: tf.Tensor
    is_flipped: tf.Tensor
    is_removed: tf.Tensor
    is_eligible: tf.Tensor


def propose(policy: Policy, positions: Positions, lookup: Lookup) -> Proposal:
    """Returns the candidates of all positions with the policy's proposal for each."""
    nothing = tf.zeros_like(lookup.is_suspect)
    is_flipped = lookup.is_suspect if policy.flips else nothing
    is_removed = lookup.is_suspect if policy.removes else nothing
    if policy.is_random:
        # Remembered items fill the columns from the left: their mirror images are fresh draws.
        is_fresh = ~(lookup.is_shown | lookup.is_excluded)
        is_flipped = tf.reverse(lookup.is_suspect, [1]) & is_fresh
    is_eligible = tf.pad(~(lookup.is_excluded | is_removed), [[0, 0], [1, 0]], constant_values=True)
    negatives = positions.add_fillers(lookup.negatives, PAD)
    return Proposal(
        candidates=tf.concat([positions.positives[:, None], negatives], axis=1),
        is_flipped=positions.add_fillers(tf.pad(is_flipped, [[0, 0], [1, 0]]), False),
        is_removed=positions.add_fillers(tf.pad(is_removed, [[0, 0], [1, 0]]), False),
        is_eligible=positions.add_fillers(is_eligible, False),
    )


def decide(proposal: Proposal, num_probes: int, is_approved: tf.Tensor | None = None) -> Entries:
    """Returns the candidates with their role in the loss.

    Args:
        proposal: The policy's proposal.
        num_probes: Columns after the positive's that hold probes: candidates drawn only for the
            memory, which are in the loss only if they are flipped.
        is_approved: bool [C, K], the flips that are made; None for all.
    """
    is_flipped = proposal.is_flipped
    if is_approved is not None:
        is_flipped &= is_approved
    column = tf.range(proposal.candidates.shape[1])[None, :]
    is_probe = (column > 0) & (column <= num_probes)
    return Entries(
        candidates=proposal.candidates,
        is_flipped=is_flipped,
        is_removed=proposal.is_removed,
        is_counted=proposal.is_eligible & (~is_probe | is_flipped),
    )


def ask_teacher(
    teacher: EmaTeacher, positions: Positions, proposal: Proposal, agreement: str
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Lets the teacher score the proposed flips; it reads only the users that have one.

    Args:
        teacher: The teacher.
        positions: The scored positions of the batch.
        proposal: Has at least one flip.
        agreement: See `agrees`.

    Returns:
        The teacher's logits float32 [C, K] of the proposed flips and, in column 0, of their
        positives, else 0; bool [C, K], the flips to which it agrees; int64 [], users it read.
    """
    at = tf.where(proposal.is_flipped)  # [F, 2]
    inputs = positions.inputs
    packed, place, num_taught = choose_rows(inputs.packed, inputs.places(at[:, 0]))
    vectors = tf.gather(teacher.encode_all(packed), place)
    items = tf.gather_nd(proposal.candidates, at)
    positives = tf.gather(proposal.candidates[:, 0], at[:, 0])
    pairs = teacher.score(vectors, tf.stack([positives, items], axis=1))  # [F, 2]
    shape = tf.shape(proposal.is_flipped, tf.int64)
    is_agreed = tf.scatter_nd(at, tf.cast(agrees(agreement, pairs), tf.int32), shape) > 0
    # A positive has the same logit however many suspects stand beside it.
    own = tf.stack([at[:, 0], tf.zeros_like(at[:, 0])], axis=1)
    logits = tf.tensor_scatter_nd_update(tf.scatter_nd(at, pairs[:, 1], shape), own, pairs[:, 0])
    return logits, is_agreed, num_taught


def agrees(agreement: str, pairs: tf.Tensor) -> tf.Tensor:
    """Returns bool [F], True if the teacher agrees that a suspect is a false negative.

    Args:
        agreement: `outranks`, the suspect is above the positive; `half`, its probability is
            above 0.5; `none`, always.
        pairs: float32 [F, 2], the teacher's logits of positives and suspects.
    """
    if agreement == "half":
        return pairs[:, 1] > 0.0
    if agreement == "outranks":
        return pairs[:, 1] > pairs[:, 0]
    return tf.ones(tf.shape(pairs)[:1], tf.bool)


def count_entries(
    entries: Entries, is_softened: tf.Tensor, uses_soft_label_only: bool
) -> tf.Tensor:
    """Returns this replica's part of `LossCounts`, int64 [5], by which the loss takes its means.

    Args:
        entries: The candidates' roles in the loss.
        is_softened: bool [C, K], True for a flipped entry that the teacher scores.
        uses_soft_label_only: True leaves such an entry out of the ranking term.
    """
    counted = entries.is_counted
    has_label = counted & ~is_softened if uses_soft_label_only else counted
    of_positions = [counted[:, 0], tf.reduce_any(is_softened, axis=1)]
    flags = [has_label, counted, is_softened, *of_positions]
    return tf.stack([tf.math.count_nonzero(flag) for flag in flags])
