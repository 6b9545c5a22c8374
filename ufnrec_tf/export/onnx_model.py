"""The exported model as ONNX, over internal ids: for programs without TensorFlow.

ONNX has no tables of strings, so the vocabulary lies in a file beside the model. The packages of
`pip install '.[onnx]'` are imported only here, where they are used.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
from typing import Any

import numpy as np
import tensorflow as tf

from ufnrec_tf.common.errors import UserError, import_extra, own_words
from ufnrec_tf.common.tensorflow_setup import quiet_stderr
from ufnrec_tf.export.retriever import Retriever
from ufnrec_tf.export.saved_model import ServedModel

OPSET = 17
MODEL_FILE = "onnx/model.onnx"
VOCABULARY_FILE = "onnx/vocabulary.json"
WITHOUT_ONNX = {"fmlp": "its filters are Fourier transforms, which the converter does not take"}
"""Backbone -> the reason why it cannot be written."""

_NUM_CHECKED = 200
_K = 10


def check_onnx(backbone_name: str, time: str = "none") -> None:
    """Raises UserError if a backbone cannot be written as ONNX, or a package is missing.

    Args:
        backbone_name: `backbone.name`.
        time: `backbone.time`.
    """
    setting, reason = f"name={backbone_name}", WITHOUT_ONNX.get(backbone_name, "")
    if time != "none":
        setting, reason = f"time={time}", "the converter does not take the buckets of times"
    if reason:
        raise UserError(
            f"--config.export.onnx: not for --config.backbone.{setting}: {reason}. "
            "Leave it out; the SavedModel holds every backbone."
        )
    for name in ("tf2onnx", "onnxruntime"):
        _package(name)


def with_onnx(model: ServedModel, item_ids: np.ndarray) -> ServedModel:
    """Returns the model with two more files, MODEL_FILE and VOCABULARY_FILE.

    The ONNX model maps `histories` int32 [B, T] (internal ids, newest last, 0 is padding at any
    position, both sizes free) and `k` int32 [1] to `items` int32 [B, min(k, V + 1)] and `scores`
    float32 of that shape, as the signature `recommend` does: 0 and -1e30 where fewer are left. The
    vocabulary is a JSON list whose element n is the raw id of internal id n, "" for padding.

    The answers of onnxruntime to random histories are compared with those of the SavedModel's
    graph. `onnx_check` in the document keeps the number of `histories`, the number of them with
    the `same_items` in the same order, and the `largest_score_difference`.

    Args:
        model: The model that will be written.
        item_ids: object (str) [num_items + 1], "" at 0.

    Raises:
        UserError: If a package is missing, or the converter does not know an operation.
    """
    content = _convert(model.retriever)
    document = dict(model.document)
    fingerprint = f"{document['fingerprint']} onnx {OPSET}".encode()
    document["fingerprint"] = hashlib.sha256(fingerprint).hexdigest()
    document["onnx_check"] = {
        "opset": OPSET,
        **_compare_answers(content, model.retriever, len(item_ids)),
    }
    vocabulary = json.dumps([str(raw) for raw in item_ids], ensure_ascii=False)
    return dataclasses.replace(
        model,
        document=document,
        extra_files={MODEL_FILE: content, VOCABULARY_FILE: vocabulary.encode("utf-8")},
    )


def onnx_line(document: dict[str, Any]) -> str:
    """Returns a line on the `onnx_check` of an `ufnrec.json`, or "" if there is none."""
    check = document.get("onnx_check")
    if not check:
        return ""
    return (
        f"{MODEL_FILE}: opset {check['opset']}; onnxruntime gives the same items in the same "
        f"order for {check['same_items']} of {check['histories']} random histories; largest "
        f"difference of scores {check['largest_score_difference']:.1e}"
    )


def _convert(retriever: Retriever) -> bytes:
    """Returns the ONNX model."""
    converter, onnx = _package("tf2onnx"), _package("onnx")
    logging.getLogger("tf2onnx").setLevel(logging.CRITICAL)
    specs = [
        tf.TensorSpec([None, None], tf.int32, name="histories"),
        tf.TensorSpec([1], tf.int32, name="k"),
    ]

    def rank(histories: tf.Tensor, k: tf.Tensor) -> dict[str, tf.Tensor]:
        return retriever.rank(histories, k[0])

    try:
        with quiet_stderr():
            converted, _ = converter.convert.from_function(
                tf.function(rank, input_signature=specs),
                input_signature=specs,
                opset=OPSET,
                custom_op_handlers={"Erfc": (_erfc, [])},
            )
    except (ValueError, KeyError, NotImplementedError, RuntimeError) as error:
        raise _conversion_error(own_words(error)) from error
    known = {schema.name for schema in onnx.defs.get_all_schemas()}
    if unknown := sorted({node.op_type for node in converted.graph.node} - known):
        raise _conversion_error(f"ONNX has no {', '.join(unknown)}")
    return converted.SerializeToString()


def _conversion_error(reason: str) -> UserError:
    """Returns the UserError for a backbone that the converter rejects."""
    return UserError(
        f"--config.export.onnx: the converter does not take this backbone ({reason}). Leave it "
        "out; the SavedModel holds every backbone."
    )


def _compare_answers(content: bytes, retriever: Retriever, num_rows: int) -> dict[str, Any]:
    """Returns the comparison of onnxruntime's answers with TensorFlow's."""
    runtime = _package("onnxruntime")
    session = runtime.InferenceSession(content, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    histories = rng.integers(1, num_rows, (_NUM_CHECKED, 2 * retriever.max_length), np.int32)
    lengths = rng.integers(0, histories.shape[1] + 1, _NUM_CHECKED)
    histories[np.arange(histories.shape[1]) >= lengths[:, None]] = 0
    k = min(_K, num_rows)
    items, scores = session.run(
        ["items", "scores"], {"histories": histories, "k": np.array([k], np.int32)}
    )
    expected = retriever.rank(tf.constant(histories), tf.constant(k))
    return {
        "histories": _NUM_CHECKED,
        "same_items": int((items == expected["items"].numpy()).all(axis=1).sum()),
        "largest_score_difference": float(np.abs(scores - expected["scores"].numpy()).max()),
    }


def _erfc(context: Any, node: Any, name: str, args: Any) -> None:
    """Replaces Erfc, which GELU uses and ONNX lacks, by 1 - Erf."""
    one = context.make_const(f"{name}_one", np.array(1, np.float32)).output[0]
    shapes, types = [context.get_shape(node.output[0])], [context.get_dtype(node.output[0])]
    inputs, outputs = list(node.input), list(node.output)
    context.remove_node(node.name)
    erf = context.make_node("Erf", inputs, shapes=shapes, dtypes=types)
    context.make_node(
        "Sub", [one, erf.output[0]], outputs=outputs, name=name, shapes=shapes, dtypes=types
    )


def _package(name: str) -> Any:
    """Returns an imported package of the extra `onnx`, without its start-up messages."""
    with quiet_stderr():
        return import_extra(name, extra="onnx", needed_by="--config.export.onnx")
