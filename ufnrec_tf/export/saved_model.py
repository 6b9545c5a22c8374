"""Writes a trained backbone as a SavedModel that needs only TensorFlow, whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tensorflow as tf

from ufnrec_tf.common.errors import UserError, own_words
from ufnrec_tf.common.files import sha256_of, to_disk
from ufnrec_tf.common.hashes import KEY, check_document, check_file, hash_of_json, note_unchecked
from ufnrec_tf.common.progress import working_on
from ufnrec_tf.common.small_table import with_small_table
from ufnrec_tf.common.version import __version__
from ufnrec_tf.export.items import ITEMS_FILE, ItemFacts, items_table, write_items
from ufnrec_tf.export.retriever import Retriever
from ufnrec_tf.export.timed_retriever import make_retriever
from ufnrec_tf.export.versions import WRITE_AGAIN, damaged_error
from ufnrec_tf.export.warm_up import WarmUpRequest, warm_up_requests, write_warm_up

# Increased when an older reader could misread a new export.
FORMAT_VERSION = 1
METADATA_FILE = "ufnrec.json"
VECTORS_FILE = "item_vectors.npy"
"""float32 [V, D], C order: a row an item in the order of items.parquet.

A history's score of an item is the dot product of the item's row and of what `encode` returns.
"""
SIGNATURES = [
    "serving_default",
    "recommend",
    "recommend_filtered",
    "similar",
    "similar_filtered",
    "encode",
]
_BLOCK_BYTES = 1 << 24  # of vectors that are held at once
FALLBACKS = ("popularity", "model")


@dataclass(frozen=True, eq=False)
class ServedModel:
    """A model that is ready to be written; see `make_model`.

    Attributes:
        retriever: Weights, vocabulary and graphs.
        signatures: Name -> the retriever's function. It is traced when the model is written: what
            was traced before would be written beside what TensorFlow then traces again.
        requests: Warm-up requests for a server.
        items: The table of `items_table`.
        document: The content of `ufnrec.json` without the files. Its `fingerprint` is the same
            if weights, items, settings and program are.
        extra_files: Path below the version folder -> content.
    """

    retriever: Retriever
    signatures: dict[str, Any]
    requests: list[WarmUpRequest]
    items: pd.DataFrame
    document: dict[str, Any]
    extra_files: Mapping[str, bytes] = field(default_factory=dict)


@working_on("preparing the export")
def make_model(
    backbone: Any,
    item_ids: np.ndarray,
    *,
    max_length: int,
    top_k: int,
    mask_seen: bool,
    metadata: dict[str, Any],
    facts: ItemFacts | None = None,
    fallback: str = "model",
    warm_up: str = "all",
    table: str = "float32",
) -> ServedModel:
    """Returns a model for `write_model`: a retriever over the backbone with its signatures.

    Signatures: `serving_default` (item_ids string [B, T] -> item_ids string [B, top_k], scores
    float32 [B, top_k]); `recommend`, the same with k int32 [] required; `recommend_filtered`, as
    `recommend` with exclude_ids string [B, X] and allow_ids string [B, A]; `similar` (item_ids
    string [B], k -> item_ids string [B, k], scores float32 [B, k], is_known bool [B]) and
    `similar_filtered`, the same with both lists; `encode` (item_ids -> vectors float32 [B, D]).
    Two attributes of the loaded object are no signatures: `lookup` maps item_ids to internal ids,
    0 for unknown, and `item_vectors` gives float32 [V + 1, D]. The model holds the vocabulary of
    items, the number of events of each, and the backbone's variables; no data of a user.
    `Retriever` describes how a history is answered. Of a backbone that reads times the signatures
    that take histories also take times int64 [B, T]; see `TimedRetriever`.

    Args:
        backbone: A `Backbone`; its weights at the time of writing are saved.
        item_ids: object (str) [num_items + 1], "" at 0.
        max_length: Positions of the window that the backbone sees.
        top_k: Items that `serving_default` returns.
        mask_seen: True keeps the items of a history out of its answer.
        metadata: JSON values to keep with the model: data hash, weights, step. No user ids.
        facts: The facts of the items, for items.parquet and the popularity answer.
        fallback: The answer to a history without a known id: by "popularity", which needs
            `facts`, or by the "model".
        warm_up: The `kind` of `warm_up_requests`.
        table: The format of the item table, one of `TABLES`.

    Raises:
        UserError: If a weight is not finite.
        ValueError: If the arguments do not fit each other, or metadata is not JSON.
    """
    if fallback not in FALLBACKS or (fallback == "popularity" and facts is None):
        raise ValueError(
            f"`fallback` must be one of {FALLBACKS}, the first only with `facts`. "
            f"Received: {fallback!r}."
        )
    num_times = getattr(backbone, "num_times", 0)
    retriever = make_retriever(
        with_small_table(backbone, table),
        item_ids,
        max_length=max_length,
        default_k=top_k,
        mask_seen=mask_seen,
        events=facts.events if facts is not None and fallback == "popularity" else None,
    )
    _check_finite(backbone)
    items = items_table(item_ids, facts)
    document = {
        "format_version": FORMAT_VERSION,
        "num_items": len(item_ids) - 1,
        "max_length": max_length,
        "top_k": top_k,
        "mask_seen": mask_seen,
        "fallback": fallback,
        "warm_up": warm_up,
        "table": table,
        "item_vectors": VECTORS_FILE,
        "signatures": SIGNATURES,
        "tensorflow": tf.__version__,
        "ufnrec_tf": __version__,
        "metadata": metadata,
    }
    if num_times:
        document["times"] = "with the request" if num_times > max_length else "events"
    fingerprint = _fingerprint(_to_json(document), backbone, items)
    return ServedModel(
        retriever=retriever,
        signatures={
            "serving_default": retriever.serve,
            **{name: getattr(retriever, name) for name in SIGNATURES if name != "serving_default"},
        },
        requests=warm_up_requests(
            item_ids, max_length=max_length, top_k=top_k, kind=warm_up, has_times=bool(num_times)
        ),
        items=items,
        document={**document, "fingerprint": fingerprint},
    )


@working_on("writing the export")
def write_model(path: str | os.PathLike[str], model: ServedModel) -> None:
    """Writes the version folder `path` (such as `export/1`): SavedModel, warm-up, items, vectors.

    The folder is written beside `path` and renamed, so a failure leaves an earlier export
    unchanged and no half-written one. TensorFlow Serving ignores names with a leading dot.

    Args:
        path: The version folder; an existing one is replaced, missing parents are created.
        model: The model to write.

    Raises:
        UserError: If a file cannot be written.
    """
    path = Path(path)
    try:
        _replace_folder(path, lambda folder: _write_files(folder, model))
    except (OSError, tf.errors.OpError) as error:
        raise UserError(
            f"{path}: cannot write the exported model: {own_words(error)}. "
            "Free space there or mend its permissions, then run --mode=export."
        ) from error


def read_metadata(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Returns the content of `ufnrec.json` in the version folder `path`.

    Raises:
        UserError: If there is no export, or it is damaged, edited or of a newer format.
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
        raise damaged_error(path / METADATA_FILE, error) from error
    if version > FORMAT_VERSION:
        raise UserError(
            f"{path}: the exported model has format version {version}, and this program reads up "
            f"to {FORMAT_VERSION}. Upgrade the program, or write it again by --mode=export."
        )
    check_document(path / METADATA_FILE, document, mend=WRITE_AGAIN)
    return document


@working_on("checking the export")
def checked_metadata(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Returns the content of `ufnrec.json` once all files of the version have their hashes.

    Raises:
        UserError: If there is no export, or a file of it is missing, damaged or edited.
    """
    path = Path(path)
    document = read_metadata(path)
    if "files" not in document:
        note_unchecked(path)
    try:
        for name, recorded in document.get("files", {}).items():
            check_file(path / name, recorded, mend=WRITE_AGAIN)
    except (OSError, AttributeError, TypeError) as error:
        raise damaged_error(path, error) from error
    return document


