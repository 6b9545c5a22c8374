"""Metrics against values done by hand and against ir-measures."""

import math
from typing import Any

import ir_measures
import numpy as np
import pytest
from ir_measures import AP, RR, R, Success, nDCG

from ufnrec_tf.common.errors import UserError
from ufnrec_tf.evaluation import metrics
from ufnrec_tf.evaluation.metrics import (
    COMPARED,
    CUTOFFS,
    check_cutoffs,
    choose_metrics,
    metrics_from_ranks,
)

NAMES = [
    *("hr@1", "hr@5", "hr@10", "hr@20"),
    *("ndcg@1", "ndcg@5", "ndcg@10", "ndcg@20"),
    "mrr",
]


def test_values_by_hand():
    values = metrics_from_ranks(np.array([1, 2, 7, 21]))
    assert list(values) == NAMES
    assert [values[f"hr@{k}"] for k in (1, 5, 10, 20)] == [0.25, 0.5, 0.75, 0.75]
    second, seventh = 1 / math.log2(3), 1 / 3  # log2(1 + 7) = 3
    expected = [1 / 4, (1 + second) / 4, (1 + second + seventh) / 4, (1 + second + seventh) / 4]
    assert [values[f"ndcg@{k}"] for k in (1, 5, 10, 20)] == pytest.approx(expected, abs=1e-15)
    assert values["mrr"] == pytest.approx((1 + 1 / 2 + 1 / 7 + 1 / 21) / 4, abs=1e-15)


def test_a_rank_at_the_cutoff_counts_and_one_past_it_does_not():
    assert metrics.hit_rate(np.array([5, 6]), 5).tolist() == [1, 0]
    assert metrics.ndcg(np.array([5, 6]), 5).tolist() == [1 / math.log2(6), 0]
    assert metrics.reciprocal_rank(np.array([5, 6]), 5).tolist() == [0.2, 0]


def test_prefix_and_suffix():
    values = metrics_from_ranks(np.array([3]), prefix="test/", suffix="_uni100")
    assert list(values) == [f"test/{name}_uni100" for name in NAMES]
    assert all(type(value) is float for value in values.values())


def test_a_metric_is_added_by_a_line(monkeypatch):
    monkeypatch.setitem(metrics.METRICS, "miss", lambda ranks, cutoff: ranks > cutoff)
    assert metrics_from_ranks(np.array([1, 8]))["miss@5"] == 0.5


@pytest.mark.parametrize("ranks", [[], [0, 1], [-3], [1.0, 2.0], [[1, 2]]])
def test_values_that_are_no_ranks_are_refused(ranks):
    with pytest.raises(ValueError, match="`ranks` must be"):
        metrics_from_ranks(np.array(ranks))


def test_refuses_a_cutoff_below_one():
    with pytest.raises(ValueError, match="`cutoff` must be"):
        metrics.hit_rate(np.array([1]), 0)


def test_agrees_with_ir_measures():
    """Random scores without ties; ir-measures sorts the run itself and knows no ranks of ours."""
    generator = np.random.default_rng(5)
    num_users, num_items = 60, 40
    scores = generator.permuted(np.tile(np.arange(num_items), (num_users, 1)), axis=1)
    targets = generator.integers(0, num_items, num_users)
    ranks = 1 + (scores > scores[np.arange(num_users), targets][:, None]).sum(axis=1)
    qrels = [ir_measures.Qrel(str(u), str(targets[u]), 1) for u in range(num_users)]
    run = [
        ir_measures.ScoredDoc(str(u), str(i), float(scores[u, i]))
        for u in range(num_users)
        for i in range(num_items)
    ]
    names = {Success @ 1: "hr@1", R @ 5: "hr@5", Success @ 10: "hr@10", R @ 20: "hr@20"}
    names |= {nDCG @ k: f"ndcg@{k}" for k in (1, 5, 10, 20)} | {RR: "mrr"}
    values = metrics_from_ranks(ranks)
    for measure, value in ir_measures.calc_aggregate(list(names), qrels, run).items():
        assert values[names[measure]] == pytest.approx(value, abs=1e-9), measure
    assert len(names) == len(values)


def test_all_metrics_agree_with_ir_measures_also_where_scores_are_equal():
    """ir-measures gets the run in the order that our ties give: against the target."""
    generator = np.random.default_rng(6)
    num_users, num_items, cutoffs = 50, 60, (1, 3, 10, 50)
    scores = generator.integers(0, 9, (num_users, num_items))  # many are equal
    targets = generator.integers(0, num_items, num_users)
    users = np.arange(num_users)
    own = scores[users, targets][:, None]
    ranks = (scores >= own).sum(axis=1)  # the target itself is one of them
    assert len(np.unique(ranks)) > 10 and (ranks > 1 + (scores > own).sum(axis=1)).any()
    order = scores + 0.5
    order[users, targets] -= 0.25  # after all that have its score
    qrels = [ir_measures.Qrel(str(u), str(targets[u]), 1) for u in users]
    run = [
        ir_measures.ScoredDoc(str(u), str(i), float(order[u, i]))
        for u in users
        for i in range(num_items)
    ]
    names: dict[Any, str] = {RR: "mrr"}
    for k in cutoffs:
        names |= {Success @ k: f"hr@{k}", R @ k: f"recall@{k}", nDCG @ k: f"ndcg@{k}"}
        names |= {AP @ k: f"map@{k}"}
    chosen = choose_metrics(("recall", "map", "hr", "ndcg", "mrr"), cutoffs)
    values = metrics_from_ranks(ranks, chosen=chosen)
    assert set(values) == set(names.values())
    for measure, value in ir_measures.calc_aggregate(list(names), qrels, run).items():
        assert values[names[measure]] == pytest.approx(value, abs=1e-9), measure


