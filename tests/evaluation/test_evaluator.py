"""Full-catalogue ranks against a double loop, by hand, and against ir-measures."""

import gc
import json
import math
import weakref

import ir_measures
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from ir_measures import RR, Success, nDCG
from scipy import stats

from tests.helpers.logs import build_interactions
from ufnrec_tf.data.interactions import Interactions
from ufnrec_tf.data.item_sets import distinct_items, draw_outside
from ufnrec_tf.data.splits import leave_one_out
from ufnrec_tf.evaluation import evaluator as evaluation
from ufnrec_tf.evaluation.evaluator import NotFiniteError, RankingEvaluator
from ufnrec_tf.evaluation.protocol import heldout_targets_lines

LENGTH = 4


class FixedBackbone:
    """Scores by tables of the newest item and of items, and keeps the histories that it read."""

    def __init__(self, vectors, embeddings):
        self.vectors = tf.Variable(vectors, dtype=tf.float32)
        self.embeddings = tf.Variable(embeddings, dtype=tf.float32)
        self.num_traces = 0

    def encode(self, histories, training=False):
        assert not training
        assert histories.dtype == tf.int32
        self.num_traces += 1
        # The padded columns count too, so that a wrong window cannot go unseen.
        weights = tf.range(1.0, histories.shape[1] + 1)
        return tf.einsum("bld,l->bd", tf.gather(self.vectors, histories), weights)

    def item_embeddings(self):
        return tf.convert_to_tensor(self.embeddings)


def make_split(histories):
    """Histories of internal ids, as they are: the ids keep their numbers."""
    num_items = max(max(history) for history in histories)
    items = np.concatenate(histories).astype(np.int32)
    offsets = np.cumsum([0, *map(len, histories)]).astype(np.int64)
    return leave_one_out(
        Interactions(
            items=items,
            offsets=offsets,
            timestamps=None,
            user_ids=np.array([f"u{u}" for u in range(len(histories))], object),
            item_ids=np.array(["", *(f"i{i}" for i in range(1, num_items + 1))], object),
            sha256="",
            source="test",
            num_repeats=0,
        )
    )


def random_split(seed, *, num_users=37, num_items=23, repeats=True):
    generator = np.random.default_rng(seed)
    histories = [
        generator.choice(np.arange(1, num_items + 1), length, replace=repeats)
        for length in generator.integers(1, 12, num_users)
    ]
    return make_split([*histories, [1, num_items, 2]])


def random_backbone(seed, num_items, *, width=6, integers=False):
    """With integer weights every score is exact, so that ties are ties in any order of sums."""
    generator = np.random.default_rng(seed)
    shape = (num_items + 1, width)
    draw = (
        (lambda: generator.integers(-1, 2, shape))
        if integers
        else lambda: generator.normal(size=shape)
    )
    return FixedBackbone(draw(), draw())


def naive_scores(backbone, split, part):
    """float64 [M, V + 1], in a loop."""
    data, rows = split.interactions, []
    for user in split.users("test"):
        events = data.items[data.offsets[user] : data.offsets[user + 1]]
        history = events[: len(events) - (2 if part == "validation" else 1)][-LENGTH:]
        window = [0] * (LENGTH - len(history)) + list(history)
        vectors = backbone.vectors.numpy().astype(np.float64)
        vector = sum((j + 1) * vectors[item] for j, item in enumerate(window))
        rows.append(backbone.embeddings.numpy().astype(np.float64) @ vector)
    return np.array(rows)


def naive_ranks(backbone, split, part, mask):
    """Double loop over users and items, from the definition."""
    data, ranks = split.interactions, []
    scores = naive_scores(backbone, split, part)
    for row, user in enumerate(split.users("test")):
        events = list(data.items[data.offsets[user] : data.offsets[user + 1]])
        target = events[-2] if part == "validation" else events[-1]
        history = events[:-2] if part == "validation" else events[:-1]
        hidden = {"seen": set(history), "train": set(events[:-2]), "none": set()}[mask]
        rank = 1
        for item in range(1, data.num_items + 1):
            if item not in hidden and item != target and scores[row, item] >= scores[row, target]:
                rank += 1
        ranks.append(data.num_items if target in hidden else rank)
    return np.array(ranks)


