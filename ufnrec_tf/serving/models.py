"""Loads the exported version in force, and replaces it once a newer one appears."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from ufnrec_tf.common.errors import UserError
from ufnrec_tf.common.text import plain
from ufnrec_tf.export.saved_model import VECTORS_FILE, checked_metadata
from ufnrec_tf.export.versions import damaged_error, load_newest, newest_version
from ufnrec_tf.recommend.diversity import item_vectors
from ufnrec_tf.serving.counters import ServerMetrics
from ufnrec_tf.serving.limits import Refusal
from ufnrec_tf.serving.page_search import Catalogue, read_catalogue
from ufnrec_tf.serving.signatures import Signature, load_graphs

MODEL_NAME = "ufnrec"
"""The model's name in the addresses of requests."""

# Floats of one call's scores: bounds memory if there are a million items.
_MAX_SCORES = 1 << 26
# Seconds of a call for which the event loop may answer nobody else; calls, and histories of each,
# by which `quick_rows` is measured.
_QUICK_SECONDS = 0.02
_TIMED_CALLS, _TIMED_ROWS = 3, 8
# Checks for a new version after which the requests that use the one before are done.
_CHECKS_UNTIL_FREEZE = 15
_MOST_UNKNOWN = 10  # unknown ids of a list that an answer names

FileStates = tuple[tuple[str, int, int], ...]
"""Name, size and time of each file of a version."""


