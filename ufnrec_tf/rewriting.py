"""Checkpoints changed after they were written: beside, then renamed, whole at any moment."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from ufnrec_tf.common.files import to_disk, write_error


def tidy(folder: Path) -> int:
    """Ends what a killed run left among the checkpoints: hidden copies, and damaged ones aside.

    A checkpoint that was killed between its two renames is put back first.

    Returns:
        How many damaged ones, which cannot be changed, were removed.
    """
    if not folder.is_dir():
        return 0
    for old in sorted(folder.glob(".*.old")):
        target = folder / old.name[1 : -len(".old")]
        if not target.exists():
            old.rename(target)
    for pattern in (".*.old", ".*.new"):
        for leftover in folder.glob(pattern):
            shutil.rmtree(leftover, ignore_errors=True)
    damaged = sorted(folder.glob("damaged-*"))
    for path in damaged:
        shutil.rmtree(path)
    return len(damaged)


def rewrite(checkpoint: Path, change: Callable[[Path], None], *, without: str) -> None:
    """Puts a changed copy in the place of a checkpoint; one of the two is there at any time.

    Args:
        checkpoint: Its folder.
        change: Writes into the copy, a folder with all files but those that are replaced.
        without: Pattern of the files that are replaced.

    Raises:
        UserError: If the disk does not take it; the checkpoint stays as it was.
    """
    new, old = (checkpoint.with_name(f".{checkpoint.name}.{end}") for end in ("new", "old"))
    try:
        new.mkdir()
        replaced = set(checkpoint.glob(without))
        for path in checkpoint.iterdir():
            if path not in replaced:
                _same_file(path, new / path.name)
        change(new)
        for path in (*new.iterdir(), new):
            to_disk(path)
        checkpoint.rename(old)
        new.rename(checkpoint)
        to_disk(checkpoint.parent)
    except OSError as error:
        shutil.rmtree(new, ignore_errors=True)
        raise write_error(checkpoint, error) from error
    shutil.rmtree(old)


def _same_file(path: Path, link: Path) -> None:
    """Makes a second name for a file that is never written to again, or a copy of it."""
    try:
        os.link(path, link)
    except OSError:  # a file system without such names
        shutil.copyfile(path, link)