@pytest.mark.parametrize("part", ["validation", "test"])
@pytest.mark.parametrize("mask", ["seen", "train", "none"])
@pytest.mark.parametrize("integers", [True, False])
def test_ranks_equal_a_double_loop(part, mask, integers):
    """Repeats, ties, masked targets, one-item histories and a last chunk that is not full."""
    split = random_split(1)
    backbone = random_backbone(2, split.interactions.num_items, integers=integers)
    evaluator = RankingEvaluator(split, part, max_length=LENGTH, mask=mask, batch_size=8)
    assert len(split.users("test")) % 8
    ranks = evaluator.ranks(backbone)
    assert ranks.dtype == np.int64
    np.testing.assert_array_equal(ranks, naive_ranks(backbone, split, part, mask))
    assert (evaluator.num_masked_targets > 0) == (mask != "none")


def test_the_chunk_size_changes_nothing(monkeypatch):
    split = random_split(3)
    backbone = random_backbone(4, split.interactions.num_items, integers=True)

    def ranks(**settings):
        return RankingEvaluator(split, max_length=LENGTH, **settings).ranks(backbone)

    expected = ranks()
    for batch_size in (1, 7, 1000):
        np.testing.assert_array_equal(ranks(batch_size=batch_size), expected)
    monkeypatch.setattr(evaluation, "_MAX_CHUNK_SCORES", 50)  # chunks of 2 users
    np.testing.assert_array_equal(ranks(), expected)


def one_user(history, scores, **settings):
    """An evaluator of one user, and a backbone that gives items 1.. these scores."""
    # Users of two events train only: every item occurs, and one user is evaluated.
    others = set(range(1, len(scores) + 1)) - set(history)
    split = make_split([history, [1, 1], *([item, item] for item in others)])
    vectors = np.ones([len(scores) + 1, 1])
    vectors[0] = 0  # the window's weights then add up to a positive factor
    backbone = FixedBackbone(vectors, [[9e9], *([score] for score in scores)])
    return RankingEvaluator(split, max_length=LENGTH, **settings), backbone


def test_ranks_by_hand():
    # Items            1  2  3  4  5  6: train 1, 2; validation 3; test 5.
    scores, history = [6, 5, 1, 2, 3, 4], [1, 2, 3, 5]
    evaluator, backbone = one_user(history, scores)
    assert evaluator.ranks(backbone).tolist() == [4]  # 4, 5 and 6 are above item 3
    for mask, rank in (("seen", 2), ("train", 2), ("none", 4)):
        evaluator, backbone = one_user(history, scores, part="test", mask=mask)
        assert evaluator.ranks(backbone).tolist() == [rank], mask
    # The validation item, masked at test only where it is "seen".
    scores = [6, 5, 9, 2, 3, 4]
    for mask, rank in (("seen", 2), ("train", 3), ("none", 5)):
        evaluator, backbone = one_user(history, scores, part="test", mask=mask)
        assert evaluator.ranks(backbone).tolist() == [rank], mask


def test_ties_count_against_the_target():
    split = random_split(6, num_items=13)
    constant = FixedBackbone(np.ones([14, 3]), np.ones([14, 3]))
    ranks = RankingEvaluator(split, max_length=LENGTH, mask="none").ranks(constant)
    assert set(ranks) == {13}
    evaluator, backbone = one_user([1, 2, 3, 5], [6, 5, 2, 2, 3, 2])
    assert evaluator.ranks(backbone).tolist() == [4]


def test_equal_embeddings_tie_whatever_their_column():
    """A kernel that summed its last columns in another order would break ties at real sizes."""
    num_items = 12101
    split = make_split([[7, 8, item] for item in (1, 6000, 12100, num_items)])
    row = np.random.default_rng(0).normal(size=[1, 50])
    backbone = FixedBackbone(np.repeat(row, num_items + 1, 0), np.repeat(row, num_items + 1, 0))
    ranks = RankingEvaluator(split, "test", max_length=LENGTH).ranks(backbone)
    assert ranks.tolist() == [num_items - 2] * 4


def test_a_masked_target_has_the_worst_rank_and_a_repeat_can_be_scored():
    history, scores = [2, 1, 3, 2], [1, 9, 2, 3, 4]
    evaluator, backbone = one_user(history, scores, part="test")
    assert evaluator.ranks(backbone).tolist() == [5]
    assert evaluator.num_masked_targets == 1
    assert evaluator.protocol()["masked_targets"] == 1
    evaluator, backbone = one_user(history, scores, part="test", mask="none")
    assert evaluator.ranks(backbone).tolist() == [1]
    assert evaluator.num_masked_targets == 0


