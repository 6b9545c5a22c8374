"""The hindsight teacher's network: what each position reads, and that it is not its target."""

import numpy as np
import pytest
import tensorflow as tf

from ufnrec_tf.backbones import BACKBONES
from ufnrec_tf.backbones.hindsight import Hindsight
from ufnrec_tf.backbones.packing import fill_up, pack
from ufnrec_tf.common.graphs import graph_function

L = 6
ROWS = ([1, 2, 3, 4, 5, 6], [7, 8], [9, 10, 11])
"""Items of three users' train events: each is a transition less."""


@pytest.fixture(scope="module")
def network():
    tf.keras.utils.set_random_seed(1)
    network = Hindsight(num_items=20, width=8, max_length=L, num_blocks=2, num_heads=2, dropout=0.4)
    network.call_packed = graph_function(network.call_packed)
    for weight in network.trainable_variables:  # so that no bias is zero
        weight.assign_add(0.1 * tf.random.normal(weight.shape))
    return network


def packed_rows(rows=ROWS, *, has_future=True):
    histories = np.zeros([len(rows), L], np.int32)
    for place, items in enumerate(rows):
        histories[place, L - len(items) + 1 :] = items[:-1]
    packed = pack(tf.constant(histories))
    later = [item for items in rows for item in items[1:]]
    return packed._replace(next_items=tf.constant(later) if has_future else None)


def changed_positions(network, row, place):
    """The positions (row, t) whose vectors change with an item: t predicts item t + 1 of a row."""
    rows = [list(items) for items in ROWS]
    rows[row][place] = 20
    before, after = (network.call_packed(packed_rows(given)).numpy() for given in (ROWS, rows))
    at = [(r, t) for r, items in enumerate(ROWS) for t in range(len(items) - 1)]
    is_same = [left.tobytes() == right.tobytes() for left, right in zip(before, after, strict=True)]
    return {where for where, same in zip(at, is_same, strict=True) if not same}


def test_a_position_reads_all_of_its_row_but_its_target(network):
    for row, items in enumerate(ROWS):
        for place in range(len(items)):
            all_but_target = {(row, t) for t in range(len(items) - 1) if t + 1 != place}
            assert changed_positions(network, row, place) == all_but_target


def test_the_newest_position_has_an_empty_future(network):
    packed = packed_rows()
    whole = network.call_packed(packed)
    newest = tf.gather(whole, tf.cumsum(packed.lengths) - 1)
    histories = np.zeros([3, L], np.int32)
    for place, items in enumerate(ROWS):
        histories[place, L - len(items) + 1 :] = items[:-1]
    np.testing.assert_allclose(network.encode(tf.constant(histories)), newest, atol=1e-6)
    without = network.call_packed(packed_rows(has_future=False)).numpy()
    padded = network(tf.constant(histories)).numpy()
    np.testing.assert_allclose(padded[histories > 0], without, atol=1e-6)


def test_fillers_change_nothing(network):
    packed = packed_rows()
    filled = fill_up(packed, 16)
    assert filled.items.shape == filled.next_items.shape == (16,)
    whole = network.call_packed(packed).numpy()
    np.testing.assert_array_equal(network.call_packed(filled)[: len(whole)], whole)
    assert np.isfinite(network.call_packed(filled)).all()


def test_it_trains_all_weights_and_users_cannot_choose_it(network):
    with tf.GradientTape() as tape:
        vectors = network.call_packed(packed_rows(), training=True)
        loss = tf.reduce_sum(vectors * tf.random.normal(vectors.shape))
    gradients = tape.gradient(loss, network.trainable_variables)
    assert all(np.abs(tf.convert_to_tensor(gradient)).sum() > 0 for gradient in gradients)
    assert Hindsight not in BACKBONES.values()
    copy = network.clone()
    mine, theirs = network.call_packed(packed_rows()), copy.call_packed(packed_rows())
    np.testing.assert_allclose(mine, theirs, atol=1e-5)
