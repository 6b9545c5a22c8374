"""The signatures of an exported model, each run in the thread that calls it.

A session of TensorFlow with no threads between operations runs a graph where it is called. The
function of a loaded SavedModel passes each call on to a thread, and its operations to others,
which for one history and 12,101 items takes twice as long with one thread, and more with several.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf.config_pb2 import CallableOptions

from ufnrec_tf.common.errors import own_words
from ufnrec_tf.serving.limits import Refusal
from ufnrec_tf.serving.rest import TensorInfo

tf1 = tf.compat.v1

# Items up to which a second thread within an operation costs more than it saves: with 12,101 items
# 64 histories took as long with two threads as with one, and half as much CPU time again.
_MOST_ITEMS_OF_ONE_THREAD = 50_000
_THREADS_VARIABLE = "TF_NUM_INTRAOP_THREADS"


class Signature(NamedTuple):
    """A signature of a loaded model.

    Attributes:
        name: Such as `recommend`.
        inputs: Its inputs, sorted by name.
        outputs: Its outputs, sorted by name; the first axis of each is the histories.
        function: Called by the values of the inputs; returns those of the outputs.
    """

    name: str
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    function: Callable[..., Sequence[np.ndarray]]

    def call(self, inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Returns the outputs of one call.

        Args:
            inputs: Input name -> object (bytes) [B, T], or an integer. Of an input that takes
                single ids, [B, 1]. Times are the bytes of whole numbers, or none, which is padding.

        Raises:
            Refusal: If the model cannot answer, such as with scores that are not finite.
        """
        values = [_fed(inputs[info.name], info) for info in self.inputs]
        try:
            outputs = self.function(*values)
        except tf.errors.OpError as error:
            raise Refusal(500, f"the model could not answer: {own_words(error)}.") from None
        return {info.name: value for info, value in zip(self.outputs, outputs, strict=True)}


def _fed(value: Any, info: TensorInfo) -> np.ndarray:
    """Returns the value of an input as TensorFlow takes it; see `Signature.call`."""
    if not info.is_rows:
        return np.asarray(value, info.dtype)
    if info.dtype == "int64":
        value = np.where(value == b"", b"0", value).astype(np.int64)
    return value[:, 0] if info.is_single else value


class Graphs(NamedTuple):
    """The graphs of a version in memory.

    Attributes:
        signatures: The signatures by name.
        lookup: Maps object (bytes) [B, T] to internal ids, int32 [B, T]; 0 for unknown ids.
    """

    signatures: dict[str, Signature]
    lookup: Callable[[np.ndarray], np.ndarray]


def load_graphs(path: Path, *, num_items: int) -> Graphs:
    """Returns the graphs of a version folder.

    Args:
        path: Version folder, such as `export/1`.
        num_items: Its items. The first version that a process loads decides by them whether
            operations have one thread or one a core, unless TF_NUM_INTRAOP_THREADS is set.

    Raises:
        Exception: Of many kinds, if it is damaged.
    """
    is_small = num_items <= _MOST_ITEMS_OF_ONE_THREAD and _THREADS_VARIABLE not in os.environ
    config = tf1.ConfigProto(
        intra_op_parallelism_threads=int(is_small),
        inter_op_parallelism_threads=-1,  # each operation runs in the caller's thread
        allow_soft_placement=True,  # as the functions of a loaded SavedModel
    )
    with tf.Graph().as_default() as graph:
        session = tf1.Session(graph=graph, config=config)
        definitions = tf1.saved_model.load(session, ["serve"], str(path)).signature_def
        signatures = {
            name: _signature(name, definition, session)
            for name, definition in definitions.items()
            if definition.inputs
        }
        # The only one: of raw ids to internal ones.
        (table,) = (op for op in graph.get_operations() if op.type == "HashTableV2")
        ids = tf1.placeholder(tf.string, [None, None])
        places = tf.raw_ops.LookupTableFindV2(
            table_handle=table.outputs[0], keys=ids, default_value=tf.constant(0)
        )
        find = _function(session, [ids.name], [places.name])
        return Graphs(signatures, lambda item_ids: find(item_ids)[0])


def _signature(name: str, definition: Any, session: Any) -> Signature:
    inputs, outputs = sorted(definition.inputs), sorted(definition.outputs)
    return Signature(
        name,
        tuple(_tensor_info(key, definition.inputs[key]) for key in inputs),
        tuple(_tensor_info(key, definition.outputs[key]) for key in outputs),
        _function(
            session,
            [definition.inputs[key].name for key in inputs],
            [definition.outputs[key].name for key in outputs],
        ),
    )


def _function(session: Any, inputs: list[str], outputs: list[str]) -> Callable[..., list[Any]]:
    """Returns a function of the values of tensors, by their names.

    That of the public `make_callable` looks the tensors up again in every call, which for one
    history takes half as long as the answer.
    """
    options = CallableOptions(feed=inputs, fetch=outputs)
    return session._make_callable_from_options(options)


def _tensor_info(name: str, info: Any) -> TensorInfo:
    shape = tuple(int(dim.size) for dim in info.tensor_shape.dim)
    return TensorInfo(name, tf.as_dtype(info.dtype).name, shape)
