"""Publishes an exported model as the next version of a folder, which a server may watch."""

import os
from pathlib import Path
from typing import NamedTuple

from ufnrec_tf.common.errors import UserError, own_words
from ufnrec_tf.export.saved_model import ServedModel, hashes_of, read_metadata, write_model
from ufnrec_tf.export.versions import next_version, prune, publishing, versions


class PublishedModel(NamedTuple):
    """The version folder of a published model.

    Attributes:
        path: The version folder.
        is_new: False if the newest version was the same model already.
        removed: Numbers of older versions that were removed.
    """

    path: Path
    is_new: bool
    removed: list[int]


def publish(
    folder: str | os.PathLike[str], model: ServedModel, *, versions_kept: int = 0
) -> PublishedModel:
    """Writes a model as version 1, or one above the highest, and removes the oldest versions.

    If the newest version is whole and has the same weights, items, settings and program, nothing
    is written: a server would load it again for nothing, and copies would push out the older
    versions that one may want to go back to.

    Args:
        folder: The folder of versions, created if it is missing; on any file system.
        model: The model to publish.
        versions_kept: Number of newest versions that stay; 0: all.

    Raises:
        UserError: If a file cannot be written.
    """
    folder = Path(folder)
    try:
        with publishing(folder):
            found = versions(folder)
            if found and is_same(found[max(found)], model):
                return PublishedModel(found[max(found)], False, [])
            path = next_version(folder)
            write_model(path, model)
            return PublishedModel(path, True, prune(folder, versions_kept))
    except OSError as error:
        raise UserError(
            f"{folder}: cannot be published to: {own_words(error)}. "
            "Mend its permissions or give another folder, then run --mode=export."
        ) from error


def is_same(path: Path, model: ServedModel) -> bool:
    """Returns True if a version folder is whole and holds this model."""
    try:
        document = read_metadata(path)
        if document.get("fingerprint") != model.document["fingerprint"]:
            return False
        return document.get("files") == hashes_of(path)
    except (UserError, OSError):  # a damaged version: the model is written again as the next one
        return False