def test_repeats_in_a_history_are_taken_away_once():
    evaluator, backbone = one_user([1, 1, 1, 3, 4], [9, 5, 3, 1])
    assert evaluator.ranks(backbone).tolist() == [2]


def test_the_padding_row_is_no_candidate_whatever_it_holds():
    evaluator, backbone = one_user([1, 2, 3, 4], [1, 2, 3, 4], part="test")
    backbone.embeddings[0].assign([np.nan])
    assert evaluator.ranks(backbone).tolist() == [1]
    assert 0 not in evaluator.top_k(backbone, 1)[0]


def test_items_of_only_heldout_events_are_candidates_and_reported():
    evaluator, backbone = one_user([1, 1, 2, 3], [1, 7, 6, 2], part="test", mask="train")
    protocol = evaluator.protocol()
    assert protocol["heldout_only_items"] == 2
    assert protocol["heldout_only_targets"] == 1
    (line,) = heldout_targets_lines(protocol)
    assert line.startswith("Targets that no train event shows: 1.")
    assert heldout_targets_lines({**protocol, "new_users": 0}) == []  # another line has them
    assert heldout_targets_lines({"candidates": 4}) == []  # of an older file
    assert protocol["candidates"] == 4
    assert evaluator.ranks(backbone).tolist() == [2]  # item 2, never trained on, is above


@pytest.mark.parametrize("where", ["vector", "target", "other", "infinite", "overflow"])
def test_scores_that_are_not_finite_are_refused(where):
    split = random_split(7)
    num_items = split.interactions.num_items
    backbone = random_backbone(8, num_items)
    evaluator = RankingEvaluator(split, "test", max_length=LENGTH, batch_size=8)
    evaluator.ranks(backbone)
    target = evaluator.targets[-1]
    if where == "vector":
        backbone.vectors[split.interactions.items[0], 2].assign(np.nan)
    elif where == "target":
        backbone.embeddings[target, 2].assign(np.nan)
    elif where == "other":
        other = next(i for i in range(1, num_items) if i not in evaluator.targets)
        backbone.embeddings[other, 0].assign(np.nan)
    elif where == "infinite":
        backbone.embeddings[target].assign([np.inf] * 6)
    else:
        backbone.embeddings.assign(backbone.embeddings * 1e38)
        backbone.vectors.assign(backbone.vectors * 1e38)
    for call in (evaluator.ranks, evaluator.evaluate, lambda b: evaluator.top_k(b, 3)):
        with pytest.raises(NotFiniteError, match=r"NaN or infinite.*test targets"):
            call(backbone)


def test_an_infinite_target_score_is_refused_and_another_item_may_have_one():
    evaluator, backbone = one_user([1, 2, 3, 4], [1, 2, np.inf, 4])
    with pytest.raises(NotFiniteError, match="validation targets"):
        evaluator.ranks(backbone)
    evaluator, backbone = one_user([1, 2, 3, 4], [1, 2, 3, np.inf])
    assert evaluator.ranks(backbone).tolist() == [2]


def test_large_but_finite_scores_are_ranked():
    """The bound that spares the look at every score is passed, and no score is NaN."""
    split = random_split(9)
    backbone = random_backbone(10, split.interactions.num_items)
    evaluator = RankingEvaluator(split, max_length=LENGTH)
    expected = evaluator.ranks(backbone)
    backbone.embeddings.assign(backbone.embeddings * 2.0**120)
    np.testing.assert_array_equal(evaluator.ranks(backbone), expected)


def test_weights_are_read_anew_and_a_backbone_is_traced_once():
    split = random_split(11)
    student, teacher = (random_backbone(seed, split.interactions.num_items) for seed in (12, 13))
    evaluator = RankingEvaluator(split, max_length=LENGTH, batch_size=8, sampled_negatives=3)
    of_student = evaluator.ranks(student)
    of_teacher = evaluator.ranks(teacher)
    assert (of_student != of_teacher).any()
    student.embeddings.assign(teacher.embeddings)
    student.vectors.assign(teacher.vectors)
    np.testing.assert_array_equal(evaluator.evaluate(student).ranks, of_teacher)
    evaluator.sampled_ranks(student)
    assert student.num_traces == teacher.num_traces == 1


