"""The exported SavedModel: its answers, its independence of our code, its atomic replacement."""

import json
import os
import re
import shutil
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from tests.helpers.serving import (
    ITEM_IDS,
    NUM_ITEMS,
    WIDTH,
    FakeBackbone,
    assert_same_ranking,
    brute_force,
    brute_forces,
    make_backbone,
    model_of,
    pad,
    random_histories,
)
from tests.helpers.serving import write_export as write
from ufnrec_tf import backbones
from ufnrec_tf.common.errors import UserError
from ufnrec_tf.export import saved_model as export
from ufnrec_tf.export.saved_model import SIGNATURES, read_metadata, write_model


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A backbone, its export's path, and what loading gives."""
    backbone = FakeBackbone()
    path = tmp_path_factory.mktemp("run") / "export" / "1"
    write(path, backbone)
    return backbone, path, tf.saved_model.load(str(path))


@pytest.fixture(scope="module")
def other():
    """Another model, traced and not written: of other weights and facts."""
    return model_of(FakeBackbone(seed=1), metadata={"step": 8})


@pytest.fixture
def earlier(exported, tmp_path):
    """A copy of an export, version 1, which another is to replace."""
    return shutil.copytree(exported[1], tmp_path / "export" / "1")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "mask_seen"),
    [
        ("fake", False),
        *((kind, True) for kind in ("fake", "authors", "corrected")),
        *((kind, True) for kind in backbones.BACKBONES if kind != "sasrec"),
    ],
)
def test_same_top_k_as_brute_force(tmp_path, kind, mask_seen):
    backbone = make_backbone(kind)
    write(tmp_path / "1", backbone, mask_seen=mask_seen)
    model = tf.saved_model.load(str(tmp_path / "1"))
    histories = random_histories(40, 14)
    answer = model.signatures["serving_default"](item_ids=tf.constant(pad(histories)))
    assert answer["item_ids"].shape == (40, 10)
    for row, expected in enumerate(brute_forces(backbone, histories, 10, mask_seen=mask_seen)):
        assert_same_ranking(expected, answer["item_ids"][row].numpy(), answer["scores"][row])


def test_signatures_are_those_promised(exported):
    signatures = exported[2].signatures
    assert set(signatures) == set(SIGNATURES)
    shapes = {
        name: {
            key: (spec.dtype, spec.shape.as_list()) for key, spec in fn.structured_outputs.items()
        }
        for name, fn in signatures.items()
    }
    assert shapes["serving_default"] == {
        "item_ids": (tf.string, [None, 10]),
        "scores": (tf.float32, [None, 10]),
    }
    assert shapes["recommend"] == {
        "item_ids": (tf.string, [None, None]),
        "scores": (tf.float32, [None, None]),
    }
    assert shapes["encode"] == {"vectors": (tf.float32, [None, WIDTH])}
    assert shapes["similar"] == {**shapes["recommend"], "is_known": (tf.bool, [None])}
    inputs = signatures["recommend"].structured_input_signature[1]
    assert (inputs["k"].dtype, inputs["k"].shape.as_list()) == (tf.int32, [])
    assert (inputs["item_ids"].dtype, inputs["item_ids"].shape.as_list()) == (tf.string, [None] * 2)


