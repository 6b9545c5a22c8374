"""Versions of an exported model: folders 1, 2, ...; the highest number is in force.

TensorFlow Serving watches such a folder, loads the highest number as soon as it appears, and
ignores every other name. A version is therefore written under a dot name and renamed.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from ufnrec_tf.common.errors import UserError, own_words
from ufnrec_tf.common.files import held_folder

_REMOVED_NAME = ".{}.gone"
WRITE_AGAIN = "Write it again by --mode=export with this --workdir."
"""The way out of a damaged export."""

Loaded = TypeVar("Loaded")


def versions(folder: str | os.PathLike[str]) -> dict[int, Path]:
    """Returns number -> folder of the versions in `folder`, ascending; {} if there is none."""
    folder = Path(folder)
    if not folder.is_dir():
        return {}
    names = (path for path in folder.iterdir() if path.name.isascii() and path.name.isdecimal())
    return dict(sorted((int(path.name), path) for path in names if path.is_dir()))


def newest_version(folder: str | os.PathLike[str]) -> Path:
    """Returns the version folder in force.

    Args:
        folder: The folder of versions, such as `runs/mine/export`.

    Raises:
        UserError: If there is no version.
    """
    found = versions(folder)
    if not found:
        raise UserError(
            f"{folder}: there is no exported model. "
            "Run --mode=train or --mode=export with this --workdir first."
        )
    return found[max(found)]


def next_version(folder: str | os.PathLike[str]) -> Path:
    """Returns the folder of the next version: one above the highest, or 1."""
    return Path(folder) / str(max(versions(folder), default=0) + 1)


def prune(folder: str | os.PathLike[str], num_kept: int) -> list[int]:
    """Removes all but the newest versions, and the leftovers of a killed publication.

    Args:
        folder: The folder of versions, held by `publishing`.
        num_kept: Number of newest versions that stay; 0 keeps all.

    Returns:
        The numbers of the removed versions.
    """
    folder = Path(folder)
    for pattern in (_REMOVED_NAME.format("*"), ".[0-9]*.new"):
        for leftover in folder.glob(pattern):
            shutil.rmtree(leftover, ignore_errors=True)
    found = versions(folder)
    removed = list(found)[:-num_kept] if num_kept else []
    for number in removed:
        # A server must never find a version with half of its files.
        removed_folder = folder / _REMOVED_NAME.format(number)
        os.rename(found[number], removed_folder)
        shutil.rmtree(removed_folder, ignore_errors=True)
    return removed


@contextmanager
def publishing(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Makes the folder of versions and holds it: several that publish to it take turns."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        # Where a file system has no such locks, two at once may take the same number; the later
        # one's stays.
        with suppress(OSError):
            stack.enter_context(held_folder(folder, file=""))
        yield


def load_newest(folder: str | os.PathLike[str], load: Callable[[Path], Loaded]) -> Loaded:
    """Returns what `load` makes of the version in force.

    A publisher may remove a version while it is read; the one in force then is taken instead.

    Raises:
        UserError: If there is no version, or it cannot be loaded.
    """
    while True:
        path = newest_version(folder)
        try:
            return load(path)
        except UserError:
            if path.is_dir():
                raise


def damaged_error(path: Path, error: Exception) -> UserError:
    """Returns the UserError for an export that cannot be read."""
    return UserError(f"{path}: the exported model is damaged ({own_words(error)}). {WRITE_AGAIN}")
