"""The retriever before it is exported: ties, empty input, and what it refuses to be built from."""

import math
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.serving import (
    ITEM_IDS,
    LENGTH,
    NUM_ITEMS,
    WIDTH,
    FakeBackbone,
    assert_same_ranking,
    brute_force,
    brute_forces,
    make_backbone,
    pad,
    random_histories,
)
from ufnrec_tf.export.retriever import Retriever


def test_ties_go_to_the_lower_internal_id():
    retriever = Retriever(make_backbone("tied"), ITEM_IDS, max_length=LENGTH, mask_seen=False)
    answer = retriever.recommend(tf.constant([["i9", "i20"]]), NUM_ITEMS)
    order = {raw: n for n, raw in enumerate(ITEM_IDS)}
    internal = [order[raw.decode()] for raw in answer["item_ids"][0].numpy()]
    for start in range(0, NUM_ITEMS, 3):
        three = internal[start : start + 3]
        assert three == list(range(three[0], three[0] + 3))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["fake", "authors", "corrected", "input_residual"])
def test_empty_batch_and_empty_history(kind):
    retriever = Retriever(make_backbone(kind), ITEM_IDS, max_length=LENGTH)
    for shape in ([0, 0], [0, 4], [2, 0], [2, 3]):
        empty = tf.fill(shape, "")
        assert retriever.serve(empty)["item_ids"].shape == (shape[0], 10)
        assert retriever.recommend(empty, 3)["scores"].shape == (shape[0], 3)
        assert retriever.encode(empty)["vectors"].shape == (shape[0], WIDTH)
    answer = retriever.serve(tf.constant([["", ""], ["unknown", ""]]))
    np.testing.assert_array_equal(answer["scores"][0], answer["scores"][1])
    assert (answer["item_ids"].numpy() != b"").all()


EVENTS = np.array([9, *(7 * n % 5 for n in range(NUM_ITEMS))], np.int64)
"""0 to 4, each six times; padding has some, which count for nothing."""


def most_popular(leaving_out=()):
    """(score, id) of the items with the most events, by hand: share of 30 items with 60 events."""
    order = sorted(range(1, NUM_ITEMS + 1), key=lambda n: (-EVENTS[n], n))
    scores = {count: math.log((count + 1) / 90) for count in range(5)}
    found = [(scores[EVENTS[n]], ITEM_IDS[n]) for n in order]
    return [(score, raw) for score, raw in found if raw not in leaving_out]


def test_a_history_of_nothing_known_gets_what_is_popular():
    retriever = Retriever(FakeBackbone(), ITEM_IDS, max_length=LENGTH, events=EVENTS)
    rows = tf.constant([["", ""], ["unknown", "I7"], ["", "i7"], ["i7", "nobody"]])
    for answer, k in ((retriever.serve(rows), 10), (retriever.recommend(rows, 40), 40)):
        ids, scores = answer["item_ids"].numpy(), answer["scores"].numpy()
        for row in (0, 1):
            assert_same_ranking(most_popular()[:k], ids[row], scores[row])
        for row in (2, 3):
            assert_same_ranking(brute_force(FakeBackbone(), ["i7"], k), ids[row], scores[row])
    # Equal counts by lower internal id: those of 4 events are items 3, 8, 13, ...
    ids = [raw.decode() for raw in retriever.serve(rows)["item_ids"].numpy()[0]]
    assert ids[:6] == [ITEM_IDS[n] for n in range(1, NUM_ITEMS + 1) if EVENTS[n] == 4]
    for shape in ([2, 0], [0, 3]):
        assert retriever.serve(tf.fill(shape, ""))["scores"].shape == (shape[0], 10)
    lists = tf.constant([["i9", ids[0], ""]]), tf.constant([[""]])
    filtered = retriever.recommend_filtered(tf.constant([[""]]), 40, *lists)
    expected = most_popular(leaving_out={"i9", ids[0]})
    assert_same_ranking(expected, filtered["item_ids"].numpy()[0], filtered["scores"].numpy()[0])


def test_a_model_that_breaks_on_an_empty_window_may_still_answer_by_popularity():
    class Breaking(FakeBackbone):
        def encode(self, histories, training=False):
            vectors = super().encode(histories, training=training)
            return tf.where(tf.reduce_any(histories > 0, axis=1)[:, None], vectors, np.nan)

    empty = tf.constant([["", "i7"], ["", ""]])
    retriever = Retriever(Breaking(), ITEM_IDS, max_length=LENGTH, events=EVENTS)
    ids = retriever.serve(empty)["item_ids"][1].numpy()
    assert [raw.decode() for raw in ids] == [raw for _, raw in most_popular()[:10]]
    retriever = Retriever(Breaking(), ITEM_IDS, max_length=LENGTH)
    with pytest.raises(tf.errors.InvalidArgumentError, match="not finite"):
        retriever.serve(empty)


