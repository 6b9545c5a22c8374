"""Versions of an exported model: folders 1, 2, ...; the highest number is the one in force.

TensorFlow Serving watches such a folder, loads the highest number as soon as it is there, and
passes over every other name: a version is therefore written under a dot name and renamed.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from ufnrec_tf.common.errors import UserError, own_words
from ufnrec_tf.common.files import held_folder

_GOING = ".{}.gone"


def versions(folder: str | os.PathLike[str]) -> dict[int, Path]:
    """Returns number -> folder of the versions in `folder`, ascending; {} where there is none."""
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
        UserError: Where there is none.
    """
    found = versions(folder)
    if not found:
        raise UserError(
            f"{folder}: there is no exported model. "
            "Run --mode=train or --mode=export with this --workdir first."
        )
    return found[max(found)]


def next_version(folder: str | os.PathLike[str]) -> Path:
    """Returns the folder that a new version is to become: one above the highest, or 1."""
    return Path(folder) / str(max(versions(folder), default=0) + 1)


def prune(folder: str | os.PathLike[str], num_kept: int) -> list[int]:
    """Removes all but the newest versions, and what a killed publication left; see `publishing`.

    Args:
        folder: The folder of versions, which the caller holds.
        num_kept: Versions that stay, the newest; 0 keeps all.

    Returns:
        The numbers that were removed.
    """
    folder = Path(folder)
    for pattern in (_GOING.format("*"), ".[0-9]*.new"):
        for leftover in folder.glob(pattern):
            shutil.rmtree(leftover, ignore_errors=True)
    found = versions(folder)
    removed = list(found)[:-num_kept] if num_kept else []
    for number in removed:
        # A server must never find a version with half of its files.
        going = folder / _GOING.format(number)
        os.rename(found[number], going)
        shutil.rmtree(going, ignore_errors=True)
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


def damaged(path: Path, error: Exception) -> UserError:
    """Returns the error to raise where an export cannot be read."""
    return UserError(
        f"{path}: the exported model is damaged ({own_words(error)}). "
        "Write it again by --mode=export with this --workdir."
    )
