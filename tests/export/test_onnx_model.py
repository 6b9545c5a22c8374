"""ONNX exports: onnxruntime's answers to the id, against the SavedModel beside them."""

import builtins
import json
import sys

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
import tensorflow as tf

from tests.helpers.runs import read, run
from tests.helpers.serving import ITEM_IDS, LENGTH, NUM_ITEMS, make_backbone, model_of
from ufnrec_tf import backbones
from ufnrec_tf.common.errors import UserError
from ufnrec_tf.common.small_table import with_small_table
from ufnrec_tf.export.items import ItemFacts
from ufnrec_tf.export.onnx_model import WITHOUT_ONNX, check_onnx, onnx_line, with_onnx
from ufnrec_tf.export.retriever import Retriever
from ufnrec_tf.export.saved_model import ServedModel, write_model

FACTS = ItemFacts(np.arange(NUM_ITEMS + 1) % 5)
SAVED = {"authors": {}, "gru4rec": {"fallback": "popularity", "facts": FACTS}}
# A block that leaves padding out, over a small table; repeats allowed.
OTHERS = {"corrected": "int8", "bsarec": "bfloat16", "hstu": "float32"}


def unsaved(kind, table="float32", **settings):
    """A model without signatures, whose tracing takes seconds."""
    backbone = with_small_table(make_backbone(kind), table)
    retriever = Retriever(backbone, ITEM_IDS, max_length=LENGTH, **settings)
    return ServedModel(retriever, {}, [], pd.DataFrame(), {"fingerprint": ""})


def answers(folder, histories, k):
    """What onnxruntime says: raw ids and scores."""
    session = onnxruntime.InferenceSession(folder / "onnx" / "model.onnx")
    items, scores = session.run(
        ["items", "scores"], {"histories": histories, "k": np.array([k], np.int32)}
    )
    vocabulary = json.loads((folder / "onnx" / "vocabulary.json").read_text(encoding="utf-8"))
    return np.array(vocabulary, object)[items], scores


def assert_same_answers(folder, recommend):
    """The ids of onnxruntime are those of `recommend`, whatever the shape of the histories."""
    rng = np.random.default_rng(5)
    for shape in [(1, 1), (40, 14), (2, 70)]:
        histories = rng.integers(0, NUM_ITEMS + 1, shape).astype(np.int32)
        histories[-1] = 0 if shape[0] == 40 else histories[-1]
        expected = recommend(item_ids=tf.constant(ITEM_IDS[histories]), k=tf.constant(9))
        ids, scores = answers(folder, histories, 9)
        found = [[raw.decode() for raw in row] for row in expected["item_ids"].numpy()]
        assert ids.tolist() == found
        np.testing.assert_allclose(scores, expected["scores"], atol=1e-5)
    ids, scores = answers(folder, histories, 1000)
    assert ids.shape == scores.shape == (2, NUM_ITEMS + 1)


@pytest.mark.slow
@pytest.mark.parametrize("kind", SAVED)
def test_same_items_as_the_saved_model(tmp_path, kind):
    plain = model_of(make_backbone(kind), **SAVED[kind])
    model = with_onnx(plain, ITEM_IDS)
    write_model(tmp_path / "1", model)
    assert_same_answers(
        tmp_path / "1", tf.saved_model.load(str(tmp_path / "1")).signatures["recommend"]
    )
    document = read(tmp_path / "1" / "ufnrec.json")
    check = document["onnx_check"]
    assert (check["opset"], check["histories"], check["same_items"]) == (17, 200, 200)
    assert "for 200 of 200 random histories" in onnx_line(document)
    assert document["fingerprint"] != plain.document["fingerprint"]
    assert set(document["files"]) >= {"onnx/model.onnx", "onnx/vocabulary.json"}
    written = onnx.load(tmp_path / "1" / "onnx" / "model.onnx")
    assert [opset.version for opset in written.opset_import if not opset.domain] == [17]


@pytest.mark.slow
@pytest.mark.parametrize("kind", OTHERS)
def test_same_items_as_the_retriever(tmp_path, kind):
    model = with_onnx(unsaved(kind, OTHERS[kind], mask_seen=kind != "hstu"), ITEM_IDS)
    for name, content in model.extra_files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    assert_same_answers(tmp_path, model.retriever.recommend)


def test_every_backbone_is_written_or_named():
    assert {"sasrec", *SAVED, *OTHERS} - {"authors", "corrected"} == set(backbones.BACKBONES) - set(
        WITHOUT_ONNX
    )


def test_an_operation_that_onnx_lacks_is_one_clear_line():
    """The table of backbones without ONNX is true, and a class of the user's is told the same."""
    with pytest.raises(UserError, match=r"does not take this backbone \(.*RFFT"):
        with_onnx(unsaved("fmlp"), ITEM_IDS)
    with pytest.raises(UserError, match=r"not for .*=fmlp: its filters are"):
        check_onnx("fmlp")


def test_a_missing_package_is_one_clear_line(monkeypatch, tmp_path, capsys):
    real = builtins.__import__

    def without(name, *rest):
        if name == "tf2onnx":
            raise ModuleNotFoundError("No module named 'tf2onnx'")
        return real(name, *rest)

    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    monkeypatch.setattr(builtins, "__import__", without)
    arguments = (f"--workdir={tmp_path}/w", "--config.data.name=planted")
    assert run(*arguments, "--config.export.onnx=true") == 1
    error = capsys.readouterr().err
    assert "needs the package tf2onnx" in error and "pip install '.[onnx]'" in error
    assert not (tmp_path / "w").exists()  # before an hour of training, not after it
