"""Keeps the newest version of an export in memory, and takes up a new one while it serves."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from pathlib import Path

from ufnrec_tf.errors import UserError
from ufnrec_tf.serving.metrics import ServerMetrics
from ufnrec_tf.serving.models import LoadedModel
from ufnrec_tf.versions import newest_version

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
