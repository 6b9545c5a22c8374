"""Baselines by hand on a log of five users, and against plain loops on random ones."""

import numpy as np
import pandas as pd
import pytest

from tests.helpers.logs import build_interactions
from ufnrec_tf.data.splits import Split, leave_one_out
from ufnrec_tf.data.synthetic.planted import planted
from ufnrec_tf.evaluation.baselines import (
    BASELINES,
    ItemKNN,
    LastItemMarkov,
    Popularity,
    baseline_ranks,
)

# Train part | validation, test. Ids in order of appearance: a=1, b=2, c=3, d=4, e=5.
LOG = {
    "u0": "ab" + "cd",
    "u1": "abc" + "ed",
    "u2": "ac" + "ba",
    "u3": "bc",  # trains only
    "u4": "ab" + "de",
}
EMPTY = np.zeros(0, np.int32)


def make_split(log: dict[str, str]) -> Split:
    pairs = [(user, item) for user, items in log.items() for item in items]
    frame = pd.DataFrame(pairs, columns=["user", "item"])
    return leave_one_out(build_interactions(frame, sha256="", source="test"))


def test_popularity_by_hand():
    model = Popularity().fit(make_split(LOG))
    # Train: a 4 times, b 4, c 3; d and e are held out only.
    assert model.scores([np.array([1]), EMPTY])[:, 1:].tolist() == [[4, 4, 3, 0, 0]] * 2


def test_markov_by_hand():
    model = LastItemMarkov().fit(make_split(LOG))
    scores = model.scores([np.array([3, 1]), np.array([2]), np.array([5]), EMPTY])
    # a: b 3 times, c once. b: c twice. e and nothing: popularity alone.
    assert np.floor(scores[:, 1:]).tolist() == [
        [0, 3, 1, 0, 0],
        [0, 0, 2, 0, 0],
        [0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0],
    ]
    np.testing.assert_allclose(scores[2, 1:], np.array([4, 4, 3, 0, 0]) / 5, rtol=1e-6)
    assert scores.dtype == np.float32 and np.array_equal(scores[2], scores[3])


def test_markov_does_not_join_users_or_heldout_events():
    model = LastItemMarkov().fit(make_split({"u0": "abcde", "u1": "dabce"}))
    scores = np.floor(model.scores([np.array([i]) for i in range(1, 6)])[:, 1:])
    # Train: a b c | d a b: nothing follows c, whose next event is another user's or held out.
    assert scores.astype(int).tolist() == [
        [0, 2, 0, 0, 0],
        [0, 0, 1, 0, 0],
        [0, 0, 0, 0, 0],
        [1, 0, 0, 0, 0],
        [0, 0, 0, 0, 0],
    ]


def test_item_knn_by_hand():
    model = ItemKNN().fit(make_split(LOG))
    # Users: a 0124, b 0134, c 123. cos(a,b) = 3/4; cos(a,c) = 2/sqrt(12) = cos(b,c).
    ab, ac = 3 / 4, 2 / np.sqrt(12)
    scores = model.scores([np.array([1]), np.array([1, 2]), np.array([4]), EMPTY])
    np.testing.assert_allclose(
        scores[:, 1:],
        [[0, ab, ac, 0, 0], [ab, ab, 2 * ac, 0, 0], [0] * 5, [0] * 5],
        atol=2e-6,
    )
    assert scores[3, 1] == scores[3, 2] > scores[3, 3] > scores[3, 4]  # popularity breaks ties


def test_item_knn_limits():
    split = make_split(LOG)
    nearest = ItemKNN(num_neighbors=1).fit(split).scores([np.array([1])])
    np.testing.assert_allclose(nearest[0, 1:], [0, 3 / 4, 0, 0, 0], atol=2e-6)
    last = ItemKNN(num_last=1).fit(split)
    assert np.array_equal(last.scores([np.array([2, 3, 1])]), last.scores([np.array([1])]))
    with pytest.raises(ValueError, match="`num_last` must be a positive integer"):
        ItemKNN(num_last=0)
    with pytest.raises(ValueError, match="`num_neighbors` must be a positive integer"):
        ItemKNN(num_neighbors=0)


