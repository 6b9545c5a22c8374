"""The retriever before it is exported: ties, empty input, and what it refuses to be built from."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.serving import ITEM_IDS, LENGTH, NUM_ITEMS, WIDTH, FakeBackbone, make_backbone
from ufnrec_tf.retriever import Retriever


def test_ties_go_to_the_lower_internal_id():
    retriever = Retriever(make_backbone("tied"), ITEM_IDS, max_length=LENGTH, mask_seen=False)
    answer = retriever.recommend(tf.constant([["i9", "i20"]]), NUM_ITEMS)
    order = {raw: n for n, raw in enumerate(ITEM_IDS)}
    internal = [order[raw.decode()] for raw in answer["item_ids"][0].numpy()]
    for start in range(0, NUM_ITEMS, 3):
        three = internal[start : start + 3]
        assert three == list(range(three[0], three[0] + 3))


@pytest.mark.parametrize("kind", ["fake", "authors", "corrected"])
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


@pytest.mark.parametrize(
    "ids, message",
    [
        (ITEM_IDS[1:], "begin with"),
        (np.array([""], dtype=object), "an item or more"),
        (np.array([*ITEM_IDS[:-1], ""], dtype=object), "at 0 alone"),
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
