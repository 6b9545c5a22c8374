"""The approximate index: exact where all cells are searched, masks kept, recall told as it is."""

import re
import sys

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.runs import run
from tests.helpers.serving import (
    ITEM_IDS,
    NUM_ITEMS,
    make_backbone,
    model_of,
    pad,
    random_histories,
)
from ufnrec_tf import faiss_scorer
from ufnrec_tf.common.errors import UserError
from ufnrec_tf.export.items import ItemFacts
from ufnrec_tf.export.saved_model import write_model
from ufnrec_tf.faiss_scorer import FaissScorer
from ufnrec_tf.recommend.scoring import ExactScorer, load_model


@pytest.fixture(scope="module", params=[True, False])
def export_dir(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / "1"
    facts = ItemFacts(np.arange(NUM_ITEMS + 1))
    backbone = make_backbone("fake")
    write_model(
        path, model_of(backbone, mask_seen=request.param, facts=facts, fallback="popularity")
    )
    return path


def test_one_cell_is_exact(export_dir):
    """So small a catalogue is one cell; short answers, unknown ids, ties are as the model's."""
    model = load_model(export_dir)
    scorer, exact = FaissScorer(export_dir, model), ExactScorer(model)
    histories = [*random_histories(60, 14), [], ["unknown"], list(ITEM_IDS[1:]), list(ITEM_IDS[4:])]
    ids = tf.constant(pad(histories))
    for k in (1, 5, NUM_ITEMS):
        found, expected = scorer.best(ids, k), exact.best(ids, k)
        np.testing.assert_array_equal(found.num_known, expected.num_known)
        np.testing.assert_array_equal(found.item_ids, expected.item_ids)
        np.testing.assert_allclose(found.scores, expected.scores, atol=1e-5)
    assert "recall against exact 1.0000 on the first 192 histories" in scorer.recall_line


def drawn(num_items=2000, width=8):
    return np.random.default_rng(0).normal(size=(num_items, width)).astype(np.float32)


def test_a_few_cells_of_a_larger_catalogue_are_searched():
    import faiss

    vectors = drawn()
    index = faiss_scorer._index_of(faiss, vectors)
    assert (index.nlist, index.nprobe, index.ntotal) == (51, 16, 2000)
    queries = drawn(50)
    scores, places = index.search(queries, 10)
    exact = queries @ vectors.T
    np.testing.assert_allclose(scores, np.take_along_axis(exact, places, 1), atol=1e-4)
    best = np.argsort(-exact, axis=1)[:, :10]
    share = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(places, best, strict=True)])
    assert 0.3 < share < 1


def test_seen_items_and_order_by_hand():
    items = np.array([[3, 1, 0, 2], [4, 4, 1, 2]])
    seen = np.array([[1, 0], [2, 3]])
    assert faiss_scorer._are_in(items, seen).tolist() == [
        [False, True, True, False],
        [False, False, False, True],
    ]
    scores = np.array([[1, 9, 9, 1], [5, 5, 7, 6]], np.float32)
    first, values = faiss_scorer._first(items, scores, 5)
    assert first.tolist() == [[1, 2, 3, 0, 0], [1, 2, 4, 4, 0]]
    assert values[:, -1].tolist() == [np.float32(-1e30)] * 2
    rows = np.array([[0, 2, 2], [1, 2, 3], [0, 0, 0]])
    assert faiss_scorer._num_distinct(rows).tolist() == [1, 3, 0]


def test_command_line_prints_the_recall(trained, tmp_path, capsys):
    arguments = ("--mode=recommend", f"--workdir={trained}", f"--output={tmp_path}/out.csv")
    assert run(*arguments, "--histories=train", "--index=faiss") == 0
    assert re.search(
        r"index faiss: recall against exact 1\.0000 on the first 60", capsys.readouterr().out
    )
    assert run(*arguments, "--histories=train", "--index=fais") == 1
    assert "--index must be one of exact, faiss" in capsys.readouterr().err


def test_a_missing_package_is_one_clear_line(export_dir, monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(UserError, match=r"needs the package faiss .*ufnrec-tf\[faiss\]"):
        FaissScorer(export_dir, None)
