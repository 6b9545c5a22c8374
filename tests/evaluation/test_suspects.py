"""Suspects read from the memory after training: tables by hand, margins and AUCs against loops."""

import itertools

import numpy as np
import pytest

from tests.helpers.tiny import MAX_LENGTH, NUM_ITEMS, split_of, tiny_histories, weights_of
from tests.reference.numpy_sasrec import encode
from ufnrec_tf import backbones
from ufnrec_tf.data.splits import leave_one_out
from ufnrec_tf.data.synthetic.planted import planted
from ufnrec_tf.data.windows import make_samples
from ufnrec_tf.evaluation import planted_detection, suspects
from ufnrec_tf.evaluation.planted_detection import auc, margin_auc, suspect_aucs
from ufnrec_tf.evaluation.suspects import margins, newest_vectors, read_suspects
from ufnrec_tf.method import memory_table
from ufnrec_tf.method.memory import FalseNegativeMemory
from ufnrec_tf.method.memory_table import RowTable


def filled_memory() -> FalseNegativeMemory:
    """Five rows; states are twice the count, and one more while remembered."""
    memory = FalseNegativeMemory(num_rows=5, num_items=9, num_slots=3, num_negatives=4, patience=2)
    memory.items.assign([[0, 3, 5], [1, 2, 9], [0, 0, 0], [0, 0, 7], [2, 4, 6]])
    memory.states.assign([[0, 7, 2], [1, 5, 12], [0, 0, 0], [0, 0, 6], [4, 3, 1]])
    return memory


def test_suspects_are_the_counted_items_highest_first(monkeypatch):
    memory = filled_memory()
    expected = [(1, 9, 6), (0, 3, 3), (3, 7, 3), (1, 2, 2), (4, 2, 2), (0, 5, 1), (4, 4, 1)]
    for chunk in (65_536, 2):
        monkeypatch.setattr(memory_table, "_CHUNK_ROWS", chunk)
        found = read_suspects(memory)
        assert list(zip(found.rows, found.items, found.counts, strict=True)) == expected
        assert found.is_flagged.tolist() == [True] * 3 + [False] * 4  # counted more than twice
        assert (found.num_suspects, found.num_flagged) == (7, 3)
        rows, items = memory.suspect_pairs()
        assert set(zip(rows, items, strict=True)) == {(1, 9), (0, 3), (3, 7)}


def test_a_chunk_of_wide_rows_is_of_bounded_size():
    for num_columns in (8, 2048):
        table = RowTable(70_000, num_columns, "table", largest=1)
        sizes = [chunk.stop - chunk.start for chunk in table.row_chunks()]
        assert sum(sizes) == 70_000 and max(sizes) * num_columns <= 1 << 21


def test_suspects_are_cut_from_the_lowest(monkeypatch):
    for chunk in (65_536, 1):
        monkeypatch.setattr(memory_table, "_CHUNK_ROWS", chunk)
        found = read_suspects(filled_memory(), most=2)
        assert found.rows.tolist() == [1, 0] and found.items.tolist() == [9, 3]
        assert (found.num_suspects, found.num_flagged) == (7, 3)


def make_backbone(num_items: int, *, seed: int = 0, max_length: int = MAX_LENGTH):
    backbone = backbones.create(
        "sasrec", num_items=num_items, width=8, max_length=max_length, num_blocks=1,
        num_heads=2, dropout=0.5, variant="corrected", precision="float32",
    )  # fmt: skip
    rng = np.random.default_rng(seed)
    for variable in backbone.trainable_variables:  # far from where it starts
        variable.assign(variable + 0.3 * rng.normal(size=variable.shape))
    return backbone


@pytest.mark.parametrize("windows", ["last", "all"])
def test_margins_are_logits_at_the_rows(monkeypatch, windows):
    monkeypatch.setattr(suspects, "_CHUNK_HISTORIES", 3)
    monkeypatch.setattr(suspects, "_CHUNK_PAIRS", 4)
    split = split_of([*tiny_histories(), list(range(1, 16))], NUM_ITEMS)
    backbone, log = make_backbone(NUM_ITEMS), split.interactions
    samples = make_samples(split, max_length=MAX_LENGTH, windows=windows)
    weights = weights_of(backbone)
    rng = np.random.default_rng(1)
    expected, rows, items = [], [], []
    window_lists = zip(*samples[:5], strict=True)
    for _, start, length, _, first_row in window_lists:
        history = np.zeros(MAX_LENGTH, np.int32)
        history[MAX_LENGTH - length :] = log.items[start : start + length]
        vectors = encode(weights, history, variant="corrected", num_heads=2)
        for step in rng.choice(length, size=min(2, length), replace=False):
            item = int(rng.integers(1, NUM_ITEMS + 1))
            vector, positive = vectors[MAX_LENGTH - length + step], log.items[start + step + 1]
            expected.append(vector @ weights[0][item] - vector @ weights[0][positive])
            rows.append(first_row + step)
            items.append(item)
    order = rng.permutation(len(rows))  # any order of rows
    found = margins(
        backbone, log.items, samples,
        rows=np.array(rows)[order], items=np.array(items, np.int32)[order],
    )  # fmt: skip
    np.testing.assert_allclose(found, np.array(expected)[order], atol=2e-4)
    assert np.abs(expected).max() > 0.5
    nothing = margins(
        backbone, log.items, samples, rows=np.zeros(0, np.int64), items=np.zeros(0, np.int32)
    )
    assert nothing.shape == (0,)