# ---- metrics, cutoffs and a metric of one's own

OWN = """
import numpy as np


def first(ranks):
    return ranks == 1


def share(ranks, cutoff):
    return np.minimum(ranks, cutoff) / cutoff


class Log:
    name = "log_rank"

    def __call__(self, ranks):
        return np.log(ranks)


def three(ranks, cutoff, more):
    return ranks


def mean(ranks):
    return ranks / ranks.max()


def one(ranks):
    return float(ranks.mean())


def texts(ranks):
    return [str(rank) for rank in ranks]


def infinite(ranks):
    return 1 / (ranks - 5)


def raises(ranks):
    return ranks.nothing


def hr(ranks):
    return ranks


class NeedsMore:
    def __init__(self, more):
        pass
"""


def test_default_metrics_are_those_of_before():
    chosen = choose_metrics()
    assert list(chosen.names) == NAMES and chosen.compared("hr@20") == COMPARED
    assert metrics_from_ranks(np.array([3, 8]), chosen=chosen) == metrics_from_ranks(
        np.array([3, 8])
    )


def test_what_tables_read_is_always_computed():
    chosen = choose_metrics(("recall", "map"), (5, 50))
    assert chosen.names == ("recall@5", "recall@50", "map@5", "map@50", *COMPARED)
    assert chosen.compared("ndcg@10") == (*COMPARED, "recall@50", "map@50")
    assert choose_metrics(("hr",), (5, 50)).compared("hr@50") == (*COMPARED, "hr@50")
    values = metrics_from_ranks(np.array([2, 40]), chosen=chosen)
    assert values["recall@50"] == 1.0 and values["map@50"] == (1 / 2 + 1 / 40) / 2
    assert values["map@5"] == 0.25 and values["hr@10"] == 0.5


def test_a_metric_of_ones_own(write):
    path = write(OWN, "mine.py")
    names = ("hr", f"{path}:first", f"{path}:share", f"{path}:Log")
    chosen = choose_metrics(names, (2, 10))
    own = ("first", "share@2", "share@10", "log_rank")
    assert chosen.names == ("hr@2", "hr@10", *own, "ndcg@10", "mrr")
    assert chosen.compared() == (*COMPARED, "first", "share@10", "log_rank")
    values = metrics_from_ranks(np.array([1, 5]), chosen=chosen)
    assert [values[name] for name in ("first", "share@2", "share@10")] == [0.5, 0.75, 0.3]
    assert values["log_rank"] == pytest.approx(math.log(5) / 2)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere.py:first", "`evaluation.metrics`: nowhere.py: no such file"),
        ("mine.py", "must be path/to/file.py:name"),
        ("MINE:furst", "has no metric of the name 'furst'.*Did you mean 'first'"),
        ("MINE:three", "three must take ranks, or ranks and a cutoff"),
        ("MINE:mean", "mean must give each rank a value that depends on no other rank"),
        ("MINE:one", r"one must return a number for each of 12 ranks. It returned float64 \(\)"),
        ("MINE:texts", "texts must return a number for each"),
        ("MINE:infinite", "infinite must be finite. It is inf"),
        ("MINE:raises", r"mine.py, line 41: does not run \(AttributeError"),
        ("MINE:hr", "there is a metric 'hr' already"),
        ("MINE:NeedsMore", r"does not run \(TypeError.*more"),
        ("ndgc", "`evaluation.metrics` must be one of .*recall.*Did you mean 'ndcg'"),
        (7, "`evaluation.metrics` must be names"),
    ],
)
def test_wrong_metrics_are_explained_in_one_line(write, name, message):
    path = write(OWN, "mine.py")
    text = name.replace("MINE", str(path)) if isinstance(name, str) else name
    with pytest.raises(UserError, match=message) as caught:
        choose_metrics(("hr", text))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("cutoffs", [(), (0,), (5, -1), ("10",), (True,), (1.5,)])
def test_wrong_cutoffs(cutoffs):
    with pytest.raises(UserError, match=r"`evaluation\.cutoffs` must be whole numbers from 1"):
        choose_metrics(cutoffs=cutoffs)


def test_cutoffs_above_the_number_of_items():
    check_cutoffs(CUTOFFS, 3)  # the default is for any data
    check_cutoffs((40,), 40)
    with pytest.raises(UserError, match=r"above the number of items, 40\. Received: 50"):
        check_cutoffs((5, 50), 40)
