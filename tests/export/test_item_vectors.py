"""item_vectors.npy: what an index of one's own needs of an export to give the model's answers."""

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from tests.helpers.serving import (
    ITEM_IDS,
    NUM_ITEMS,
    WIDTH,
    assert_same_ranking,
    make_backbone,
    model_of,
    pad,
    random_histories,
)
from ufnrec_tf.export import saved_model
from ufnrec_tf.export.publish import publish
from ufnrec_tf.export.saved_model import VECTORS_FILE, read_metadata, write_model
from ufnrec_tf.recommend.scoring import load_model

TOP_K = 10


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    monkeypatch.setattr(saved_model, "_BLOCK_BYTES", 7 * 4 * WIDTH)  # 30 items are five blocks


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "table"),
    [
        ("fake", "float32"),
        ("tied", "float32"),
        ("sasrec", "bfloat16"),
        ("sasrec", "int8"),
        ("gru4rec", "float32"),
        ("hstu", "int8"),
    ],
)
def test_dot_products_give_the_answers_of_the_model(tmp_path, kind, table):
    write_model(tmp_path / "1", model_of(make_backbone(kind), top_k=TOP_K, table=table))
    vectors = np.load(tmp_path / "1" / VECTORS_FILE, allow_pickle=False)
    assert (vectors.dtype, vectors.shape) == (np.float32, (NUM_ITEMS, WIDTH))
    assert vectors.flags.c_contiguous
    assert read_metadata(tmp_path / "1")["item_vectors"] == VECTORS_FILE
    items = pd.read_parquet(tmp_path / "1" / "items.parquet")["item_id"].to_numpy()
    assert items.tolist() == ITEM_IDS[1:].tolist()
    model = load_model(tmp_path / "1")
    expected = model.item_vectors()["vectors"].numpy()[1:]
    np.testing.assert_array_equal(vectors, expected)
    histories = [*random_histories(40, 9), list(ITEM_IDS[1:]), list(ITEM_IDS[4:])]
    ids = tf.constant(pad(histories))
    answers = model.signatures["serving_default"](item_ids=ids)
    scores = model.signatures["encode"](item_ids=ids)["vectors"].numpy() @ vectors.T
    for row, history in enumerate(histories):
        own = np.where(np.isin(items, history), -np.inf, scores[row])
        order = np.argsort(-own, kind="stable")[:TOP_K]
        best = [(own[place], items[place]) for place in order if np.isfinite(own[place])]
        assert_same_ranking(best, answers["item_ids"][row].numpy(), answers["scores"][row].numpy())


@pytest.mark.slow
def test_a_model_that_was_published_without_vectors_is_published_again(tmp_path, monkeypatch):
    """As by an earlier version of the program."""
    backbone = make_backbone("fake")
    model = model_of(backbone)
    older = {key: value for key, value in model.document.items() if key != "item_vectors"}
    assert "item_vectors" in model.document
    text = saved_model._to_json({key: older[key] for key in older if key != "fingerprint"})
    older["fingerprint"] = saved_model._fingerprint(text, backbone, model.items)
    with monkeypatch.context() as patched:
        patched.setattr(saved_model, "_write_vectors", lambda *_, **__: None)
        publish(tmp_path, type(model)(**{**vars(model), "document": older}))
    assert publish(tmp_path, model) == (tmp_path / "2", True, [])
    assert (tmp_path / "2" / VECTORS_FILE).is_file()
    assert not publish(tmp_path, model).is_new


@pytest.mark.slow
def test_vectors_that_were_damaged_are_published_again(tmp_path):
    model = model_of(make_backbone("fake"))
    publish(tmp_path, model)
    with (tmp_path / "1" / VECTORS_FILE).open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"?")
    assert publish(tmp_path, model) == (tmp_path / "2", True, [])
