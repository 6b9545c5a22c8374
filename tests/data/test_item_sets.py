"""Work on many users' events, a part at a time: the same as all at once."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.tiny import split_of, tiny_histories
from ufnrec_tf.common.tensors import shared_constant
from ufnrec_tf.data import item_sets
from ufnrec_tf.data.item_sets import distinct_items
from ufnrec_tf.data.splits import seen_train_items, train_counts
from ufnrec_tf.evaluation.baselines import LastItemMarkov


@pytest.fixture(params=[1, 5, 1000])
def parts(request, monkeypatch):
    monkeypatch.setattr(item_sets, "CHUNK_EVENTS", request.param)


def test_chunks_by_hand(monkeypatch):
    monkeypatch.setattr(item_sets, "CHUNK_EVENTS", 5)
    lengths = np.array([2, 3, 0, 9, 1, 0, 4])
    found = [(chunk.start, chunk.stop) for chunk in item_sets.chunks_of(lengths)]
    assert found == [(0, 3), (3, 4), (4, 7)]
    assert list(item_sets.chunks_of(np.zeros(0, np.int64))) == []


def test_distinct_items_of_ranges(parts):
    items = np.array([3, 1, 3, 2, 2, 2, 5, 1])
    starts, ends = np.array([0, 3, 3, 6]), np.array([3, 3, 6, 8])
    found = distinct_items(items, starts, ends, num_items=5)
    assert found.offsets.tolist() == [0, 2, 2, 3, 5]
    assert found.items.tolist() == [1, 3, 2, 1, 5]
    assert found.rows.tolist() == [0, 0, 2, 3, 3]
    more = distinct_items(items, starts, ends, num_items=5, extra=np.array([3, 4, 1, 2]))
    assert more.items.tolist() == [1, 3, 4, 1, 2, 1, 2, 5]
    assert more.offsets.tolist() == [0, 2, 3, 5, 8]


def test_first_events_with_an_item_are_the_distinct_items_of_each_prefix(parts):
    items, offsets = np.array([3, 1, 3, 2, 2, 2, 5, 1, 2]), np.array([0, 3, 3, 6, 9])
    is_first = item_sets.is_first_in_range(items, offsets, num_items=5)
    assert np.flatnonzero(~is_first).tolist() == [2, 4, 5]
    starts, ends = offsets[:-1], np.array([2, 3, 4, 9])
    prefixes = [slice(*bounds) for bounds in zip(starts, ends, strict=True)]
    expected = distinct_items(items, starts, ends, num_items=5).items.tolist()
    found = [sorted(items[prefix][is_first[prefix]].tolist()) for prefix in prefixes]
    assert [item for prefix in found for item in prefix] == expected
    has = item_sets.contains(items, starts, ends, np.array([3, 3, 5, 2]))
    assert has.tolist() == [True, False, False, True]


def test_an_array_is_one_tensor_while_somebody_holds_it():
    array = np.arange(5)
    first = shared_constant(array, tf.int32)
    assert shared_constant(array, tf.int32) is first and first.dtype == tf.int32
    assert shared_constant(array, tf.int64) is not first
    assert shared_constant(array.copy(), tf.int32) is not first
    del first
    assert shared_constant(array, tf.int32).numpy().tolist() == [0, 1, 2, 3, 4]


def test_train_items_and_events(parts):
    histories = [[4, 4, 2, 2, 1, 3], [1], [], [5, 3, 5, 5]]
    split = split_of(histories, 5)
    offsets, items = seen_train_items(split)
    assert [items[b:e].tolist() for b, e in itertools.pairwise(offsets)] == [
        [2, 4], [1], [], [3, 5],
    ]  # fmt: skip
    assert split.is_train.tolist() == [True] * 4 + [False] * 2 + [True] * 3 + [False] * 2
    assert split.num_train_events == 7
    assert train_counts(split).tolist() == [0, 1, 2, 1, 2, 1]


def test_transitions_of_the_markov_baseline(parts):
    split = split_of(tiny_histories(num_users=40), 15)
    log = split.interactions
    expected = np.zeros((16, 16))
    for begin, end in zip(log.offsets[:-1], split.train_ends, strict=True):
        np.add.at(expected, (log.items[begin : end - 1], log.items[begin + 1 : end]), 1)
    model = LastItemMarkov().fit(split)
    scores = model.scores([np.array([item]) for item in range(1, 16)])
    np.testing.assert_array_equal(np.floor(scores), expected[1:])