@pytest.mark.slow
def test_loads_where_only_tensorflow_is_imported(exported, tmp_path):
    _, path, model = exported
    histories = pad(random_histories(6, 9, seed=4))
    script = f"""
        import json, sys
        import tensorflow as tf
        before = set(sys.modules)
        model = tf.saved_model.load({str(path)!r})
        ids = tf.constant(json.loads(sys.argv[1]))
        best = model.signatures["recommend"](item_ids=ids, k=tf.constant(4))
        first = model.signatures["serving_default"](item_ids=ids)
        vectors = model.signatures["encode"](item_ids=ids)["vectors"]
        assert not any(name.startswith("ufnrec_tf") for name in sys.modules)
        assert not any(name.split(".")[0] == "keras" for name in set(sys.modules) - before)
        print(json.dumps([
            [[raw.decode() for raw in row] for row in best["item_ids"].numpy()],
            best["scores"].numpy().tolist(), first["scores"].numpy().tolist(),
            vectors.numpy().tolist()]))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), json.dumps(histories.tolist())],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": "", "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    ids, scores, first, vectors = json.loads(done.stdout.splitlines()[-1])
    here = model.signatures["recommend"](item_ids=tf.constant(histories), k=tf.constant(4))
    assert ids == [[raw.decode() for raw in row] for row in here["item_ids"].numpy()]
    np.testing.assert_allclose(scores, here["scores"], atol=1e-6)
    np.testing.assert_allclose(np.array(first)[:, :4], scores, atol=1e-6)
    here = model.signatures["encode"](item_ids=tf.constant(histories))["vectors"]
    np.testing.assert_allclose(vectors, here, atol=1e-6)


def test_unknown_ids_and_padding_anywhere_change_nothing(exported):
    model = exported[2]
    rows = [
        ["", "", "i7", "a,b", "i9"],
        ["i7", "a,b", "i9", "", ""],
        ["i7", "", "a,b", "I9", "i9"],
        ["nobody", "i7", "a,b", "", "i9"],
    ]
    answer = model.recommend(tf.constant(rows), 10)
    for row in range(1, 4):
        assert (answer["item_ids"][row].numpy() == answer["item_ids"][0].numpy()).all()
        np.testing.assert_array_equal(answer["scores"][row], answer["scores"][0])


def test_seen_items_older_than_the_window_are_never_returned(exported):
    model = exported[2]
    old, new = list(ITEM_IDS[6:20]), list(ITEM_IDS[1:6])
    long = model.recommend(tf.constant([old + new]), NUM_ITEMS)
    returned = {raw.decode() for raw in long["item_ids"][0].numpy()} - {""}
    assert returned == set(ITEM_IDS[20:])
    vectors = [model.encode(tf.constant([ids]))["vectors"].numpy() for ids in (old + new, new)]
    np.testing.assert_array_equal(*vectors)  # the window itself is the newest five alone


def test_each_graph_is_written_once(exported):
    (meta,) = SavedModel.FromString((exported[1] / "saved_model.pb").read_bytes()).meta_graphs
    nodes = [node.op for part in meta.graph_def.library.function for node in part.node_def]
    # Of `serve`, `recommend` and the two with lists; `similar` calls one of these.
    assert sum(name in ("While", "StatelessWhile") for name in nodes) == 4


def test_k_larger_than_the_catalogue_pads(exported):
    answer = exported[2].recommend(tf.constant([["i7", "i8"], ["", ""]]), NUM_ITEMS + 5)
    ids, scores = answer["item_ids"].numpy(), answer["scores"].numpy()
    assert ids.shape == scores.shape == (2, NUM_ITEMS + 5)
    assert (ids[0, NUM_ITEMS - 2 :] == b"").all() and (ids[1, NUM_ITEMS:] == b"").all()
    assert (scores[0, NUM_ITEMS - 2 :] == np.float32(-1e30)).all()
    assert {raw.decode() for raw in ids[1, :NUM_ITEMS]} == set(ITEM_IDS[1:])
    assert np.isfinite(scores).all()


def test_all_items_seen_gives_pads_alone(exported):
    answer = exported[2].signatures["serving_default"](item_ids=tf.constant([list(ITEM_IDS)]))
    assert (answer["item_ids"].numpy() == b"").all()
    assert (answer["scores"].numpy() == np.float32(-1e30)).all()


@pytest.mark.parametrize("k", [0, -1])
def test_k_below_one_is_refused(exported, k):
    with pytest.raises(tf.errors.InvalidArgumentError, match="`k` must be a positive integer"):
        exported[2].signatures["recommend"](item_ids=tf.constant([["i7"]]), k=tf.constant(k))


def test_metadata_and_nothing_but_items_in_the_folder(exported, tmp_path):
    path = exported[1]
    document = read_metadata(path)
    assert document["format_version"] == 1
    assert document["metadata"] == {"step": 7}
    assert (document["num_items"], document["max_length"], document["top_k"]) == (30, 5, 10)
    assert document["mask_seen"] is True
    assert os.listdir(path.parent) == ["1"]
    # No folder of the machine that trained it leaks into what is given away.
    assert os.getcwd().encode() not in (path / "saved_model.pb").read_bytes()


def tree(folder):
    """Every file below the folder with its bytes, hidden ones included."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_export_is_replaced(earlier, other):
    write_model(earlier, other)
    assert os.listdir(earlier.parent) == ["1"]
    assert read_metadata(earlier)["metadata"] == {"step": 8}
    model = tf.saved_model.load(str(earlier))
    expected = brute_force(FakeBackbone(seed=1), ["i7"], 10)
    answer = model.signatures["serving_default"](item_ids=tf.constant([["i7"]]))
    assert_same_ranking(expected, answer["item_ids"][0].numpy(), answer["scores"][0])


