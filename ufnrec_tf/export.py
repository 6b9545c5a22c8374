"""Writes a trained backbone as a SavedModel that needs TensorFlow alone, whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from ufnrec_tf.errors import UserError, own_words
from ufnrec_tf.phases import phase
from ufnrec_tf.retriever import Retriever
from ufnrec_tf.workdir import to_disk

# Raised when a reader of an older version could misread what is written.
FORMAT_VERSION = 1
METADATA_FILE = "ufnrec.json"


@phase("exporting the model")
def write_saved_model(
    path: str | os.PathLike[str],
    backbone: Any,
    item_ids: np.ndarray,
    *,
    max_length: int,
    top_k: int,
    mask_seen: bool,
    metadata: dict[str, Any],
) -> None:
    """Writes the SavedModel `path` (such as `export/1`) and `ufnrec.json` inside it.

    Signatures: `serving_default` (item_ids string [B, T] -> item_ids string [B, top_k], scores
    float32 [B, top_k]); `recommend`, the same with k int32 [] required; `encode` (item_ids ->
    vectors float32 [B, D]). `lookup`, an attribute of the loaded object and no signature, maps
    item_ids to internal ids, 0 for unknown. It holds the vocabulary of items and the backbone's
    variables; nothing of a user. See `Retriever` for what is done with a history.

    The folder is written beside `path` and renamed, so a failure leaves an earlier export as
    it was and no half-written one. Names with a leading dot are not versions for TF Serving.

    Args:
        path: Version folder; an existing one is replaced, missing parents are made.
        backbone: A `Backbone`; its present weights are written.
        item_ids: object (str) [num_items + 1], "" at 0.
        max_length: Positions of the window that the backbone sees.
        top_k: Items that `serving_default` returns.
        mask_seen: Whether the items of a history are kept out of its answer.
        metadata: JSON values to keep with the model: data hash, weights, step. No user ids.

    Raises:
        UserError: Where the disk does not take it, or the weights are not finite.
        ValueError: Where the arguments do not fit each other, or metadata is not JSON.
    """
    path = Path(path)
    text = _to_json(
        {
            "format_version": FORMAT_VERSION,
            "num_items": len(item_ids) - 1,
            "max_length": max_length,
            "top_k": top_k,
            "mask_seen": mask_seen,
            "tensorflow": tf.__version__,
            "metadata": metadata,
        }
    )
    retriever = Retriever(
        backbone, item_ids, max_length=max_length, default_k=top_k, mask_seen=mask_seen
    )
    _check_finite(path, backbone)
    # Traced before the disk is touched, so that an OpError below can only be the disk's.
    signatures = {
        "serving_default": retriever.serve.get_concrete_function(),
        "recommend": retriever.recommend.get_concrete_function(),
        "encode": retriever.encode.get_concrete_function(),
    }
    retriever.lookup.get_concrete_function()
    try:
        _replace_folder(path, lambda folder: _write(folder, retriever, signatures, text))
    except (OSError, tf.errors.OpError) as error:
        raise UserError(
            f"{path}: cannot write the exported model: {own_words(error)}. "
            "Free space there or mend its permissions, then run --mode=export."
        ) from error


def read_metadata(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Returns what `write_saved_model` kept in `ufnrec.json` of the version folder `path`.

    Raises:
        UserError: Where there is no export, or it is damaged or of a newer format.
    """
    path = Path(path)
    if not path.is_dir():
        raise UserError(
            f"{path}: there is no exported model. "
            "Run --mode=train or --mode=export with this --workdir first."
        )
    try:
        document = json.loads((path / METADATA_FILE).read_text(encoding="utf-8"))
        version = int(document["format_version"])
        int(document["num_items"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise damaged(path / METADATA_FILE, error) from error
    if version > FORMAT_VERSION:
        raise UserError(
            f"{path}: the exported model has format version {version}, and this program reads up "
            f"to {FORMAT_VERSION}. Upgrade the program, or write it again by --mode=export."
        )
    return document


def damaged(path: Path, error: Exception) -> UserError:
    """Returns the error to raise where an export cannot be read."""
    return UserError(
        f"{path}: the exported model is damaged ({own_words(error)}). "
        "Write it again by --mode=export with this --workdir."
    )


def _to_json(document: dict[str, Any]) -> str:
    """Returns the text of `ufnrec.json`."""
    try:
        return json.dumps(document, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    except (TypeError, ValueError) as error:
        raise ValueError(f"`metadata` must hold JSON values. Received: {error}.") from error


def _write(folder: Path, retriever: Retriever, signatures: dict[str, Any], text: str) -> None:
    """Fills `folder` with the SavedModel and its metadata."""
    tf.saved_model.save(retriever, str(folder), signatures=signatures)
    (folder / METADATA_FILE).write_text(text, encoding="utf-8")
    for file in folder.rglob("*"):
        to_disk(file)


def _replace_folder(path: Path, write: Callable[[Path], None]) -> None:
    """Calls `write(folder)` on a new folder that then takes the place of `path`.

    A folder cannot be renamed onto another that has files, hence two renames. Where the
    program is killed between them, the next call finds the earlier folder and puts it back.
    """
    new, old = path.with_name(f".{path.name}.new"), path.with_name(f".{path.name}.old")
    path.parent.mkdir(parents=True, exist_ok=True)
    if old.exists() and not path.exists():
        os.rename(old, path)
    for leftover in (new, old):
        shutil.rmtree(leftover, ignore_errors=True)
    try:
        write(new)
        had_old = path.exists()
        if had_old:
            os.rename(path, old)
        try:
            os.rename(new, path)
        except BaseException:
            if had_old:
                os.rename(old, path)
            raise
    finally:
        shutil.rmtree(new, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)


def _check_finite(path: Path, backbone: Any) -> None:
    """Raises UserError where a weight is NaN or infinite: its export could only fail later."""
    for variable in backbone.variables:
        value = tf.convert_to_tensor(variable.value)
        if value.dtype.is_floating and not bool(tf.reduce_all(tf.math.is_finite(value))):
            raise UserError(
                f"{path}: not written, as the weight `{variable.path}` has NaN or infinite values. "
                "Train again with a lower --config.optimizer.learning_rate."
            )