@pytest.mark.slow
def test_evaluators_of_both_parts_share_a_trace_which_does_not_keep_the_backbone():
    split = random_split(11)
    backbone = random_backbone(12, split.interactions.num_items)
    for part, mask in (("validation", "none"), ("test", "seen")):
        evaluator = RankingEvaluator(split, part, mask=mask, max_length=LENGTH, batch_size=8)
        expected = naive_ranks(backbone, split, part, mask)
        np.testing.assert_array_equal(evaluator.ranks(backbone), expected)
    assert backbone.num_traces == 1
    owner = weakref.ref(backbone)
    del backbone
    gc.collect()
    assert owner() is None


def test_agrees_with_ir_measures():
    split = random_split(14, num_users=60, num_items=50, repeats=False)
    backbone = random_backbone(15, 50)
    evaluator = RankingEvaluator(split, "test", max_length=LENGTH)
    scores = naive_scores(backbone, split, "test")
    data, qrels, run = split.interactions, [], []
    for row, user in enumerate(split.users("test")):
        events = data.items[data.offsets[user] : data.offsets[user + 1]]
        qrels.append(ir_measures.Qrel(str(user), str(events[-1]), 1))
        for item in set(range(1, 51)) - set(events[:-1].tolist()):
            run.append(ir_measures.ScoredDoc(str(user), str(item), scores[row, item]))
    names = {nDCG @ 10: "ndcg@10", Success @ 10: "hr@10", RR: "mrr", nDCG @ 5: "ndcg@5"}
    values = evaluator.evaluate(backbone).metrics
    for measure, value in ir_measures.calc_aggregate(list(names), qrels, run).items():
        assert values[names[measure]] == pytest.approx(value, abs=1e-9), measure


@pytest.mark.parametrize("mask", ["seen", "none"])
def test_top_k_equals_a_stable_sort(mask):
    split = random_split(16)
    num_items = split.interactions.num_items
    backbone = random_backbone(17, num_items, integers=True)
    k = num_items + 2
    evaluator = RankingEvaluator(split, "test", max_length=LENGTH, mask=mask, batch_size=8)
    items, scores = evaluator.top_k(backbone, k)
    assert (items.dtype, scores.dtype) == (np.int32, np.float32)
    all_scores = naive_scores(backbone, split, "test")
    data = split.interactions
    for row, user in enumerate(split.users("test")):
        history = data.items[data.offsets[user] : data.offsets[user + 1] - 1]
        hidden = set(history.tolist()) if mask == "seen" else set()
        left = [item for item in range(1, num_items + 1) if item not in hidden]
        best = sorted(left, key=lambda item: (-all_scores[row, item], item))
        empty = k - len(best)
        assert items[row].tolist() == best + [0] * empty
        expected = [*all_scores[row, best], *([np.float32(-1e30)] * empty)]
        assert scores[row].tolist() == expected
    np.testing.assert_array_equal(evaluator.top_k(backbone, 3)[0], items[:, :3])


def test_ranks_and_top_k_say_the_same():
    split = random_split(18, repeats=False)
    backbone = random_backbone(19, split.interactions.num_items)
    evaluator = RankingEvaluator(split, "test", max_length=LENGTH)
    items, _ = evaluator.top_k(backbone, split.interactions.num_items)
    place = 1 + np.argmax(items == evaluator.targets[:, None], axis=1)
    np.testing.assert_array_equal(evaluator.ranks(backbone), place)


def test_sampled_negatives_are_outside_the_history_and_seeded():
    split = random_split(20)
    data = split.interactions

    def draw(**settings):
        return RankingEvaluator(
            split, **{"part": "test", "max_length": 1, "sampled_negatives": 100, **settings}
        )

    evaluator = draw()
    assert evaluator.negatives.shape == (len(split.users("test")), 100)
    for row, user in enumerate(split.users("test")):
        events = set(data.items[data.offsets[user] : data.offsets[user + 1]].tolist())
        drawn = set(evaluator.negatives[row].tolist())
        assert not drawn & events
        assert drawn <= set(range(1, data.num_items + 1))
    np.testing.assert_array_equal(evaluator.negatives, draw(batch_size=3, mask="none").negatives)
    assert (evaluator.negatives != draw(seed=1).negatives).any()
    # At validation the test item may be drawn: leaving it out would leak it.
    validation = draw(part="validation")
    future = data.items[split.target_index("test")]
    assert (validation.negatives == future[:, None]).any()
    assert not (validation.negatives == validation.targets[:, None]).any()


