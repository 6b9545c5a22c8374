"""Metrics against values done by hand and against ir-measures."""

import math

import ir_measures
import numpy as np
import pytest
from ir_measures import RR, R, Success, nDCG

from ufnrec_tf.evaluation import metrics
from ufnrec_tf.evaluation.metrics import metrics_from_ranks

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
