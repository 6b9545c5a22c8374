"""Publishes an exported model as the next version of a folder that a server may be watching."""

import os
from pathlib import Path
from typing import NamedTuple

from ufnrec_tf.common.errors import UserError, own_words
from ufnrec_tf.export.saved_model import ServedModel, hashes_of, read_metadata, write_model
from ufnrec_tf.export.versions import next_version, prune, publishing, versions


class Published(NamedTuple):
    """Where a model is.

    Attributes:
        path: Its version folder.
        is_new: False where the newest version was the same model already.
        removed: Numbers of older versions that were removed.
    """

    path: Path
    is_new: bool
    removed: list[int]


def publish(
    folder: str | os.PathLike[str], model: ServedModel, *, versions_kept: int = 0
) -> Published:
    """Writes a model as version 1, or one above the highest, and removes the oldest versions.

    Where the newest version is whole and of the same weights, items, settings and program, nothing
    is written: a server would load it again for nothing, and the versions to go back to would be
    pushed out by copies.

    Args:
        folder: The folder of versions, made where it is missing; on any file system.
        model: What to publish.
        versions_kept: Newest versions that stay; 0: all.

    Raises:
        UserError: Where the disk does not take it.
    """
    folder = Path(folder)
    try:
        with publishing(folder):
            found = versions(folder)
            if found and is_same(found[max(found)], model):
                return Published(found[max(found)], False, [])
            path = next_version(folder)
            write_model(path, model)
            return Published(path, True, prune(folder, versions_kept))
    except OSError as error:
        raise UserError(
            f"{folder}: cannot be published to: {own_words(error)}. "
            "Mend its permissions or give another folder, then run --mode=export."
        ) from error


def is_same(path: Path, model: ServedModel) -> bool:
    """Whether a version folder is whole and holds this model."""
    try:
        document = read_metadata(path)
        if document.get("fingerprint") != model.document["fingerprint"]:
            return False
        return document.get("files") == hashes_of(path)
    except (UserError, OSError):  # damaged: then it is written again, as a further version
        return False
