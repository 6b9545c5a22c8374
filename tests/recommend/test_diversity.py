"""Diverse lists and leave-one-out reasons, against their definitions in plain Python."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from ufnrec_tf.common.errors import UserError
from ufnrec_tf.common.tensors import EMPTY_SCORE
from ufnrec_tf.recommend.diversity import diverse_order
from ufnrec_tf.recommend.explain import left_out
from ufnrec_tf.recommend.recommender import Recommender


def by_hand(scores, vectors, k, diversity):
    """Carbonell and Goldstein's greedy choice, with relevance from 0 to 1 among the candidates."""
    places = [n for n in range(len(scores)) if scores[n] > EMPTY_SCORE]
    low, high = min(scores[places]), max(scores[places])
    relevance = (scores - low) / (high - low)
    taken: list[int] = []

    def value(place):
        cosines = [
            vectors[place]
            @ vectors[other]
            / np.linalg.norm(vectors[place])
            / np.linalg.norm(vectors[other])
            for other in taken
        ]
        return (1 - diversity) * relevance[place] - diversity * max(cosines, default=0.0)

    for _ in range(min(k, len(places))):
        taken.append(max((n for n in places if n not in taken), key=lambda n: (value(n), -n)))
    return taken + [n for n in range(len(scores)) if n not in places][: k - len(taken)]


@pytest.mark.parametrize("diversity", [0.0, 0.3, 1.0])
def test_lists_are_chosen_by_maximal_marginal_relevance(diversity):
    rng = np.random.default_rng(0)
    scores = -np.sort(-rng.normal(size=(4, 12)).astype(np.float32) * 7, axis=1)
    scores[1, 5:] = scores[2, 9:] = EMPTY_SCORE
    vectors = rng.normal(size=(4, 12, 3)).astype(np.float32)
    order = diverse_order(scores, vectors, k=8, diversity=diversity)
    for row in range(4):
        assert order[row].tolist() == by_hand(scores[row], vectors[row], 8, diversity)
    assert diversity or (order == np.arange(8)).all()


def test_a_diverse_list_is_less_alike(trained):
    model: Any = Recommender(trained / "export")
    ids = model.items["item_id"].tolist()
    histories = [ids[:3], ids[5:9]]
    plain = model.recommend(histories, top_k=6)
    assert model.recommend(histories, top_k=6, diversity=0).equals(plain)
    likeness = []
    units = model.item_vectors / np.linalg.norm(model.item_vectors, axis=1, keepdims=True)
    for diversity in (0.0, 0.9):
        frame = model.recommend(histories, top_k=6, diversity=diversity)
        assert (frame["item"][[0, 6]] == plain["item"][[0, 6]]).all()
        rows = units[[ids.index(raw) for raw in frame["item"]]]
        likeness.append(sum((part @ part.T).sum() for part in (rows[:6], rows[6:])))
    assert likeness[1] < likeness[0]
    for wrong in (-0.1, 1.5, "much", True, float("nan")):
        with pytest.raises(UserError, match="`diversity` must be a number from 0 to 1"):
            model.recommend(histories, diversity=wrong)


def test_the_items_that_carried_a_recommendation(trained):
    model: Any = Recommender(trained / "export")
    ids = model.items["item_id"].tolist()
    history = [ids[0], ids[4], ids[9], ids[4]]
    found = model.explain(history, ids[20])
    assert sorted(found["item"]) == sorted({*history})
    vectors = model.encode([history, *([h for h in history if h != raw] for raw in found["item"])])
    scores = vectors @ model.item_vectors[20]
    np.testing.assert_allclose(found["drop"], scores[0] - scores[1:], atol=1e-5)
    assert found["drop"].is_monotonic_decreasing
    with pytest.warns(UserWarning, match="1 of 2 item ids are unknown"):
        assert len(model.explain(["nobody", ids[1]], ids[2])) == 1
    for wrong in (([ids[0]], "nobody"), (["nobody"], ids[0]), ([], ids[0]), ()):
        with pytest.raises(UserError, match=r"unknown to the model|no item|is missing"):
            model.explain(*wrong)
    pd.testing.assert_frame_equal(model.explain(history=history, item=ids[20]), found)
    # Several histories, as those of `recommend`; without items the first recommendation of each.
    several = {"a": history, "b": [ids[1]], "c": []}
    firsts = model.recommend(several, top_k=1).set_index("user")["item"]
    reasons = model.explain(several)
    assert list(reasons["user"]) == ["a"] * 3 + ["b"]
    assert list(reasons["explained"]) == [firsts["a"]] * 3 + [firsts["b"]]
    both = model.explain(several, [ids[20], ids[21]], top_k=1)
    assert list(both["user"] + both["explained"]) == [u + ids[n] for u in "ab" for n in (20, 21)]
    assert both["drop"][0] == found["drop"][0]
    assert list(model.explain(history)["explained"]) == [firsts["a"]] * 3


def test_a_left_out_item_makes_place_for_an_older_one():
    items, rows, times = left_out(["a", "b", "c", "b"], 3)
    assert items == ["b", "c"] and times is None
    assert rows == [["b", "c", "b"], ["a", "c"], ["a", "b", "b"]]
    assert left_out(["a", "b", "c", "b"], 3, [1, 2, 3, 4])[1:] == (
        rows,
        [[2, 3, 4], [1, 3], [1, 2, 4]],
    )
    # The time of the request stays.
    assert left_out(["a", "b"], 3, [1, 2, 9]).times == [[1, 2, 9], [1, 9], [2, 9]]
