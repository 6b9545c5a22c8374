"""The finished parts of an output, kept beside it, from which a killed run resumes."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from ufnrec_tf.common.errors import UserError
from ufnrec_tf.common.files import held_folder, sha256_of, to_disk

_STATE = "state.json"


class HistoryCounts(NamedTuple):
    """Counts of histories and ids read, and of rows written.

    Attributes:
        histories: Histories read.
        ids: Item ids read.
        known: Item ids that the model knows.
        empty: Histories without a known id.
        recommendations: Rows written.
    """

    histories: int = 0
    ids: int = 0
    known: int = 0
    empty: int = 0
    recommendations: int = 0

    def plus(self, other: HistoryCounts) -> HistoryCounts:
        """Returns the sums."""
        return HistoryCounts(*(mine + its for mine, its in zip(self, other, strict=True)))


class FinishedParts:
    """The parts of one output, held by one process at a time.

    A context manager: entering creates the folder `.NAME.parts` beside the output, or takes over
    the parts that a killed run of the same identity left there. Leaving removes the folder, unless
    a part is finished and the run was ended by something else than a UserError.

    Args:
        output: The output file.
        identity: Label to value; a run resumes only the parts of one with equal values.

    Attributes:
        done: Sums over the finished parts.
        note: A line on the parts that a killed run left, or "".
    """

    def __init__(self, output: Path, identity: Mapping[str, Any]) -> None:
        self.folder = output.with_name(f".{output.name}.parts")
        self.done = HistoryCounts()
        self.note = ""
        self._output = output
        self._identity = dict(identity)
        self._parts: list[HistoryCounts] = []
        self._held = ExitStack()

    @property
    def paths(self) -> list[Path]:
        """The finished parts in order."""
        return [self._path(number) for number in range(len(self._parts))]

    @property
    def next_path(self) -> Path:
        """The file for the next part."""
        return self._path(len(self._parts))

    def scratch(self) -> Path:
        """Returns an empty folder for temporary files, removed at the end."""
        folder = self.folder / "scratch"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return folder

    def finish(self, counts: HistoryCounts) -> None:
        """Records `next_path`, which must be written, as a finished part."""
        to_disk(self.next_path)
        self._write_state([*self._parts, counts])
        self._parts.append(counts)
        self.done = self.done.plus(counts)

    def __enter__(self) -> FinishedParts:
        self._held.enter_context(held_folder(self.folder, if_taken=self._refuse))
        self._take_over()
        return self

    def _refuse(self) -> None:
        raise UserError(
            f"{self._output}: another run is writing it. Wait for it to end, or give another "
            "--output."
        )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        is_kept = self._parts and kind is not None and not issubclass(kind, UserError)
        shutil.rmtree(self.folder / "scratch" if is_kept else self.folder, ignore_errors=True)
        self._held.close()

    def _take_over(self) -> None:
        """Reads the parts that a killed run left, or removes them if they do not fit."""
        try:
            state = json.loads((self.folder / _STATE).read_text(encoding="utf-8"))
            before = dict(state["identity"])
            parts = [HistoryCounts(*map(int, part)) for part in state["parts"]]
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError):
            self._start_anew("its state cannot be read")
            return
        other = [key for key, value in self._identity.items() if before.get(key) != value]
        if other:
            self._start_anew(f"its {' and its '.join(other)} differed")
            return
        if not all(self._path(number).is_file() for number in range(len(parts))):
            self._start_anew("a part of it is gone")
            return
        self._parts = parts
        for part in parts:
            self.done = self.done.plus(part)
        self.note = f"resumes after {self.done.histories:,} histories of a run that was ended"

    def _start_anew(self, reason: str) -> None:
        self.note = f"starts anew; the run that was ended is dropped, as {reason}"
        for path in self.folder.iterdir():
            if path.name != ".lock":
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def _write_state(self, parts: list[HistoryCounts]) -> None:
        state, new = self.folder / _STATE, self.folder / f".{_STATE}.new"
        new.write_text(json.dumps({"identity": self._identity, "parts": parts}), encoding="utf-8")
        to_disk(new)
        os.replace(new, state)
        to_disk(self.folder)

    def _path(self, number: int) -> Path:
        return self.folder / f"part-{number:06d}"


def hash_of_folder(folder: Path) -> str:
    """Returns the SHA-256 of the names and contents of all files below a folder.

    Raises:
        OSError: If a file cannot be read.
    """
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            digest.update(f"{sha256_of(path)}  {path.relative_to(folder)}\n".encode())
    return digest.hexdigest()