def test_sampled_negatives_are_uniform():
    """Chi-square for each row: an empty, a one-item, an edge and a scattered exclusion."""
    num_items, num_draws = 12, 24_000
    rows = [[1], [12], [1, 2, 3, 12], [2, 5, 6, 11], [6, 6, 7]]
    ends = np.cumsum([len(row) for row in rows])
    starts = ends - [len(row) for row in rows]
    items = np.concatenate(rows)
    excluded = distinct_items(items, starts, ends, num_items=num_items)
    drawn = draw_outside(
        excluded,
        num_draws,
        np.random.default_rng(0),
        num_items=num_items,
        fallback=np.zeros(len(rows), np.int32),
    )
    for row, seen in zip(drawn, rows, strict=True):
        counts = np.bincount(row, minlength=num_items + 1)
        left = [item for item in range(1, num_items + 1) if item not in seen]
        assert counts[left].sum() == num_draws
        assert stats.chisquare(counts[left]).pvalue > 0.001


def test_sampled_ranks_equal_a_double_loop():
    split = random_split(21)
    backbone = random_backbone(22, split.interactions.num_items, integers=True)
    evaluator = RankingEvaluator(
        split, "test", max_length=LENGTH, batch_size=8, sampled_negatives=9
    )
    scores = naive_scores(backbone, split, "test")
    expected = [
        1 + sum(row[item] >= row[target] for item in negatives)
        for row, target, negatives in zip(
            scores, evaluator.targets, evaluator.negatives, strict=True
        )
    ]
    ranks = evaluator.sampled_ranks(backbone)
    assert ranks.dtype == np.int64
    assert ranks.tolist() == expected
    result = evaluator.evaluate(backbone)
    assert result.metrics["hr@5_uni9"] == np.mean(np.array(expected) <= 5)
    np.testing.assert_array_equal(result.ranks, evaluator.ranks(backbone))


def test_a_user_without_an_item_to_draw_has_the_worst_sampled_rank():
    evaluator, backbone = one_user([1, 2, 3], [1, 2, 3], part="test", sampled_negatives=10)
    assert evaluator.sampled_ranks(backbone).tolist() == [11]
    assert evaluator.ranks(backbone).tolist() == [1]


def test_evaluate_and_protocol():
    evaluator, backbone = one_user([1, 2, 3, 5], [6, 5, 1, 2, 3, 4], part="test")
    result = evaluator.evaluate(backbone)
    assert result.num_users == 1
    assert result.metrics["ndcg@5"] == pytest.approx(1 / math.log2(3))
    assert not any("uni" in name for name in result.metrics)
    assert result.cpu_seconds > 0
    protocol = evaluator.protocol()
    assert json.loads(json.dumps(protocol)) == {
        "split": "leave_one_out",
        "part": "test",
        "targets": 1,
        "candidates": 6,
        "masked": "train and validation items",
        "ties": "against the target",
        "heldout_only_items": 2,
        "masked_targets": 0,
        "heldout_only_targets": 1,
    }
    with pytest.raises(ValueError, match="`sampled_negatives` must be at least 1"):
        evaluator.sampled_ranks(backbone)


def test_reads_a_built_log():
    frame = pd.DataFrame({"user": list("aaaabbb"), "item": list("xyzwxyw")})
    split = leave_one_out(build_interactions(frame, sha256="", source="log"))
    # x y z w are 1 2 3 4 by first appearance; scores rise with the id.
    backbone = FixedBackbone([[0], [1], [1], [1], [1]], [[0], [1], [2], [3], [4]])
    ranks = RankingEvaluator(split, max_length=LENGTH).ranks(backbone)
    assert ranks.tolist() == [2, 3]


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"part": "train"}, "part"),
        ({"mask": "all"}, "mask"),
        ({"max_length": 0}, "max_length"),
        ({"batch_size": 0}, "batch_size"),
        ({"sampled_negatives": -1}, "sampled_negatives"),
    ],
)
def test_bad_settings_are_named(settings, name):
    with pytest.raises(ValueError, match=f"`{name}` must be"):
        RankingEvaluator(random_split(0), **{"max_length": 3, **settings})


def test_a_list_of_no_items_is_refused():
    evaluator, backbone = one_user([1, 2, 3], [1, 2, 3])
    with pytest.raises(ValueError, match="`k` must be at least 1"):
        evaluator.top_k(backbone, 0)
