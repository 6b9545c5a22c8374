"""Candidates under each policy, from lookups that can be read by eye."""

import numpy as np
import pytest
import tensorflow as tf

from ufnrec_tf.backbones.packing import PackedHistories
from ufnrec_tf.method.candidates import decide, propose
from ufnrec_tf.method.memory import FalseNegativeMemory, Lookup
from ufnrec_tf.method.policies import POLICIES
from ufnrec_tf.method.positions import PackedInputs, Positions

# Two real positions and a filler; the first two of five negatives come from memory.
NEGATIVES = [[11, 12, 13, 14, 15], [21, 22, 23, 24, 25]]
SHOWN = [[1, 1, 0, 0, 0], [1, 0, 0, 0, 0]]
RIPE = [[0, 1, 0, 0, 0], [1, 0, 0, 0, 0]]
EXCLUDED = [[0, 0, 0, 0, 0], [0, 0, 1, 0, 1]]


def flags(rows):
    return tf.constant(np.array(rows) > 0)


def positions():
    places = tf.constant([1, 2, 0])
    packed = PackedHistories(items=places, rows=places, columns=places, lengths=tf.constant([2]))
    return Positions(
        inputs=PackedInputs(packed, None),
        positives=tf.constant([1, 2, 0]),
        indices=tf.constant([0, 1, 0], tf.int64),
        rows=tf.constant([0, 1], tf.int64),
    )


def entries(policy, num_probes=0, is_approved=None):
    nothing = tf.zeros([2, 1], tf.int32)
    lookup = Lookup(
        tf.constant(NEGATIVES), flags(SHOWN), flags(RIPE), flags(EXCLUDED), nothing, nothing
    )
    proposal = propose(POLICIES[policy], positions(), lookup)
    found = decide(proposal, num_probes, is_approved)
    np.testing.assert_array_equal(
        found.candidates, [[1, *NEGATIVES[0]], [2, *NEGATIVES[1]], [0, 0, 0, 0, 0, 0]]
    )
    return found


def same(found, expected):
    np.testing.assert_array_equal(found.numpy().astype(int), [*expected, [0, 0, 0, 0, 0, 0]])


ALL_BUT_EXCLUDED = [[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 1, 0]]


@pytest.mark.parametrize(
    ("policy", "flipped", "removed", "counted"),
    [
        ("replay", None, None, ALL_BUT_EXCLUDED),
        ("flip", [[0, 0, 1, 0, 0, 0], [0, 1, 0, 0, 0, 0]], None, ALL_BUT_EXCLUDED),
        (
            "remove",
            None,
            [[0, 0, 1, 0, 0, 0], [0, 1, 0, 0, 0, 0]],
            [[1, 1, 0, 1, 1, 1], [1, 0, 1, 0, 1, 0]],
        ),
        # Mirrored onto fresh draws: column 4 of the first row; of the second it is excluded.
        ("random", [[0, 0, 0, 0, 1, 0], [0, 0, 0, 0, 0, 0]], None, ALL_BUT_EXCLUDED),
    ],
)
def test_policies_without_probes(policy, flipped, removed, counted):
    found = entries(policy)
    nothing = [[0] * 6, [0] * 6]
    same(found.is_flipped, flipped or nothing)
    same(found.is_removed, removed or nothing)
    same(found.is_counted, counted)


def test_a_probe_is_in_the_loss_once_it_is_flipped():
    found = entries("flip", num_probes=4)  # one negative of the loss: the last column
    same(found.is_counted, [[1, 0, 1, 0, 0, 1], [1, 1, 0, 0, 0, 0]])
    same(entries("replay", num_probes=5).is_counted, [[1, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0]])
    same(entries("remove", num_probes=5).is_removed, [[0, 0, 1, 0, 0, 0], [0, 1, 0, 0, 0, 0]])


def test_a_flip_that_is_not_approved_leaves_no_trace():
    approved = flags([[0, 0, 1, 0, 0, 0], [0] * 6, [0] * 6])
    found = entries("ufnrec", num_probes=0, is_approved=approved)
    same(found.is_flipped, [[0, 0, 1, 0, 0, 0], [0] * 6])
    same(found.is_counted, ALL_BUT_EXCLUDED)
    found = entries("ufnrec", num_probes=5, is_approved=approved)
    same(found.is_counted, [[1, 0, 1, 0, 0, 0], [1, 0, 0, 0, 0, 0]])


def test_a_lasting_suspect_is_one_wherever_it_is_drawn():
    def memory(is_lasting):
        made = FalseNegativeMemory(
            num_rows=1, num_items=9, num_slots=2, num_negatives=3, patience=1,
            is_sticky=is_lasting, is_lasting=is_lasting,
        )  # fmt: skip
        row = tf.constant([0], tf.int64)
        hard = tf.constant([[True, False, False]])
        for _ in range(3):  # item 5: written, then shown twice: a suspect the second time
            made.record(row, made.lookup(row, tf.constant([[5, 6, 7]])), hard)
        # Not hard any more: it leaves the list and keeps its count.
        found = made.lookup(row, tf.constant([[6, 7, 8]]))
        made.record(row, found, tf.zeros([1, 3], tf.bool))
        return made.lookup(row, tf.constant([[6, 5, 7]]))

    np.testing.assert_array_equal(memory(True).is_suspect, [[False, True, False]])
    np.testing.assert_array_equal(memory(True).is_shown, [[False, False, False]])
    np.testing.assert_array_equal(memory(False).is_suspect, [[False, False, False]])