@pytest.mark.parametrize("mask_seen", [True, False])
def test_lists_of_items_to_exclude_and_to_allow(mask_seen):
    backbone = FakeBackbone()
    retriever = Retriever(backbone, ITEM_IDS, max_length=LENGTH, mask_seen=mask_seen)
    rng = np.random.default_rng(1)
    histories = [["i7", *history] for history in random_histories(30, 9)]
    pool = [*ITEM_IDS[1:], "unknown", "", "I7"]
    excluded = [list(rng.choice(pool, size=rng.integers(1, 9))) for _ in histories]
    allowed = [list(rng.choice(pool, size=rng.integers(1, 25))) for _ in histories]
    allowed[:4] = [["", ""], ["unknown", ""], ["i7"], ["i20", "i20", "i21"]]
    excluded[2:4] = [[""], ["i21"]]
    answer = retriever.recommend_filtered(
        *(tf.constant(pad(histories)), 12, tf.constant(pad(excluded)), tf.constant(pad(allowed)))
    )
    ids, scores = answer["item_ids"].numpy(), answer["scores"].numpy()
    lengths = []
    everything = brute_forces(backbone, histories, NUM_ITEMS, mask_seen=mask_seen)
    for row, ranked in enumerate(everything):
        left = [
            (score, raw)
            for score, raw in ranked
            if raw not in excluded[row] and (raw in allowed[row] or not any(allowed[row]))
        ]
        assert_same_ranking(left[:12], ids[row], scores[row])
        lengths.append(len(left))
    assert lengths[1] == 0  # unknown ids alone
    assert lengths[2] == (0 if mask_seen else 1)  # allowed, but seen
    assert lengths[3] <= 1
    assert max(lengths) > 12 > min(lengths[4:])


def test_empty_lists_are_no_filter():
    retriever = Retriever(FakeBackbone(), ITEM_IDS, max_length=LENGTH)
    rows = tf.constant(pad(random_histories(5, 9)))
    expected = retriever.recommend(rows, 7)
    for lists in ((tf.fill([5, 0], ""), tf.fill([5, 0], "")), (tf.fill([5, 3], ""), rows[:, :0])):
        answer = retriever.recommend_filtered(rows, 7, *lists)
        np.testing.assert_array_equal(answer["item_ids"], expected["item_ids"])
        np.testing.assert_array_equal(answer["scores"], expected["scores"])
    none = tf.fill([0, 2], "")
    assert retriever.recommend_filtered(none, 7, none, none)["item_ids"].shape == (0, 7)


@pytest.mark.parametrize("name", ["exclude_ids", "allow_ids"])
def test_a_list_for_each_history(name):
    """One row for all of a batch would silently filter by the wrong user's list."""
    retriever = Retriever(FakeBackbone(), ITEM_IDS, max_length=LENGTH)
    rows = {"item_ids": 2, "exclude_ids": 2, "allow_ids": 2, name: 1}
    inputs = {key: tf.fill([count, 1], "i7") for key, count in rows.items()}
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"`{name}` must have a row"):
        retriever.recommend_filtered(k=tf.constant(3), **inputs)


def test_events_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="`events` must have 31 rows"):
        Retriever(FakeBackbone(), ITEM_IDS, max_length=LENGTH, events=EVENTS[1:])


@pytest.mark.parametrize(
    "ids, message",
    [
        (ITEM_IDS[1:], "begin with"),
        (np.array([""], dtype=object), "an item or more"),
        (np.array([*ITEM_IDS[:-1], ""], dtype=object), "only at 0"),
        (np.array([*ITEM_IDS[:-1], "i7"], dtype=object), "unique"),
        (ITEM_IDS[:-1], "one id a row"),
    ],
)
def test_vocabulary_that_does_not_fit_is_refused(ids, message):
    with pytest.raises(ValueError, match=message):
        Retriever(FakeBackbone(), ids, max_length=LENGTH)


@pytest.mark.parametrize("name", ["max_length", "default_k"])
def test_numbers_below_one_are_refused(name):
    settings: dict[str, Any] = {"max_length": LENGTH, name: 0}
    with pytest.raises(ValueError, match=f"`{name}` must be a positive integer"):
        Retriever(FakeBackbone(), ITEM_IDS, **settings)


@pytest.mark.parametrize("lists", [False, True])
def test_similar_items_are_those_of_the_highest_cosine(lists):
    backbone = FakeBackbone()
    retriever = Retriever(backbone, ITEM_IDS, max_length=LENGTH)
    vectors = np.asarray(backbone.item_embeddings(), np.float64)[1:]
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    asked = ["i7", "nobody", "a,b", ""]
    exclude, allow = [["i8", "i30"], ["i8"], [""], [""]], [[""], ["i9"], ["i9", "i20", "x"], [""]]
    if lists:
        rows = map(tf.constant, (pad(exclude), pad(allow)))
        answer = retriever.similar_filtered(tf.constant(asked), 40, *rows)
    else:
        answer = retriever.similar(tf.constant(asked), 40)
    assert answer["is_known"].numpy().tolist() == [True, False, True, False]
    for row, raw in enumerate(asked):
        ranked = []
        if raw in ITEM_IDS[1:]:
            cosines = units @ units[ITEM_IDS[1:].tolist().index(raw)]
            ranked = sorted(zip(-cosines, ITEM_IDS[1:], strict=True))
        left = [
            (-cosine, other)
            for cosine, other in ranked
            if other != raw
            and not (lists and other in exclude[row])
            and (not lists or allow[row] == [""] or other in allow[row])
        ]
        assert_same_ranking(left, answer["item_ids"].numpy()[row], answer["scores"].numpy()[row])