def test_item_knn_against_dense_cosines_and_any_block_size(monkeypatch):
    split = leave_one_out(planted(num_users=80, num_items=60, mean_length=10).interactions)
    log = split.interactions
    taken = np.zeros((80, 61))
    for user in range(80):
        taken[user, log.items[log.offsets[user] : split.train_ends[user]]] = 1
    norms = np.maximum(np.sqrt(taken.sum(axis=0)), 1)
    cosines = taken.T @ taken / norms / norms[:, None]
    np.fill_diagonal(cosines, 0)
    histories = [log.items[log.offsets[user] :][:5] for user in range(80)]
    expected = np.array([cosines[history].sum(axis=0) for history in histories])
    whole = ItemKNN().fit(split).scores(histories)
    np.testing.assert_allclose(whole, expected, atol=3e-6)
    monkeypatch.setattr("ufnrec_tf.evaluation.baselines._MAX_MEETINGS", 50)
    assert np.array_equal(ItemKNN().fit(split).scores(histories), whole)


class Fixed:
    """Scores every history alike."""

    def __init__(self, *scores: float) -> None:
        self.row = np.array([99, *scores], np.float32)  # padding would win if it could

    def fit(self, split):
        return self

    def scores(self, histories):
        return np.tile(self.row, (len(histories), 1))


def test_ranks_by_hand():
    split = make_split(LOG)
    assert split.users("test").tolist() == [0, 1, 2, 4]
    model = Fixed(5, 4, 3, 2, 2)
    # Test targets d, d, a, e; histories abc, abce, acb, abd; d and e tie.
    assert baseline_ranks(model, split, "test", mask="none").tolist() == [5, 5, 1, 5]
    # u0: only d, e are left and tie. u1: only d. u2: its target is seen: the worst. u4: c, e.
    assert baseline_ranks(model, split, "test").tolist() == [2, 1, 5, 2]
    # Train alone hides: u0 ab, u1 abc, u2 ac, u4 ab.
    assert baseline_ranks(model, split, "test", mask="train").tolist() == [3, 2, 5, 3]
    # Validation targets c, e, b, d; train ab, abc, ac, ab.
    assert baseline_ranks(model, split, "validation").tolist() == [1, 2, 1, 3]


def test_ranks_do_not_depend_on_the_chunk():
    split = leave_one_out(planted(num_users=70, num_items=90, mean_length=10).interactions)
    for make in BASELINES.values():
        model = make().fit(split)
        whole = baseline_ranks(model, split, "test")
        assert whole.dtype == np.int64 and whole.min() >= 1 and whole.max() <= 90
        assert np.array_equal(whole, baseline_ranks(model, split, "test", chunk=3))


def test_taste_and_order_beat_popularity():
    split = leave_one_out(planted(num_users=1000, num_items=400).interactions)
    hits = {
        name: (baseline_ranks(make().fit(split), split, "test") <= 10).mean()
        for name, make in BASELINES.items()
    }
    assert hits["markov"] > 1.5 * hits["popularity"]
    assert hits["itemknn"] > 1.5 * hits["popularity"]


def test_bad_arguments_are_refused():
    split = make_split(LOG)
    with pytest.raises(ValueError, match="`mask` must be one of seen, train, none"):
        baseline_ranks(Fixed(1, 1, 1, 1, 1), split, "test", mask="all")
    with pytest.raises(ValueError, match="`chunk` must be a positive integer"):
        baseline_ranks(Fixed(1, 1, 1, 1, 1), split, "test", chunk=0)
    with pytest.raises(ValueError, match="NaN"):
        baseline_ranks(Fixed(1, np.nan, 1, 1, 1), split, "test")