def test_newest_vectors_read_the_newest_items(monkeypatch):
    monkeypatch.setattr(suspects, "_CHUNK_HISTORIES", 2)
    events = np.array([3, 1, 2, 7, 8, 9, 10, 11, 4], np.int32)
    backbone = make_backbone(NUM_ITEMS)
    found = newest_vectors(backbone, events, np.array([0, 1, 8]), np.array([3, 9, 9]))
    histories = [[0, 0, 0, 3, 1, 2], [7, 8, 9, 10, 11, 4], [0, 0, 0, 0, 0, 4]]
    for vector, history in zip(found, histories, strict=True):
        whole = encode(weights_of(backbone), history, variant="corrected", num_heads=2)
        np.testing.assert_allclose(vector, whole[-1], atol=2e-5)


def planted_case(rate: float = 0.2):
    data = planted(num_users=30, num_items=40, mean_length=6, false_negative_rate=rate)
    split = leave_one_out(data.interactions)
    every = itertools.product(range(30), range(1, 41))
    is_new = {pair: not data.truth.is_observed(*map(np.array, pair))[0] for pair in every}
    unobserved = [pair for pair, is_unobserved in is_new.items() if is_unobserved]
    users, items = np.array(unobserved).T
    return data, split, users, items, data.truth.is_liked(users, items)


@pytest.fixture
def whole(monkeypatch):
    """So many draws that each unobserved pair comes as often as any other, nearly."""
    monkeypatch.setattr(planted_detection, "NUM_PAIRS", 400_000)


def test_auc_of_margins_is_that_of_all_pairs(whole):
    data, split, users, items, is_liked = planted_case()
    backbone, log = make_backbone(40, max_length=5), data.interactions
    table, scores = weights_of(backbone)[0], np.zeros(len(users))
    for user in range(30):
        events = log.items[log.offsets[user] : split.train_ends[user]]
        history = ([0] * 5 + events[:-1].tolist())[-5:]
        vector = encode(weights_of(backbone), history, variant="corrected", num_heads=2)[-1]
        own = users == user
        scores[own] = table[items[own]] @ vector - table[events[-1]] @ vector
    found = margin_auc(data, split, backbone, seed=0)
    assert found["margin"] == pytest.approx(auc(scores, is_liked), abs=0.005)
    assert found["num_pairs"] == pytest.approx(400_000 * len(users) / 1200, rel=0.01)


def test_auc_of_counts_takes_a_pairs_highest_row(whole):
    data, split, users, items, is_liked = planted_case()
    rng = np.random.default_rng(0)
    rows = [
        (user, item, int(rng.integers(1, 5)) + 2 * liked, float(rng.normal() - liked))
        for user, item, liked in zip(users, items, is_liked, strict=True)
        for _ in range(rng.integers(0, 3))  # in no row, one or two
    ]
    log = data.interactions
    rows += [(log.users[0], log.items[0], 9, 9.0)]  # observed: its truth is no news
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    found = suspect_aucs(
        data,
        split,
        users=columns[0],
        items=columns[1],
        counts=columns[2],
        margins=columns[3],
        seed=0,
    )
    best: dict[tuple[int, int], tuple[int, float]] = {}
    for user, item, count, margin in rows[:-1]:
        before = best.get((user, item), (0, -np.inf))
        best[user, item] = max(before[0], count), max(before[1], margin)
    pairs = list(zip(users.tolist(), items.tolist(), strict=True))
    counts = np.array([best.get(pair, (0, 0.0))[0] for pair in pairs])
    assert found["count"] == pytest.approx(auc(counts, is_liked), abs=0.005)
    is_held = np.array([pair in best for pair in pairs])
    held = np.array([best[pair] for pair in pairs if pair in best])
    assert found["num_suspects"] == len(held)
    assert found["count_among_suspects"] == pytest.approx(auc(held[:, 0], is_liked[is_held]))
    among = auc(held[:, 1].astype(np.float32), is_liked[is_held])
    assert found["margin_among_suspects"] == pytest.approx(among)
    assert found["count_among_suspects"] > 0.6 > 0.4 > found["margin_among_suspects"]


def test_no_false_negatives_have_no_auc():
    data, split, *_ = planted_case(rate=0)
    assert np.isnan(margin_auc(data, split, make_backbone(40), seed=0)["margin"])
    none = np.zeros(0, np.int64)
    found = suspect_aucs(data, split, users=none, items=none, counts=none, margins=none, seed=0)
    assert np.isnan(found["count"]) and found["num_suspects"] == 0
