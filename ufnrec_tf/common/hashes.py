"""SHA-256 values that are recorded with files and checked once when these are read.

A changed byte is often still a readable file: another score, another item, another setting. JSON
documents carry the hash of themselves, and of the files that were written before them.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ufnrec_tf.common.display import Display
from ufnrec_tf.common.errors import UserError
from ufnrec_tf.common.files import read_json, write_json

KEY = "sha256"
"""The key of a document that holds the hash of all others."""

_SKIP = "--verify=false reads it as it is."
_is_verified = True
_has_noted = False


def set_verified(is_verified: bool) -> None:
    """Sets whether files are checked when they are read (`--verify`)."""
    global _is_verified
    _is_verified = is_verified


def hash_of_json(document: Mapping[str, Any]) -> str:
    """Returns the SHA-256 of a document's values, whatever their order, without its `KEY`."""
    # Through JSON and back, as it will be read: tuples are lists there, and keys are texts.
    values = json.loads(json.dumps(document))
    values.pop(KEY, None)
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def hash_of_file(path: Path, num_bytes: int = -1) -> str:
    """Returns the SHA-256 of a file, or of its first bytes.

    Raises:
        OSError: If it cannot be read.
    """
    with path.open("rb") as file:
        if num_bytes < 0:
            return hashlib.file_digest(file, "sha256").hexdigest()
        return hashlib.sha256(file.read(num_bytes)).hexdigest()


def hashes_of(folder: Path, names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Returns name -> size and SHA-256 of those files of a folder that exist."""
    found = {}
    for name in names:
        if (folder / name).is_file():
            size = (folder / name).stat().st_size
            found[name] = {"bytes": size, KEY: hash_of_file(folder / name, size)}
    return found


def write_hashed_json(path: Path, document: Mapping[str, Any]) -> None:
    """Writes a document with its own hash, whole or not at all."""
    values = {name: value for name, value in document.items() if name != KEY}
    write_json(path, {**values, KEY: hash_of_json(values)})


def read_hashed_json(path: Path, *, mend: str) -> Any:
    """Returns a document of `write_hashed_json`, without its hash.

    Args:
        path: The file.
        mend: A sentence on the way out, for the error.

    Raises:
        UserError: If it is missing or damaged, or is not what was written.
    """
    document = read_json(path)
    if not isinstance(document, dict):
        return document
    check_document(path, document, mend=mend)
    document.pop(KEY, None)
    return document


def check_document(path: Path, document: Mapping[str, Any], *, mend: str) -> None:
    """Raises UserError if a document is not the one that was written.

    A document of an older version has no hash; that is said once.
    """
    if KEY not in document:
        note_unchecked(path)
    elif _is_verified and document[KEY] != hash_of_json(document):
        raise changed_error(path, mend)


def check_file(path: Path, recorded: str, *, num_bytes: int = -1, mend: str) -> None:
    """Raises UserError if a file, or the first bytes of it, has another SHA-256.

    Raises:
        OSError: If it cannot be read.
    """
    if _is_verified and hash_of_file(path, num_bytes) != recorded:
        raise changed_error(path, mend)


def changed_error(path: Path, mend: str) -> UserError:
    """Returns the UserError for a file that is not what was written."""
    return UserError(
        f"{path}: is not what was written (its sha256 differs): it was edited or is damaged. "
        f"{mend} {_SKIP}"
    )


def note_unchecked(path: Path) -> None:
    """Says once that files of an older version are read as they are."""
    global _has_noted
    if _is_verified and not _has_noted:
        _has_noted = True
        Display().notes.line(
            f"note: {path}: an older version wrote it without a sha256, so that it and files like "
            "it are read without a check"
        )
