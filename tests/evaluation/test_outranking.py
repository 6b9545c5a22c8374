"""Pairs that stored labels put above the observed item, against a loop over every label."""

import json

import numpy as np
import pytest

from tests.helpers.tiny import NUM_ITEMS, random_labels, split_of, tiny_histories, write_labels
from ufnrec_tf.data.windows import make_samples
from ufnrec_tf.evaluation import outranking
from ufnrec_tf.evaluation.outranking import find_outranking, newest_expectation, open_part
from ufnrec_tf.evaluation.teacher_words import taken_later, teacher_lines


@pytest.fixture
def labelled(tmp_path):
    """The split, the labels of two workers as parts, and what a loop finds: pair to count."""
    split = split_of(tiny_histories(num_users=30), NUM_ITEMS)
    log = split.interactions
    events = make_samples(split, max_length=6).events_of_rows()
    items, shares = random_labels(len(events), NUM_ITEMS)
    items[1], shares[1] = [log.items[events[1] + 1], 0, 0, 0], [1, 0, 0, 0]  # nothing above
    owners = np.searchsorted(log.offsets, events, side="right") - 1
    parts = [
        open_part(
            write_labels(tmp_path / str(odd), items[owners % 2 == odd], shares[owners % 2 == odd]),
            events[owners % 2 == odd],
        )
        for odd in (0, 1)
    ]
    expected: dict[tuple[int, int], int] = {}
    for row, event in enumerate(events):
        user = int(owners[row])
        own = log.items[log.offsets[user] : split.train_ends[user]]
        observed = shares[row][items[row] == log.items[event + 1]].sum()
        for item, share in zip(items[row].tolist(), shares[row], strict=True):
            if share > observed and item not in own:
                expected[user, item] = expected.get((user, item), 0) + 1
    assert max(expected.values()) > 1
    return split, parts, expected, (events, owners, items, shares)


def found_by(split, parts, **settings):
    found = find_outranking(parts, split, **settings)
    pairs = list(zip(found.users.tolist(), found.items.tolist(), strict=True))
    assert pairs == sorted(set(pairs))
    return dict(zip(pairs, found.counts.tolist(), strict=True)), found.is_cut


@pytest.mark.parametrize("cells", [1, 1 << 22])
def test_pairs_are_those_of_a_loop(labelled, monkeypatch, cells):
    split, parts, expected, _ = labelled
    monkeypatch.setattr(outranking, "_CHUNK_CELLS", cells)
    assert found_by(split, parts, most=10**6) == (expected, False)
    assert found_by(split, [], most=5) == ({}, False)


def test_where_they_are_cut_users_are_drawn(labelled, monkeypatch):
    split, parts, expected, _ = labelled
    some, is_cut = found_by(split, parts, most=20)
    assert len(some) == 20 and is_cut and some.items() < expected.items()
    users = {user for user, _ in some}
    assert max(users) - min(users) > len(users)  # not the first ones
    whole = [u for u in users if all(pair in some for pair in expected if pair[0] == u)]
    assert len(whole) >= len(users) - 1
    monkeypatch.setattr(outranking, "_CHUNK_CELLS", 1)
    assert {user for user, _ in found_by(split, parts, most=20)[0]} == users
    other = found_by(split, parts, most=20, seed=1)[0]
    assert {user for user, _ in other} != users


def test_the_newest_transition_with_an_item_above(labelled):
    split, parts, _, (events, owners, items, shares) = labelled
    items_of = split.interactions.items
    for user in range(split.interactions.num_users):
        rows = [
            row
            for row in np.flatnonzero(owners == user)
            if (shares[row] > shares[row][items[row] == items_of[events[row] + 1]].sum()).any()
        ]
        newest = newest_expectation(parts, split, user, most=3)
        if not rows:
            assert newest is None
            continue
        row = rows[-1]
        order = np.argsort(-shares[row], kind="stable")[:3]
        assert newest is not None and newest.event == events[row]
        assert newest.items.tolist() == items[row][order].tolist()
        np.testing.assert_allclose(newest.shares, shares[row][order], rtol=1e-6)


LABELS = {
    **{"source": "teacher", "labelled": 1200, "bytes": 480_000, "cpu_seconds": 3.2},
    **{"entropy": 4.9, "share_outranked": 0.66, "median_outranking": 3},
}


def test_sentences():
    left_out = {"transitions": 60, "ndcg@10": 0.186, "nll": 6.96, "entropy": 5.2}
    trained = {"epochs": 36, "cpu_seconds": 493.4, "left_out": left_out, "identity": {"seed": 0}}
    assert teacher_lines({"kind": "hindsight", **trained, "labels": LABELS}) == [
        "hindsight, seed 0: 36 epochs in 493 CPU s; of 60 train transitions left out NDCG@10 "
        "0.1860, NLL 6.96 at entropy 5.20",
        "labels of 1,200 transitions, 0.5 MB in 3 CPU s: entropy 4.90; an item above the observed "
        "one in 66% of them, 3 in the median",
    ]
    runs = {"runs": [{"backbone": "sasrec", "seed": 3}, {"backbone": "hstu", "seed": 4}]}
    alike = {"kind": "runs", "identity": runs, "labels": {**LABELS, "source": "alike"}}
    name = "random items as popular as a teacher's labels (runs: sasrec 3, hstu 4)"
    assert teacher_lines(json.loads(json.dumps(alike)))[0] == name
    later = {"kind": "none", "identity": {}, "labels": {**LABELS, "source": "later"}}
    assert teacher_lines(later)[1].endswith("entropy 4.90")
    matched = {"pairs": 500, "hits": 10, "rate": 0.01, "lift": 2.0, "low": 1.5, "high": 2.5}
    assert taken_later(900, matched).endswith(
        "of the 500 with others as popular and scored alike 2.00% were taken later, of those "
        "others 1.00%: lift 2.00 (1.50 to 2.50)"
    )
    assert taken_later(0, {"lift": None}).endswith("taken later is not known")