def fail_writing(monkeypatch):
    def save(model, folder, signatures):
        os.makedirs(folder)
        with open(os.path.join(folder, "saved_model.pb"), "w") as file:
            file.write("half")
        raise tf.errors.ResourceExhaustedError(
            None, None, "{{node x}} /p/part-0; No space left on device [Op:SaveV2]\nmore"
        )

    monkeypatch.setattr(export.tf.saved_model, "save", save)


def fail_rename(monkeypatch, which):
    """Makes the os.rename number `which` fail, from 1, and the others work."""
    real, calls = os.rename, []

    def rename(source, target):
        calls.append(source)
        if len(calls) == which:
            raise OSError(28, "No space left on device")
        real(source, target)

    monkeypatch.setattr(export.os, "rename", rename)


@pytest.mark.parametrize("where", ["writing", "first rename", "second rename"])
def test_failure_keeps_the_old_export_and_leaves_nothing(earlier, other, monkeypatch, where):
    before = tree(earlier.parent)
    if where == "writing":
        fail_writing(monkeypatch)
    else:
        fail_rename(monkeypatch, 1 if where == "first rename" else 2)
    with pytest.raises(UserError, match="exported model: No space left on device") as caught:
        write_model(earlier, other)
    assert "\n" not in str(caught.value) and str(earlier) in str(caught.value)
    assert tree(earlier.parent) == before


def test_failure_of_a_first_export_leaves_nothing(tmp_path, other, monkeypatch):
    fail_writing(monkeypatch)
    with pytest.raises(UserError):
        write_model(tmp_path / "export" / "1", other)
    assert os.listdir(tmp_path / "export") == []


def test_interrupt_leaves_nothing(earlier, other, monkeypatch):
    def save(*_, **__):
        raise KeyboardInterrupt

    before = tree(earlier.parent)
    monkeypatch.setattr(export.tf.saved_model, "save", save)
    with pytest.raises(KeyboardInterrupt):
        write_model(earlier, other)
    assert tree(earlier.parent) == before


def test_leftovers_of_a_killed_export_are_mended(earlier, other, monkeypatch):
    before = tree(earlier.parent)
    os.rename(earlier, earlier.with_name(".1.old"))  # killed between the two renames
    earlier.with_name(".1.new").mkdir()
    with monkeypatch.context() as patch:
        fail_writing(patch)
        with pytest.raises(UserError):
            write_model(earlier, other)
    assert tree(earlier.parent) == before


def test_file_in_the_path_is_one_clear_line(tmp_path, other):
    (tmp_path / "export").write_text("")
    with pytest.raises(UserError, match=re.escape(f"{tmp_path}/export/1: cannot write")):
        write_model(tmp_path / "export" / "1", other)


def test_weights_that_are_not_finite_are_refused(tmp_path):
    backbone = FakeBackbone()
    backbone.items.assign(np.full((NUM_ITEMS + 1, WIDTH), np.nan))
    with pytest.raises(UserError, match="NaN or infinite"):
        write(tmp_path / "1", backbone)
    assert os.listdir(tmp_path) == []


def test_metadata_must_be_json(tmp_path):
    with pytest.raises(ValueError, match="must hold JSON values"):
        write(tmp_path / "1", FakeBackbone(), metadata={"loss": float("nan")})


def test_export_of_a_newer_format_is_refused(tmp_path):
    (tmp_path / "ufnrec.json").write_text('{"format_version": 2, "num_items": 3}')
    with pytest.raises(UserError, match="format version 2"):
        read_metadata(tmp_path)


@pytest.mark.slow
def test_variables_of_a_strategy_are_exported(tmp_path):
    """Variables made in a strategy's scope are written as plain ones."""
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    with strategy.scope():
        backbone = FakeBackbone()
    write(tmp_path / "1", backbone)
    model = tf.saved_model.load(str(tmp_path / "1"))
    answer = model.signatures["serving_default"](item_ids=tf.constant([["i7", "i8"]]))
    expected = brute_force(backbone, ["i7", "i8"], 10)
    assert_same_ranking(expected, answer["item_ids"][0].numpy(), answer["scores"][0])
