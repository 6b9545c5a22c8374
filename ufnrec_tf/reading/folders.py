"""Folders of files that are one log, as Spark and others write them: which files, in what order."""

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from ufnrec_tf.common.errors import UserError
from ufnrec_tf.reading.compressed import unpacked_name
from ufnrec_tf.reading.data_files import DataFile
from ufnrec_tf.reading.parquet_files import is_parquet

EXPECTED = (
    "expected a file, a folder of CSV, JSON or Parquet files of the same columns, or a folder that "
    "--mode=prepare has finished"
)
_LIVING = {
    "_delta_log": "a Delta table, whose files may hold rows that were deleted: export its newest "
    "version as Parquet",
    ".hoodie": "a Hudi table, whose files may hold rows that were replaced: export its newest "
    "version as Parquet",
    "_temporary": "the output of a job that has not finished: run the job to its end",
    "result.json": "a work directory of this program, not a log: give what it was trained on",
    "checkpoints": "a work directory of this program, not a log: give what it was trained on",
    "comparison.json": "a work directory of this program, not a log: give what it was trained on",
}
"""A name in a folder that shows that its files are no log by themselves -> what it is."""
_NULL = "__HIVE_DEFAULT_PARTITION__"
_ENDING = re.compile(r"\.[A-Za-z]\w*$")


class Part(NamedTuple):
    """One file of a folder.

    Attributes:
        file: The file; its name is the path that messages show.
        name: Its path within the folder.
        partitions: Name -> value of the sub-folders `name=value` that it lies in.
    """

    file: DataFile
    name: str = ""
    partitions: dict[str, str] = {}  # noqa: RUF012 - never changed


def parts_of(folder: DataFile, *, is_parquet_asked: bool) -> tuple[list[Part], bool]:
    """Returns the files of a folder by the order of their names, and whether they are Parquet.

    Names that begin with a dot or an underscore are left out, as every reader of such folders
    leaves them out.

    Args:
        folder: The folder.
        is_parquet_asked: True to take the Parquet files and leave out others.

    Raises:
        UserError: If there is no file, a sub-folder is not `name=value`, or the files differ in
            their kinds.
    """
    parts = list(_walk(folder, Path(folder.name), {}))
    are_parquet = [part.name.endswith(".parquet") or is_parquet(part.file) for part in parts]
    if is_parquet_asked:
        parts = [part for part, is_one in zip(parts, are_parquet, strict=True) if is_one]
        if not parts:
            raise UserError(
                f"{folder.name}: a folder without a *.parquet file: expected at least one."
            )
        return parts, True
    if not parts:
        raise UserError(f"{folder.name}: is a directory without a file of a log: {EXPECTED}.")
    kinds: dict[str, str] = {}
    for part, is_one in zip(parts, are_parquet, strict=True):
        ending = _ENDING.search(unpacked_name(part.name))
        kinds.setdefault("Parquet" if is_one else ending[0] if ending else "no ending", part.name)
    if len(kinds) > 1:
        (one, first), (other, second) = [*kinds.items()][:2]
        only = "; --config.data.format=parquet reads the Parquet files only"
        raise UserError(
            f"{folder.name}: is a directory of differing files, such as {first} ({one}) and "
            f"{second} ({other}): {EXPECTED}; name one of the files, or move the log into a folder "
            f"of its own{only * ('Parquet' in kinds)}."
        )
    return parts, are_parquet[0]


def _walk(folder: DataFile, at: Path, partitions: dict[str, str]) -> Iterable[Part]:
    try:
        paths = sorted(at.iterdir())
    except OSError as error:
        raise UserError(f"{at}: cannot be read ({error.strerror}): check permissions.") from None
    for path in paths:
        if what := _LIVING.get(path.name):
            raise UserError(f"{at}: {what}.")
    for path in paths:
        if path.name.startswith((".", "_")):
            continue
        if not path.is_dir():
            yield Part(
                DataFile(path, flag=folder.flag), str(path.relative_to(folder.name)), partitions
            )
            continue
        name, is_partition, value = path.name.partition("=")
        if not is_partition:
            raise UserError(
                f"{folder.name}: is a directory with the sub-folder {path.name}: expected files, "
                "or sub-folders such as day=2024-01-31; name the folder or file that is the log."
            )
        value = "" if value == _NULL else unquote(value)
        yield from _walk(folder, path, {**partitions, unquote(name): value})


def sha256_of_parts(parts: list[Part]) -> str:
    """Returns the hash of the names and hashes of a folder's files."""
    lines = (f"{part.file.sha256}  {part.name}\n" for part in parts)
    return hashlib.sha256("".join(lines).encode()).hexdigest()
