"""Times as an input: buckets by hand, vectors against NumPy, and who sees which time."""

import numpy as np
import pytest
import tensorflow as tf

from tests.backbones.test_conformance import HISTORIES, LENGTH, make, shake, values
from tests.reference import numpy_backbones
from tests.reference.numpy_sasrec import encode
from ufnrec_tf.backbones.hindsight import Hindsight
from ufnrec_tf.backbones.packing import fill_up, pack
from ufnrec_tf.backbones.times import NUM_BUCKETS, time_buckets
from ufnrec_tf.common.errors import UserError

STEPS = np.array([1, 3600, 40, 2, 86_400, 0, 5_000_000, 700])
TIMES = np.array([1_700_000_000, 1_000_000_000, 0])[:, None] + np.cumsum(STEPS)
"""int64 [3, L + 1], the last column that of the request; padded columns hold numbers too."""
CASES = [
    ("sasrec", {"time": "gaps", "variant": "authors"}),
    ("sasrec", {"time": "gaps", "variant": "corrected", "request_time": True}),
    ("hstu", {"time": "gaps"}),
    ("hstu", {"time": "bias"}),
    ("hstu", {"time": "both", "num_heads": 2}),
    ("hstu", {"time": "both", "request_time": True}),
]
every_case = pytest.mark.parametrize(("name", "options"), CASES)


def made(name, options):
    backbone = make(name, {"num_blocks": 1, **options})
    shake(backbone)
    return backbone


def read_by(backbone, times=TIMES):
    return tf.constant(times[:, : backbone.num_times], tf.int64)


@pytest.mark.parametrize(
    ("seconds", "bucket"),
    [
        *[(-9, 0), (0, 0), (1, 0), (2, 2), (3, 3), (4, 4), (5, 4), (6, 5), (7, 5), (8, 6)],
        *[(11, 6), (12, 7), (3_071, 22), (3_072, 23), (86_400, 32), (31_536_000, 49)],
        *[(2**31, 62), (2**40, 63), (2**62, 63)],
    ],
)
def test_buckets_are_half_doublings(seconds, bucket):
    assert int(time_buckets(tf.constant(seconds, tf.int64))) == bucket
    assert min(numpy_backbones.bucket(seconds), NUM_BUCKETS - 1) == bucket


@every_case
def test_vectors_equal_numpy(name, options):
    backbone = made(name, options)
    found = backbone(tf.constant(HISTORIES), times=read_by(backbone)).numpy()
    weights = values(backbone)
    for row, history in enumerate(HISTORIES):
        times = TIMES[row, : backbone.num_times]
        if name == "hstu":
            heads = options.get("num_heads", 1)
            expected = numpy_backbones.hstu(
                weights, history, num_blocks=1, num_heads=heads, time=options["time"], times=times
            )
        else:
            items, positions, *tables = weights[: 3 + options.get("request_time", False)]
            positions = positions + numpy_backbones.gap_vectors(tables, history, times)
            others = weights[2 + len(tables) :]
            expected = encode(
                [items, positions, *others], history, variant=options["variant"], num_heads=1
            )
        is_real = history > 0
        np.testing.assert_allclose(found[row][is_real], expected[is_real], rtol=0, atol=1e-4)


@every_case
def test_no_column_sees_the_time_of_its_target_or_later(name, options):
    """With the time of the request a column sees that of its target, and none later."""
    backbone = made(name, options)
    before = backbone(tf.constant(HISTORIES[:1]), times=read_by(backbone)[:1]).numpy()
    sees = int(options.get("request_time", False))
    for column in range(1, backbone.num_times):
        later = TIMES[:1] + 10**8 * (np.arange(LENGTH + 1) >= column)
        after = backbone(tf.constant(HISTORIES[:1]), times=read_by(backbone, later)).numpy()
        first = column - sees
        np.testing.assert_array_equal(after[:, :first], before[:, :first])
        assert np.abs(after[:, first] - before[:, first]).max() > 1e-4


@every_case
def test_packed_and_newest_vectors_are_those_of_the_padded_histories(name, options):
    backbone = made(name, options)
    times = read_by(backbone)
    padded = backbone(tf.constant(HISTORIES), times=times).numpy()
    packed = fill_up(pack(tf.constant(HISTORIES), times), 16)
    vectors = backbone.call_packed(packed).numpy()
    is_real = packed.items.numpy() > 0
    np.testing.assert_allclose(vectors[is_real], padded[HISTORIES > 0], rtol=0, atol=1e-5)
    newest = backbone.encode(tf.constant(HISTORIES), times=times)
    np.testing.assert_allclose(newest, padded[:, -1], rtol=0, atol=1e-5)


def test_the_teacher_reads_the_gaps_of_its_row_and_at_the_end_not_that_of_the_target():
    tf.keras.utils.set_random_seed(1)
    network = Hindsight(num_items=12, width=8, max_length=LENGTH, num_blocks=1, time="gaps")
    shake(network)
    packed = pack(tf.constant(HISTORIES), tf.constant(TIMES))
    packed = packed._replace(next_items=tf.roll(packed.items, -1, axis=0))
    before = network.call_packed(packed).numpy()

    def changed(column: int) -> set[int]:
        """The positions of the first row whose vectors change with the time of a column."""
        times = TIMES.copy()
        times[0, column] += 10**7
        other = pack(tf.constant(HISTORIES), tf.constant(times))
        after = network.call_packed(other._replace(next_items=packed.next_items)).numpy()
        np.testing.assert_array_equal(after[LENGTH:], before[LENGTH:])
        return set(np.flatnonzero(np.abs(after - before)[:LENGTH].max(axis=1) > 1e-6).tolist())

    assert changed(LENGTH) == set(range(LENGTH - 1))
    # The gap before the third event and the one after it: all read at least one of them.
    assert changed(2) == set(range(LENGTH))
    copy = network.clone()
    np.testing.assert_allclose(copy.call_packed(packed), before, atol=1e-5)


def test_other_values_are_refused_with_those_that_are_taken():
    with pytest.raises(UserError, match=r"none, gaps for this backbone. Received: 'bias'"):
        make("sasrec", {"time": "bias"})