def _to_json(document: dict[str, Any]) -> str:
    """Returns the text of `ufnrec.json`."""
    try:
        return json.dumps(document, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    except (TypeError, ValueError) as error:
        raise ValueError(f"`metadata` must hold JSON values. Received: {error}.") from error


def _fingerprint(text: str, backbone: Any, items: pd.DataFrame) -> str:
    """Returns the SHA-256 of settings, items and weights, the weights in the layer's order."""
    digest = hashlib.sha256(text.encode("utf-8"))
    for name, column in items.items():
        values = column.to_numpy()
        digest.update(
            json.dumps([name, values.tolist()]).encode()
            if values.dtype.kind not in "fi"
            else f"{name} {values.dtype}".encode() + values.tobytes()
        )
    for variable in backbone.weights:  # without the state of dropout, which no answer depends on
        value = np.ascontiguousarray(tf.convert_to_tensor(variable.value).numpy())
        digest.update(f"{value.dtype} {value.shape}".encode() + value.tobytes())
    return digest.hexdigest()


def hashes_of(folder: Path) -> dict[str, str]:
    """Returns path below `folder` -> SHA-256 of every file of a version except its metadata."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name != METADATA_FILE:
            found[name] = sha256_of(path)
    return found


def _write_files(folder: Path, model: ServedModel) -> None:
    """Writes the SavedModel and the files beside it into `folder`."""
    tf.saved_model.save(model.retriever, str(folder), signatures=model.signatures)
    write_warm_up(folder, model.requests)
    write_items(folder / ITEMS_FILE, model.items)
    _write_vectors(folder / VECTORS_FILE, model.retriever, num_items=len(model.items))
    for name, content in model.extra_files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    document = {**model.document, "files": hashes_of(folder)}
    document[KEY] = hash_of_json(document)
    (folder / METADATA_FILE).write_text(_to_json(document), encoding="utf-8")
    for file in (*folder.rglob("*"), folder):
        to_disk(file)


def _write_vectors(path: Path, retriever: Retriever, *, num_items: int) -> None:
    """Writes the vectors of all items; see `VECTORS_FILE`.

    Not through a memory map: a full disk would end the process there rather than raise OSError.
    """
    header = {"descr": "<f4", "fortran_order": False, "shape": (num_items, retriever.width)}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for block in retriever.vector_blocks(max(1, _BLOCK_BYTES // (4 * retriever.width))):
            file.write(np.ascontiguousarray(block, "<f4").tobytes())


def _replace_folder(path: Path, write: Callable[[Path], None]) -> None:
    """Calls `write(folder)` on a new folder, which then replaces `path`.

    A folder cannot be renamed onto another that has files, hence two renames. If the program is
    killed between them, the next call finds the earlier folder and puts it back.
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
    to_disk(path.parent)
    shutil.rmtree(old, ignore_errors=True)


def _check_finite(backbone: Any) -> None:
    """Raises UserError for a weight that is NaN or infinite: its export would only fail later."""
    for variable in backbone.variables:
        value = tf.convert_to_tensor(variable.value)
        if value.dtype.is_floating and not bool(tf.reduce_all(tf.math.is_finite(value))):
            raise UserError(
                f"no model exported, as the weight `{variable.path}` has NaN or infinite values. "
                "Train again with a lower --config.optimizer.learning_rate."
            )
