"""A version in memory; a newer one taken up."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from ufnrec_tf.common.errors import UserError, own_words
from ufnrec_tf.export.saved_model import read_metadata
from ufnrec_tf.export.versions import damaged, newest_version
from ufnrec_tf.serving.counters import ServerMetrics
from ufnrec_tf.serving.limits import Refusal
from ufnrec_tf.serving.page_search import Catalogue, read_catalogue
from ufnrec_tf.serving.rest import InputSpec

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


Fingerprint = tuple[tuple[str, int, int], ...]


def fingerprint(version_folder: Path) -> Fingerprint:
    """Returns name, size and time of each file of a version, to tell whether it has changed."""
    found = []
    for path in sorted(version_folder.rglob("*")):
        try:
            status = path.stat()
        except OSError:  # it is being replaced at this moment
            continue
        if path.is_file():
            found.append((str(path), status.st_size, status.st_mtime_ns))
    return tuple(found)


def _spare_the_collector() -> None:
    """Keeps Python's collector from walking, while requests wait, over what stays for good.

    A walk over a loaded model takes a few tenths of a second, in which nothing is answered.
    """
    gc.unfreeze()
    gc.collect()  # what an older version left, cycles included
    gc.freeze()


_LOOKS_TO_DRAIN = 15
"""Looks for a new version after which requests that began with the one before are done."""


class ModelKeeper:
    """Holds the version that answers.

    A new version is loaded and called once beside the old one, then takes its place; requests
    that have begun keep the old one until they are done. A version is loaded only once its
    files have stayed as they are from one look to the next; a damaged one is told of in one
    line, and looked at again when its files change.

    Args:
        folder: Holds the version folders.
        load: Loads a version folder; raises UserError.
        metrics: Counts reloads.
        tell: Takes a line for the log.
    """

    def __init__(
        self,
        folder: Path,
        load: Callable[[Path], LoadedModel],
        *,
        metrics: ServerMetrics,
        tell: Callable[[str], None],
    ) -> None:
        self._folder = folder
        self._load = load
        self._metrics = metrics
        self._tell = tell
        self._looks_left = 0
        self._seen: Fingerprint = ()
        self._tried: Fingerprint = ()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        path = newest_version(folder)
        self._tried = self._seen = fingerprint(path)
        self.current = load(path)
        _spare_the_collector()
        metrics.version.set(self.current.version)

    def start(self, *, poll_seconds: float) -> None:
        """Looks for new versions from now on, in a thread."""
        self._thread = threading.Thread(
            target=self._watch, args=(poll_seconds,), name="versions", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Ends the thread; Python's collector is as it was."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        gc.unfreeze()

    def _watch(self, poll_seconds: float) -> None:
        while not self._stop.wait(poll_seconds):
            try:
                self.look()
            except Exception as error:  # whatever it was, the version in force stays
                self._tell(f"looking for a new version failed: {type(error).__name__}: {error}")

    def look(self) -> None:
        """Takes up the newest version if it is another one, and whole."""
        if self._looks_left:
            self._looks_left -= 1
            if not self._looks_left:
                _spare_the_collector()
        try:
            path = newest_version(self._folder)
        except UserError:
            return
        now = fingerprint(path)
        is_settled, self._seen = now == self._seen, now
        if not is_settled or now == self._tried:
            return
        self._tried = now
        try:
            model = self._load(path)
        except UserError as error:
            self._metrics.reloaded(is_loaded=False)
            self._tell(f"version {path.name} not taken, {self.current.version} stays: {error}")
            return
        before, self.current = self.current.version, model
        self._looks_left = _LOOKS_TO_DRAIN
        self._metrics.version.set(model.version)
        self._metrics.reloaded(is_loaded=True)
        self._tell(f"version {model.version} serves now, in place of {before}")
