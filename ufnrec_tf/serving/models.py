"""A version of the exported model in memory: its signatures, called with arrays; its items."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from ufnrec_tf.errors import UserError, own_words
from ufnrec_tf.export import read_metadata
from ufnrec_tf.serving.catalogue import Catalogue, read_catalogue
from ufnrec_tf.serving.refusal import Refusal
from ufnrec_tf.serving.requests import InputSpec
from ufnrec_tf.versions import damaged

MODEL_NAME = "ufnrec"
"""What the model is called in the addresses of requests."""

# Floats of one call's scores, which bound memory where there are a million items.
_MAX_SCORES = 1 << 26


class Signature(NamedTuple):
    """A signature of a loaded model.

    Attributes:
        name: Such as `recommend`.
        inputs: What it takes, by name.
        outputs: What it gives, by name; the first axis of each is the histories.
        function: TensorFlow's, by keyword arguments.
    """

    name: str
    inputs: tuple[InputSpec, ...]
    outputs: tuple[InputSpec, ...]
    function: Callable[..., Mapping[str, tf.Tensor]]

    def call(self, inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Returns the outputs of one call.

        Args:
            inputs: Input name -> object (bytes) [B, T], or an integer.

        Raises:
            Refusal: If the model cannot answer, such as with scores that are not finite.
        """
        tensors = {
            spec.name: tf.constant(inputs[spec.name], dtype=spec.dtype) for spec in self.inputs
        }
        try:
            outputs = self.function(**tensors)
        except tf.errors.OpError as error:
            raise Refusal(500, f"the model could not answer: {own_words(error)}.") from None
        return {spec.name: outputs[spec.name].numpy() for spec in self.outputs}


class LoadedModel(NamedTuple):
    """A version that answers.

    Attributes:
        version: Its number.
        metadata: Of `ufnrec.json`.
        signatures: By name.
        catalogue: Its items, empty where they are not known.
        owner: TensorFlow's object; while it lives, so do the variables.
    """

    version: int
    metadata: dict[str, Any]
    signatures: dict[str, Signature]
    catalogue: Catalogue
    owner: Any

    @property
    def max_rows(self) -> int:
        """Histories that one call may hold, so that its scores fit into memory."""
        return max(1, _MAX_SCORES // (int(self.metadata["num_items"]) + 1))

    def signature(self, name: str) -> Signature:
        """Returns a signature.

        Raises:
            Refusal: If the model has none of that name.
        """
        if name not in self.signatures:
            raise Refusal(
                400, f"unknown `signature_name`. Known: {', '.join(sorted(self.signatures))}."
            )
        return self.signatures[name]


def load_model(path: Path, catalogue: Catalogue | None = None) -> LoadedModel:
    """Loads a version folder and calls each of its signatures once, which makes them fast.

    Args:
        path: Version folder, such as `export/1`.
        catalogue: Items of the run, for an export that has none beside it.

    Raises:
        UserError: If it is missing or damaged, or does not answer.
    """
    metadata = read_metadata(path)
    try:
        owner = tf.saved_model.load(str(path))
        signatures = {name: _signature(name, owner.signatures[name]) for name in owner.signatures}
        _ = signatures["recommend"], signatures["serving_default"]
    # What loading raises depends on which byte is damaged.
    except Exception as error:
        raise damaged(path, error) from error
    own = read_catalogue(path)
    model = LoadedModel(
        int(path.name) if path.name.isdecimal() else 1,
        metadata,
        signatures,
        own or catalogue or Catalogue(np.array([], dtype=object)),
        owner,
    )
    _warm_up(path, model)
    return model


def _signature(name: str, function: Any) -> Signature:
    _, arguments = function.structured_input_signature
    return Signature(
        name,
        tuple(_spec(key, arguments[key]) for key in sorted(arguments)),
        tuple(
            _spec(key, function.structured_outputs[key])
            for key in sorted(function.structured_outputs)
        ),
        function,
    )


def _spec(name: str, spec: Any) -> InputSpec:
    return InputSpec(
        name, spec.dtype.name, tuple(-1 if size is None else size for size in spec.shape)
    )


def _warm_up(path: Path, model: LoadedModel) -> None:
    """Calls each signature with an empty history and with one of a known item."""
    known = [item["id"].encode() for item in model.catalogue.search("", limit=1)] or [b"?"]
    for signature in model.signatures.values():
        rows = np.array([known, [b""]], dtype=object)
        try:
            signature.call({spec.name: rows if spec.is_rows else 1 for spec in signature.inputs})
        except (Refusal, ValueError, TypeError) as error:
            raise UserError(
                f"{path}: the exported model does not answer by `{signature.name}` ({error}). "
                "Write it again by --mode=export."
            ) from error
