"""The work directory of a run: its lock, its identity, its metrics.jsonl."""

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from ufnrec_tf.common.errors import UserError, own_words
from ufnrec_tf.common.files import held_workdir, is_writable, reading, write_error, write_text
from ufnrec_tf.common.hashes import read_hashed_json
from ufnrec_tf.config import current_value

RANKS_FILES = {"validation": "ranks_validation.parquet", "test": "ranks.parquet"}
"""Each evaluated user's rank in a part, raw ids, for comparisons and other tools."""

_MEND = (
    "Settings are changed by flags, not in this file. Put a copy of it back, or remove it and "
    "result.json and run this work directory's --mode=train command once more."
)
_PARTS = (*RANKS_FILES, "left_out")
"""Values of `split` in metrics.jsonl; the last one is a teacher's."""
_TEXTS = ("split", "weights", "mode")
"""Keys of metrics.jsonl whose values are texts; those of all others but `protocol` are numbers."""
LIFTS_FILE = "future_lift.parquet"
"""What each user adds to the future lifts of a run, raw ids, for comparisons."""

TIMES_UNREAD = {
    "backbone.time": "none",
    "backbone.request_time": False,
    "teacher.time": "none",
}
"""The settings of times, with the values by which none are read."""

ABSENT = {"data.exclude_users": "", "teacher.folds": 1, **TIMES_UNREAD}
"""Settings that older runs did not record, with the values that those runs used."""


class Workdir:
    """The work directory of a run, held by one process at a time.

    A context manager: entering makes and locks it, leaving lets it go.

    Args:
        path: The directory.
        must_exist: True raises a UserError for a missing directory; False makes it.
        is_held: False for a worker whose chief holds it: nothing is made or locked.
    """

    def __init__(self, path: str | Path, *, must_exist: bool = False, is_held: bool = True) -> None:
        self.path = Path(path)
        self._must_exist = must_exist
        self._is_held = is_held
        self._held = ExitStack()

    def __enter__(self) -> "Workdir":
        self._check_exists()
        if not self._is_held:
            return self
        self._held.enter_context(held_workdir(self.path))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._held.close()

    @contextmanager
    def read(self) -> Iterator[None]:
        """Keeps other processes from changing the directory, and lets them read it.

        Raises:
            UserError: If a process is changing it.
        """
        self._check_exists()
        with reading(self.path):
            yield

    @contextmanager
    def held_if_writable(self) -> Iterator[None]:
        """Holds the directory, or only reads it if it cannot be written to.

        Raises:
            UserError: If another process holds it.
        """
        self._check_exists()
        with self if is_writable(self.path) else self.read():
            yield

    def _check_exists(self) -> None:
        if self._must_exist and not (self.path / "config.json").is_file():
            raise UserError(
                f"{self.path}: not a trained work directory (config.json is missing). "
                "Run --mode=train with this --workdir first."
            )

    def check_same(self, described: dict[str, Any]) -> None:
        """Raises UserError if another run was trained in this directory before.

        Args:
            described: Label to value: what must be equal for a run to resume.

        Raises:
            UserError: Naming the first difference and the ways out.
        """
        path = self.path / "config.json"
        if not path.exists():
            return
        record = read_record(path)
        before = ABSENT | record["identity"]
        for label, value in described.items():
            if label in before and before[label] != value:
                raise UserError(
                    f"--workdir={self.path}: was trained with {label} {before[label]!r}, now "
                    f"{value!r}. Give another --workdir."
                )


class Evaluation(dict[str, Any]):
    """The values of a line of metrics.jsonl. A key that is missing is a damaged line.

    Args:
        values: The values.
        place: The file and the line.
    """

    def __init__(self, values: dict[str, Any], place: str) -> None:
        super().__init__(values)
        self._place = place

    def __missing__(self, key: str) -> Any:
        raise _damaged_line(self._place, f"has no {key!r}")


def _damaged_line(place: str, reason: str) -> UserError:
    return UserError(
        f"{place}: is damaged ({reason}): expected an evaluation as in the other lines. Put a copy "
        "of the file back, or remove the line."
    )


class JsonLines:
    """metrics.jsonl: one line an evaluation, cut back to the checkpoint when a run resumes.

    Args:
        path: The file.
        is_written: False for a worker that leaves it to the chief: it is never changed.
    """

    def __init__(self, path: Path, *, is_written: bool = True) -> None:
        self.path = path
        self._is_written = is_written

    def cut_after(self, step: int) -> None:
        """Removes the lines of later steps and a half-written last line.

        Raises:
            UserError: If a line before it is damaged, or the file cannot be read.
        """
        if not self._is_written or not self.path.exists():
            return
        kept, lines = [], self._lines()
        for place, line in enumerate(lines):
            try:
                if self._parsed(place, line)["step"] <= step:
                    kept.append(line.decode())
            except UserError:
                if place < len(lines) - 1 and not _is_half(line):
                    raise
        write_text(self.path, "".join(f"{line}\n" for line in kept))

    def read(self) -> list[Evaluation]:
        """Returns the lines, but for those that a killed process left half-written.

        Raises:
            UserError: If another line is damaged, or the file cannot be read.
        """
        if not self.path.exists():
            return []
        lines = enumerate(self._lines())
        return [self._parsed(place, line) for place, line in lines if not _is_half(line)]

    def _lines(self) -> list[bytes]:
        try:
            return self.path.read_bytes().splitlines()
        except OSError as error:
            raise UserError(f"{self.path}: cannot be read ({own_words(error)}).") from error

    def _parsed(self, place: int, line: bytes) -> Evaluation:
        """Returns the values of a line, each of its kind."""
        where = f"{self.path}, line {place + 1}"
        try:
            values = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise _damaged_line(where, "is no JSON") from error
        if not isinstance(values, dict):
            raise _damaged_line(where, "is no object")
        for key, value in values.items():
            if key == "protocol":
                continue
            kind: Any = str if key in _TEXTS else (int, float)
            if not isinstance(value, kind):
                raise _damaged_line(where, f"{key!r} is {value!r}")
        if values.get("split", _PARTS[0]) not in _PARTS:
            raise _damaged_line(where, f"'split' is {values['split']!r}")
        return Evaluation(values, where)

    def append(self, value: dict[str, Any]) -> None:
        """Adds a line and waits until it is on the disk, as later checkpoints rely on it."""
        if not self._is_written:
            return
        try:
            with self.path.open("ab+") as file:
                if file.tell():
                    file.seek(-1, os.SEEK_END)
                    if file.read() != b"\n":  # half a line, of a process that was killed
                        file.write(b"\n")
                file.write(f"{json.dumps(value)}\n".encode())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise write_error(self.path, error) from error


def read_record(path: Path) -> dict[str, Any]:
    """Reads the config.json of a work directory, with today's names of values.

    Raises:
        UserError: If it is missing, damaged, or not what a run writes.
    """
    record = read_hashed_json(path, mend=_MEND)
    for key, kind in {"config": dict, "identity": dict, "seed": int, "data_path": str}.items():
        if not isinstance(record, dict) or not isinstance(record.get(key), kind):
            raise UserError(f"{path}: has no {key!r} of a run. Give another --workdir.")
    for section, values in record["config"].items():
        if isinstance(values, dict):
            for key, value in values.items():
                values[key] = current_value(f"{section}.{key}", value)
    identity = record["identity"].items()
    return {**record, "identity": {key: current_value(key, value) for key, value in identity}}


def _is_half(line: bytes) -> bool:
    """True if a line is one that a killed process did not write to its end."""
    return not line.rstrip().endswith(b"}")
