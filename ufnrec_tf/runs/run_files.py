"""The hashes of a run's files, recorded in its result.json and checked when they are read."""

from pathlib import Path
from typing import Any

from ufnrec_tf.common.errors import UserError
from ufnrec_tf.common.hashes import KEY, check_file, hashes_of, read_hashed_json, write_hashed_json
from ufnrec_tf.runs.event_files import EVENTS

RESULT = "result.json"
_FILES = "files"
_TABLES = (
    *("ids/items.parquet", "ids/rows.parquet", "ids/events.parquet", "ids/histories.parquet"),
    *("ranks.parquet", "ranks_validation.parquet", "false_negatives.parquet"),
    "future_lift.parquet",
)
SCALARS = "tensorboard/curves"
OLDER_SCALARS = "tensorboard/train"
"""Where runs of older versions have their scalars."""
_GROWING = ("metrics.jsonl", SCALARS, OLDER_SCALARS)
"""Files, or folders of them, to which evaluations and resumed runs append."""
_MEND_GROWING = "Put a copy of it back, or remove it: then the curves are lost, and no result."
_MEND = (
    "Put a copy of it back, or remove result.json and run this work directory's --mode=train "
    "command once more, which writes it again."
)


def write_result(workdir: Path, result: dict[str, Any]) -> None:
    """Writes result.json with the hashes of the run's other files, and of itself."""
    folders = (workdir / OLDER_SCALARS, workdir / SCALARS)
    events = [path for folder in folders for path in sorted(folder.glob(f"{EVENTS}*"))]
    scalars = (path.relative_to(workdir).as_posix() for path in events)
    files = hashes_of(workdir, (*_TABLES, *_GROWING, *scalars))
    write_hashed_json(workdir / RESULT, {**result, _FILES: files})


def read_result(workdir: Path) -> Any:
    """Returns the content of result.json.

    Raises:
        UserError: If it is missing, damaged or edited.
    """
    return read_hashed_json(workdir / RESULT, mend=_MEND)


def check_run_file(workdir: Path, name: str) -> None:
    """Checks a file against the hash that the finished run recorded; others are left alone.

    Args:
        workdir: The work directory.
        name: Path of the file below it, or of a folder whose files are all checked.

    Raises:
        UserError: If it was edited or is damaged, or result.json is.
    """
    if not (workdir / RESULT).is_file() or not (workdir / name).exists():
        return
    for found, recorded in (read_result(workdir).get(_FILES) or {}).items():
        path = workdir / found
        if name not in (found, path.parent.relative_to(workdir).as_posix()) or not path.is_file():
            continue
        is_growing = found.startswith(_GROWING)
        size = recorded["bytes"] if is_growing else -1
        mend = _MEND_GROWING if is_growing else _MEND
        try:
            check_file(path, recorded[KEY], num_bytes=size, mend=mend)
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror}).") from error


def renew_hashes(workdir: Path, *names: str) -> None:
    """Records the hashes of files of a finished run again that were written anew."""
    if (workdir / RESULT).is_file():
        result = read_result(workdir)
        files = {**result.get(_FILES, {}), **hashes_of(workdir, names)}
        write_hashed_json(workdir / RESULT, {**result, _FILES: files})
