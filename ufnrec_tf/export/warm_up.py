"""Warm-up requests for TensorFlow Serving, which replays them before a version serves.

The file holds PredictionLog messages as TFRecords. They are encoded here by their field numbers, so
neither training nor serving needs the package tensorflow-serving-api.

Source: tensorflow/serving, tensorflow_serving/apis/prediction_log.proto, predict.proto and
model.proto; https://www.tensorflow.org/tfx/serving/saved_model_warmup.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from ufnrec_tf.export.timed_retriever import made_up_times

FOLDER, FILE = "assets.extra", "tf_serving_warmup_requests"
KINDS = ("all", "batching", "none")
MODEL_NAME = "ufnrec"

_BATCH_SIZES = (1, 32)
# Field numbers, all of length-delimited fields.
_PREDICT_LOG = 6  # of PredictionLog
_REQUEST = 1  # of PredictLog
_MODEL_SPEC, _INPUTS = 1, 2  # of PredictRequest
_NAME, _SIGNATURE_NAME = 1, 3  # of ModelSpec
_KEY, _VALUE = 1, 2  # of an entry of a map
_LENGTH_DELIMITED = 2


class WarmUpRequest(NamedTuple):
    """A call of a signature.

    Attributes:
        signature: The name of the signature.
        inputs: Name -> array: object (str) [B, T] or [B], int64 [B, T], or int32 [].
    """

    signature: str
    inputs: dict[str, np.ndarray]


def warm_up_requests(
    item_ids: np.ndarray,
    *,
    max_length: int,
    top_k: int,
    kind: str = "all",
    has_times: bool = False,
) -> list[WarmUpRequest]:
    """Returns calls of the signatures with 1 and 32 histories of full length and an empty one.

    The histories are slices of the vocabulary in its order, not those of any user.

    Args:
        item_ids: object (str) [num_items + 1], "" at 0.
        max_length: Items of a history.
        top_k: The k of signatures that take one.
        kind: "all" signatures; "batching": only those whose inputs all have a row a history, as
            a server that batches requests rejects the others, and with them the model; "none".
        has_times: True if the signatures take times.

    Raises:
        ValueError: If `kind` is unknown.
    """
    if kind not in KINDS:
        raise ValueError(f"`kind` must be one of {KINDS}. Received: {kind!r}.")
    if kind == "none":
        return []
    vocabulary = item_ids[1:]
    histories = [np.array([[""]], dtype=object)]
    for size in _BATCH_SIZES:
        rows = np.arange(size)[:, None] + np.arange(max_length)
        histories.append(vocabulary[rows % len(vocabulary)])
    k, requests = np.array(top_k, np.int32), []
    for ids in histories:
        shared = {"item_ids": ids}
        if has_times:
            shared["times"] = made_up_times(ids != "")
        requests += [WarmUpRequest("serving_default", shared), WarmUpRequest("encode", shared)]
        if kind == "all":
            lists = {"exclude_ids": ids[:, :1], "allow_ids": np.full_like(ids[:, :1], "")}
            requests.append(WarmUpRequest("recommend", {**shared, "k": k}))
            requests.append(WarmUpRequest("recommend_filtered", {**shared, "k": k, **lists}))
            of_items = {"item_ids": ids[:, 0], "k": k}
            requests.append(WarmUpRequest("similar", of_items))
            requests.append(WarmUpRequest("similar_filtered", {**of_items, **lists}))
    return requests


def write_warm_up(folder: Path, requests: list[WarmUpRequest]) -> None:
    """Writes the requests into the SavedModel `folder`; no file for an empty list."""
    if not requests:
        return
    (folder / FOLDER).mkdir()
    with tf.io.TFRecordWriter(str(folder / FOLDER / FILE)) as writer:
        for request in requests:
            writer.write(_prediction_log(request))


def _prediction_log(request: WarmUpRequest) -> bytes:
    """Returns the request as a serialized PredictionLog."""
    spec = _field(_NAME, MODEL_NAME.encode()) + _field(_SIGNATURE_NAME, request.signature.encode())
    body = _field(_MODEL_SPEC, spec)
    for name, value in request.inputs.items():
        kind = tf.string if value.dtype == object else value.dtype
        tensor = tf.make_tensor_proto(value, kind).SerializeToString()
        body += _field(_INPUTS, _field(_KEY, name.encode()) + _field(_VALUE, tensor))
    return _field(_PREDICT_LOG, _field(_REQUEST, body))


def _field(number: int, content: bytes) -> bytes:
    """Returns a length-delimited field: its tag, the content's length, the content."""
    return _varint(number << 3 | _LENGTH_DELIMITED) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    """Returns a number in seven bits a byte, the lowest first; a top bit means more follow."""
    groups = []
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*groups, value])