class LoadedModel(NamedTuple):
    """A version in memory.

    Attributes:
        version: The number of the version.
        metadata: The document of its `ufnrec.json`.
        signatures: The signatures by name.
        catalogue: The items of the version, empty if they are not known.
        item_vectors: float32 [V, D], the vectors by which items are scored.
        lookup: Maps object (bytes) [B, T] to internal ids, int32 [B, T]; 0 for unknown ids.
        quick_rows: Histories that a call answers so quickly that the event loop may make it.
    """

    version: int
    metadata: dict[str, Any]
    signatures: dict[str, Signature]
    catalogue: Catalogue
    item_vectors: np.ndarray
    lookup: Callable[[np.ndarray], np.ndarray]
    quick_rows: int = 0

    @property
    def max_rows(self) -> int:
        """Histories that one call may hold for its scores to fit into memory."""
        return max(1, _MAX_SCORES // (int(self.metadata["num_items"]) + 1))

    def marks(self, rows: Mapping[str, Sequence[Sequence[bytes]]]) -> dict[str, Any]:
        """Returns what a client should know of the ids of a request.

        `known_items` has the number of ids of each history that the model knows: 0 marks an answer
        that is the same for all. `unknown_exclude_ids` and `unknown_allow_ids` have the first ids
        of these lists that the model does not know, and are left out where there is none.

        Args:
            rows: Input name -> its rows.

        Returns:
            The keys beside an answer; none for an older export whose items are not known.
        """
        if not len(self.catalogue):
            return {}
        found: dict[str, Any] = {}
        if "item_ids" in rows:
            found["known_items"] = [
                sum(raw in self.catalogue for raw in row) for row in rows["item_ids"]
            ]
        for name in ("exclude_ids", "allow_ids"):
            ids = dict.fromkeys(raw for row in rows.get(name, ()) for raw in row if raw)
            unknown = (raw for raw in ids if raw not in self.catalogue)
            if shown := [raw.decode("utf-8", "replace") for raw in islice(unknown, _MOST_UNKNOWN)]:
                found[f"unknown_{name}"] = shown
        return found

    def places(self, item_ids: np.ndarray) -> np.ndarray:
        """Returns internal ids, int32 [B, T], of object (bytes) [B, T]; 0 for unknown ids."""
        return self.lookup(item_ids)

    def described(self, outputs: Mapping[str, np.ndarray], row: int) -> list[dict[str, Any]]:
        """Returns id, title, category and score of each item of a row, empty places left out.

        Args:
            outputs: `item_ids` object (bytes) [B, k] and `scores` float32 [B, k].
            row: The row.
        """
        pairs = zip(outputs["item_ids"][row], outputs["scores"][row], strict=True)
        return [
            {**self.catalogue.describe(raw.decode("utf-8", "replace")), "score": float(str(score))}
            for raw, score in pairs
            if raw
        ]

    def signature(self, name: str) -> Signature:
        """Returns a signature.

        Raises:
            Refusal: If the model has no signature of that name.
        """
        if name not in self.signatures:
            raise Refusal(
                400, f"unknown `signature_name`. Known: {', '.join(sorted(self.signatures))}."
            )
        return self.signatures[name]


def load_model(path: Path, catalogue: Catalogue | None = None) -> LoadedModel:
    """Returns the model of a version folder, each of its signatures called once to make it fast.

    Args:
        path: Version folder, such as `export/1`.
        catalogue: Items of the run, for an export without an items file.

    Raises:
        UserError: If it is missing or damaged, or does not answer.
    """
    metadata = checked_metadata(path)
    try:
        signatures, lookup = load_graphs(path, num_items=int(metadata["num_items"]))
        _ = signatures["recommend"], signatures["serving_default"]
        has_vectors = (path / VECTORS_FILE).is_file()
        vectors = item_vectors(path, None if has_vectors else tf.saved_model.load(str(path)))
    # What loading raises depends on which byte is damaged.
    except Exception as error:
        raise damaged_error(path, error) from error
    own_catalogue = read_catalogue(path)
    model = LoadedModel(
        int(path.name) if path.name.isdecimal() else 1,
        metadata,
        signatures,
        own_catalogue or catalogue or Catalogue(np.array([], dtype=object)),
        vectors,
        lookup,
    )
    _warm_up(path, model)
    return model._replace(quick_rows=_quick_rows(model))


def _warm_up(path: Path, model: LoadedModel) -> None:
    """Calls each signature with an empty history and with one of a known item."""
    known = [item["id"].encode() for item in model.catalogue.search("", limit=1)] or [b"?"]
    for signature in model.signatures.values():
        rows = np.array([known, [b""]], dtype=object)
        values = {info.name: rows if info.is_rows else 1 for info in signature.inputs}
        if "times" in values:
            values["times"] = np.array([[b"1"], [b""]], dtype=object)
        try:
            signature.call(values)
        except (Refusal, ValueError, TypeError) as error:
            raise UserError(
                f"{path}: the exported model does not answer by `{signature.name}` ({error}). "
                "Write it again by --mode=export."
            ) from error


def _quick_rows(model: LoadedModel) -> int:
    """Returns the number of full histories that a call answers in `_QUICK_SECONDS`."""
    signature = model.signatures["recommend"]
    known = [item["id"].encode() for item in model.catalogue.search("", limit=1)] or [b"?"]
    history = known * int(model.metadata["max_length"])
    num_rows = min(_TIMED_ROWS, model.max_rows)
    rows = np.array([history] * num_rows, dtype=object)
    times = np.full(rows.shape, b"1", dtype=object)
    values = {"item_ids": rows, "times": times, "k": int(model.metadata["top_k"])}
    seconds = []
    for _ in range(_TIMED_CALLS):
        begin = time.perf_counter()
        with suppress(Refusal):  # each request gets this refusal
            signature.call(values)
        seconds.append(time.perf_counter() - begin)
    return int(_QUICK_SECONDS * num_rows / min(seconds))


def file_states(version_folder: Path) -> FileStates:
    """Returns the states of a version's files, which differ once one of them has changed."""
    found = []
    for path in sorted(version_folder.rglob("*")):
        try:
            status = path.stat()
        except OSError:  # it is being replaced at this moment
            continue
        if path.is_file():
            found.append((str(path), status.st_size, status.st_mtime_ns))
    return tuple(found)


def _freeze_objects() -> None:
    """Excludes all objects of now from Python's garbage collection.

    A collection that visits a loaded model takes a few tenths of a second, in which no request is
    answered.
    """
    gc.unfreeze()
    gc.collect()  # the objects of an older version, cycles included
    gc.freeze()


class ModelKeeper:
    """Holds the version in force.

    A new version is loaded and called once beside the old one, then takes its place; requests
    that have begun keep the old one until they are done. A version is loaded only once its
    files have stayed the same from one check to the next. A damaged one is reported in one line,
    and tried again when its files change.

    Args:
        folder: The folder of versions.
        load: Loads a version folder; raises UserError.
        metrics: Counts reloads.
        log_line: Writes a line to the log.
    """

    def __init__(
        self,
        folder: Path,
        load: Callable[[Path], LoadedModel],
        *,
        metrics: ServerMetrics,
        log_line: Callable[[str], None],
    ) -> None:
        self._folder = folder
        self._load = load
        self._metrics = metrics
        self._log_line = log_line
        self._checks_until_freeze = 0
        self._seen: FileStates = ()
        self._tried: FileStates = ()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.current = load_newest(folder, self._first)
        _freeze_objects()
        metrics.version.set(self.current.version)

    def _first(self, path: Path) -> LoadedModel:
        self._tried = self._seen = file_states(path)
        return self._load(path)

    def start(self, *, poll_seconds: float) -> None:
        """Starts the thread that checks for new versions."""
        self._thread = threading.Thread(
            target=self._watch, args=(poll_seconds,), name="versions", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Ends the thread, and makes all objects collectable again."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        gc.unfreeze()

    def _watch(self, poll_seconds: float) -> None:
        while not self._stop.wait(poll_seconds):
            try:
                self.check()
            except Exception as error:  # of any kind: the version in force stays
                self._log_line(
                    plain(f"the check for a new version failed: {type(error).__name__}: {error}")
                )

    def check(self) -> None:
        """Loads the newest version if it is another one and its files have settled."""
        if self._checks_until_freeze:
            self._checks_until_freeze -= 1
            if not self._checks_until_freeze:
                _freeze_objects()
        try:
            path = newest_version(self._folder)
        except UserError:
            return
        now = file_states(path)
        is_settled, self._seen = now == self._seen, now
        if not is_settled or now == self._tried:
            return
        self._tried = now
        try:
            model = self._load(path)
        except UserError as error:
            if not path.is_dir():  # removed by a publisher, and not damaged
                return
            self._metrics.reloaded(is_loaded=False)
            self._log_line(f"version {path.name} not taken, {self.current.version} stays: {error}")
            return
        before, self.current = self.current.version, model
        self._checks_until_freeze = _CHECKS_UNTIL_FREEZE
        self._metrics.version.set(model.version)
        self._metrics.reloaded(is_loaded=True)
        self._log_line(f"version {model.version} serves now, in place of {before}")
