"""Serving without our code: the C API, saved_model_cli, and a replay of the warm-up requests."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf.unknown_fields import UnknownFieldSet
from tensorflow.python.tools import saved_model_cli
from tensorflow_serving.apis import prediction_log_pb2

from tests.helpers.runs import ROOT
from tests.helpers.serving import ITEM_IDS, LENGTH, NUM_ITEMS, FakeBackbone, model_of, write_export
from ufnrec_tf.export.items import ItemFacts
from ufnrec_tf.export.saved_model import SIGNATURES
from ufnrec_tf.export.warm_up import FILE, FOLDER, warm_up_requests, write_warm_up

EVENTS = np.array([0, *range(NUM_ITEMS)], np.int64)
LIBRARY = Path(tf.sysconfig.get_lib()) / "libtensorflow_cc.so.2"
BARE = {**os.environ, "PYTHONPATH": "", "TF_CPP_MIN_LOG_LEVEL": "3"}


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A version folder and what loading gives."""
    path = tmp_path_factory.mktemp("run") / "export" / "1"
    write_export(path, FakeBackbone(), facts=ItemFacts(EVENTS), fallback="popularity")
    return path, tf.saved_model.load(str(path))


def test_the_c_api_gives_the_same_answers_without_python_tensorflow(served):
    path, model = served
    histories = [["i7", "a,b", "naïve"], ["", "nobody", ""], ["", 'say "hi"', "no\u00a0break"]]
    filtered = {
        "exclude_ids": [["i9", ""], ["i30", "i29"], ["", ""]],
        "allow_ids": [["", ""], ["i28", "i30"], ["i9", "i10"]],
    }
    requests: list[tuple[str, dict[str, Any]]] = [
        ("serving_default", {"item_ids": histories}),
        ("recommend", {"item_ids": histories[:1], "k": 3}),
        ("recommend_filtered", {"item_ids": histories, "k": 2, **filtered}),
        ("encode", {"item_ids": histories}),
        ("similar", {"item_ids": ["i7", "nobody"], "k": 3}),
        ("similar_filtered", {"item_ids": ["i7", "i8", "a,b"], "k": 2, **filtered}),
    ]
    done = subprocess.run(
        [
            sys.executable,
            "-I",
            str(ROOT / "tests" / "processes" / "capi_run.py"),
            str(LIBRARY),
            str(path),
        ],
        input=json.dumps(requests),
        env=BARE,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for (name, inputs), got in zip(requests, json.loads(done.stdout), strict=True):
        tensors = {key: tf.constant(value) for key, value in inputs.items()}
        expected = model.signatures[name](**tensors)
        assert got.keys() == expected.keys()
        for key, value in expected.items():
            if value.dtype == tf.string:
                assert got[key] == [[raw.decode() for raw in row] for row in value.numpy()]
            elif value.dtype == tf.bool:
                assert got[key] == value.numpy().tolist()
            else:
                np.testing.assert_allclose(got[key], value, atol=1e-6)
    answer = json.loads(done.stdout)[2]["item_ids"]
    assert answer[1] == ["i28", ""]  # the most popular that is allowed and not excluded


def test_saved_model_cli(served, capfd):
    """What its `run` does behind its flags, in this process: `--input_exprs` and all."""
    path, model = served
    given = saved_model_cli.load_inputs_from_input_arg_string("", 'item_ids=[["i7","i9"]];k=2', "")
    saved_model_cli.run_saved_model_with_feed_dict(
        str(path), "serve", "recommend", given, None, False
    )
    expected = model.recommend(tf.constant([["i7", "i9"]]), 2)["item_ids"][0].numpy()
    shown = re.search(r"output key item_ids:\n\[\[b'(\w+)' b'(\w+)'\]\]", capfd.readouterr().out)
    assert shown is not None
    assert [raw.decode() for raw in expected] == list(shown.groups())


def warm_up_of(path):
    """(signature, input -> tensor) of each record, by TensorFlow Serving's own protos."""
    found = []
    for record in tf.data.TFRecordDataset([str(path)]).as_numpy_iterator():
        log = prediction_log_pb2.PredictionLog.FromString(record)
        assert log.WhichOneof("log_type") == "predict_log"
        request = log.predict_log.request
        for message in (log, log.predict_log, request, request.model_spec):
            assert not len(UnknownFieldSet(message))
        assert request.model_spec.name == "ufnrec"
        inputs = {name: tf.make_ndarray(value) for name, value in request.inputs.items()}
        found.append((request.model_spec.signature_name, inputs))
    return found


def test_replay_of_the_warm_up(served):
    path, model = served
    replayed = warm_up_of(path / "assets.extra" / "tf_serving_warmup_requests")
    shapes: dict[str, list[Any]] = {name: [] for name in SIGNATURES}
    for name, inputs in replayed:
        answer = model.signatures[name](**{k: tf.constant(v) for k, v in inputs.items()})
        batch = inputs["item_ids"].shape[0]
        shapes[name].append(inputs["item_ids"].shape)
        assert all(value.shape[0] == batch for value in answer.values())
        if name.startswith("similar"):
            assert answer["is_known"].numpy().tolist() == [*(inputs["item_ids"] != b"")]
        elif name != "encode":
            assert answer["scores"].shape == (batch, 10)
            known = inputs["item_ids"] != b""
            assert known.all() or (batch == 1 and not known.any())
            assert {raw.decode() for raw in inputs["item_ids"][known]} <= set(ITEM_IDS[1:])
    for name, found in shapes.items():
        is_of_items = name.startswith("similar")
        assert found == (
            [(1,), (1,), (32,)] if is_of_items else [(1, 1), (1, LENGTH), (32, LENGTH)]
        )


@pytest.mark.parametrize(
    ("kind", "signatures"), [("batching", {"serving_default", "encode"}), ("none", set())]
)
def test_requests_of_a_server_that_batches(kind, signatures):
    """A server that batches needs inputs with a row a history each: no scalar k."""
    requests = warm_up_requests(ITEM_IDS, max_length=LENGTH, top_k=10, kind=kind)
    assert {request.signature for request in requests} == signatures
    assert all(value.ndim for request in requests for value in request.inputs.values())


def test_long_requests_are_encoded(tmp_path):
    """Lengths of several bytes, and ids that are no ASCII."""
    item_ids = np.array(["", *(f"é{n:05}" * 9 for n in range(200))], object)
    requests = warm_up_requests(item_ids, max_length=200, top_k=300)
    write_warm_up(tmp_path, requests)
    found = warm_up_of(tmp_path / FOLDER / FILE)
    assert len(found) == len(requests) == 18
    for (name, inputs), request in zip(found, requests, strict=True):
        assert name == request.signature and inputs.keys() == request.inputs.keys()
        for key, value in inputs.items():
            expected = request.inputs[key]
            if expected.dtype == object:
                value = np.vectorize(bytes.decode, otypes=[object])(value)
            np.testing.assert_array_equal(value, expected)


def test_a_model_needs_events_to_answer_by_popularity():
    with pytest.raises(ValueError, match="`fallback` must be one of"):
        model_of(FakeBackbone(), fallback="popularity")
