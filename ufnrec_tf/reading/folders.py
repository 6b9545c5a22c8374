"""Folders of files that are one log, as Spark and others write them: which files, in what order."""

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from ufnrec_tf.common.errors import UserError
from ufnrec_tf.common.text import plain
from ufnrec_tf.data.log_description import Note
from ufnrec_tf.reading.compressed import unpacked_name
from ufnrec_tf.reading.data_files import DataFile
from ufnrec_tf.reading.parquet_files import is_parquet

EXPECTED = (
    "expected a file, a folder of CSV, JSON or Parquet files of the same columns, or a folder that "
    "--mode=prepare has finished"
)
_OWN = "a work directory of this program, not a log: give what it was trained on"
_NO_LOG = {
    (
        "_delta_log",
    ): "a Delta table, whose files may hold rows that were deleted: export its newest "
    "version as Parquet",
    (".hoodie",): "a Hudi table, whose files may hold rows that were replaced: export its newest "
    "version as Parquet",
    ("_temporary",): "the output of a job that has not finished: run the job to its end",
    ("config.json", "checkpoints"): _OWN,
    ("config.json", "result.json"): _OWN,
    ("comparison.json",): _OWN,
    ("sweep.json",): _OWN,
}
"""Names in a folder that show that its files are no log by themselves -> what it is."""
_NULL = "__HIVE_DEFAULT_PARTITION__"
_MARK = re.compile(
    r"(^|/)(_SUCCESS|_(common_)?metadata|_(started|committed)_\d+|\.DS_Store|\..*\.crc)$"
)
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


class FolderFiles(NamedTuple):
    """The files of a folder that are its log.

    Attributes:
        parts: The files, in the order of their names.
        are_parquet: True if they are Parquet.
        notes: How many they are, and which others are left out.
    """

    parts: list[Part]
    are_parquet: bool
    notes: tuple[Note, ...]


def files_of(folder: DataFile, *, is_parquet_asked: bool) -> FolderFiles:
    """Returns the files of a folder that are its log.

    Names that begin with a dot or an underscore are left out, as every reader of such folders
    leaves them out.

    Args:
        folder: The folder.
        is_parquet_asked: True to take the Parquet files and leave out others.

    Raises:
        UserError: If there is no file, a sub-folder is not `name=value`, or the files differ in
            their kinds.
    """
    left_out: list[str] = []
    parts = list(_walk(folder, Path(folder.name), {}, left_out))
    are_parquet = [part.name.endswith(".parquet") or is_parquet(part.file) for part in parts]
    if is_parquet_asked:
        flags = list(zip(parts, are_parquet, strict=True))
        parts = [part for part, is_one in flags if is_one]
        left_out += [part.name for part, is_one in flags if not is_one]
        if not parts:
            raise UserError(
                f"{folder.name}: a folder without a *.parquet file: expected at least one."
            )
        return FolderFiles(parts, True, _notes(parts, left_out))
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
    return FolderFiles(parts, are_parquet[0], _notes(parts, left_out))


def _notes(parts: list[Part], left_out: list[str]) -> tuple[Note, ...]:
    """Returns how many files are read, and which are left out and are no marks of Spark."""
    names = [plain(part.name)[:60] for part in parts]
    notes = [Note("files", f"files: {len(names):,}, from {names[0]} to {names[-1]}")]
    others = [plain(name)[:60] for name in left_out if not _MARK.search(name)]
    if others:
        more = f" and {len(others) - 3:,} more" * (len(others) > 3)
        notes.append(Note("files_left_out", f"files left out: {', '.join(others[:3])}{more}"))
    return tuple(notes)


def _walk(
    folder: DataFile, at: Path, partitions: dict[str, str], left_out: list[str]
) -> Iterable[Part]:
    try:
        paths = sorted(at.iterdir())
    except OSError as error:
        raise UserError(f"{at}: cannot be read ({error.strerror}): check permissions.") from None
    present = {path.name for path in paths}
    for names, what in _NO_LOG.items():
        if present.issuperset(names):
            raise UserError(f"{at}: is {what}.")
    for path in paths:
        if path.name.startswith((".", "_")):
            left_out.append(str(path.relative_to(folder.name)))
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
        yield from _walk(folder, path, {**partitions, unquote(name): value}, left_out)


def sha256_of_parts(parts: list[Part]) -> str:
    """Returns the hash of the names and hashes of a folder's files."""
    lines = (f"{part.file.sha256}  {part.name}\n" for part in parts)
    return hashlib.sha256("".join(lines).encode()).hexdigest()
