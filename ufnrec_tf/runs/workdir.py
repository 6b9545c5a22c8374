"""The work directory of a run: its lock, its identity, its metrics.jsonl."""

import json
import os
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from ufnrec_tf.common.errors import UserError
from ufnrec_tf.common.files import held_workdir, read_json, write_error, write_text
from ufnrec_tf.config import current_value

RANKS_FILES = {"validation": "ranks_validation.parquet", "test": "ranks.parquet"}
"""Each evaluated user's rank in a part, raw ids, for comparisons and other tools."""

LIFTS_FILE = "future_lift.parquet"
"""What each user adds to the future lifts of a run, raw ids, for comparisons."""

_ABSENT = {"data.exclude_users": ""}
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
        if self._must_exist and not (self.path / "config.json").is_file():
            raise UserError(
                f"{self.path}: not a trained work directory (config.json is missing). "
                "Run --mode=train with this --workdir first."
            )
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
        before = _ABSENT | record["identity"]
        for label, value in described.items():
            if label in before and before[label] != value:
                raise UserError(
                    f"--workdir={self.path}: was trained with {label} {before[label]!r}, now "
                    f"{value!r}. Give another --workdir, or remove this one to start again."
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
        """Removes the lines of later steps and a half-written last line."""
        if not self._is_written or not self.path.exists():
            return
        kept = []
        for line in self.path.read_text(encoding="utf-8").splitlines():
            try:
                if json.loads(line)["step"] <= step:
                    kept.append(line)
            except (ValueError, KeyError, TypeError):
                continue
        write_text(self.path, "".join(f"{line}\n" for line in kept))

    def read(self) -> list[dict[str, Any]]:
        """Returns the lines but for a half-written last one."""
        if not self.path.exists():
            return []
        values = []
        for line in self.path.read_text(encoding="utf-8").splitlines():
            try:
                values.append(json.loads(line))
            except ValueError:
                continue
        return values

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
    record = read_json(path)
    for key, kind in {"config": dict, "identity": dict, "seed": int, "data_path": str}.items():
        if not isinstance(record, dict) or not isinstance(record.get(key), kind):
            raise UserError(f"{path}: has no {key!r} of a run. Give another --workdir.")
    for section, values in record["config"].items():
        if isinstance(values, dict):
            for key, value in values.items():
                values[key] = current_value(f"{section}.{key}", value)
    identity = record["identity"].items()
    return {**record, "identity": {key: current_value(key, value) for key, value in identity}}
