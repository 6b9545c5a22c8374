"""Batch recommendations: a file of histories and an exported model in, a CSV file out."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from absl import logging

from ufnrec_tf.errors import UserError
from ufnrec_tf.export import damaged, read_metadata
from ufnrec_tf.histories import Form, History, detect_form, read_histories

# Floats of one call's scores and ids of one call's histories; they bound memory at a million
# items and where one history is very long.
_MAX_SCORES = 1 << 26
_MAX_IDS = 1 << 21


class Summary(NamedTuple):
    """What `recommend` read and wrote.

    Attributes:
        form: "histories" (one a line) or "rows" (`user,item`), as the input was read.
        num_histories: Histories read, empty ones included.
        num_ids: Item ids read.
        num_unknown_ids: Those that the model does not know; they were dropped.
        num_empty: Histories without a known id; their answer is the model's for no history.
        num_recommendations: Rows written.
    """

    form: str
    num_histories: int
    num_ids: int
    num_unknown_ids: int
    num_empty: int
    num_recommendations: int


def recommend(
    export_dir: str | os.PathLike[str],
    histories_path: str | os.PathLike[str],
    output_path: str | os.PathLike[str],
    *,
    top_k: int,
    batch_size: int = 256,
) -> Summary:
    """Writes the `top_k` best items of each history of a file, by the exported model alone.

    The input's two forms are those of `histories.py`. Ids that the model does not know are
    dropped and counted; memory is bounded by the batch, whatever the file's length.

    Output, CSV: `user,rank,item,score`, or `row,rank,item,score` where the input has one
    history a line (its line number, from 1). Users come in order of first appearance. A
    history has fewer than `top_k` rows where fewer items are left. The file appears whole or
    not at all.

    Args:
        export_dir: Version folder of the export, such as `export/1`.
        histories_path: Input file; it is read twice.
        output_path: Output file, replaced where it exists; its folder must exist.
        top_k: Recommendations a history, 1 or more.
        batch_size: Histories scored at once, at most.

    Returns:
        The counts of what was read and written.

    Raises:
        UserError: Where a file, the export or a number is at fault.
    """
    for flag, value in (("--top_k", top_k), ("batch_size", batch_size)):
        if value < 1:
            raise UserError(f"{flag} must be a positive integer. Received: {value}.")
    num_items = int(read_metadata(export_dir)["num_items"])
    histories_path = Path(histories_path)
    form = detect_form(histories_path)
    output = _checked_output(Path(output_path), histories_path)
    model = _load(Path(export_dir))
    histories = read_histories(histories_path, form)
    batches = _batches(histories, max(1, min(batch_size, _MAX_SCORES // (num_items + 1))))
    new = output.with_name(f".{output.name}.new")
    try:
        with open(new, "w", encoding="utf-8", newline="") as file:
            summary = _write_csv(file, model, batches, form.is_rows, min(top_k, num_items))
        _check_known(histories_path, form, summary)
        os.replace(new, output)
    except OSError as error:
        raise UserError(
            f"{output_path}: cannot be written: {error.strerror or error}. "
            "Free space there or choose another --output."
        ) from error
    finally:
        new.unlink(missing_ok=True)
    return summary


def _write_csv(
    file: Any, model: Any, batches: Iterable[list[History]], is_rows: bool, k: int
) -> Summary:
    """Scores the batches one by one and writes their rows; returns the counts."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["user" if is_rows else "row", "rank", "item", "score"])
    num_histories = num_ids = num_known = num_empty = num_written = 0
    for batch in batches:
        item_ids = _to_tensor([ids for _, ids in batch])
        known = np.count_nonzero(model.lookup(item_ids).numpy(), axis=1)  # [B]
        answer = model.signatures["recommend"](item_ids=item_ids, k=tf.constant(k))
        scores = answer["scores"].numpy()
        for (name, _), items, values in zip(batch, answer["item_ids"].numpy(), scores, strict=True):
            ranked = [
                # str of a float32 is the shortest text that reads back as the same float32.
                (name, rank, item.decode("utf-8"), str(value))
                for rank, (item, value) in enumerate(zip(items, values, strict=True), 1)
                if item
            ]
            writer.writerows(ranked)
            num_written += len(ranked)
        num_histories += len(batch)
        num_ids += sum(len(ids) for _, ids in batch)
        num_known += int(known.sum())
        num_empty += int(np.count_nonzero(known == 0))
    form = "rows" if is_rows else "histories"
    return Summary(form, num_histories, num_ids, num_ids - num_known, num_empty, num_written)


def _to_tensor(histories: list[list[str]]) -> tf.Tensor:
    """Returns string [B, T], right-padded by ""."""
    width = max([1, *map(len, histories)])
    padded = np.full((len(histories), width), "", dtype=object)
    for row, ids in enumerate(histories):
        padded[row, : len(ids)] = ids
    return tf.constant(padded, tf.string)


def _batches(histories: Iterable[History], batch_size: int) -> Iterator[list[History]]:
    """Yields lists of at most `batch_size` histories that are small enough when padded."""
    batch: list[History] = []
    width = 0
    for history in histories:
        width = max(width, len(history[1]))
        if batch and (len(batch) == batch_size or (len(batch) + 1) * width > _MAX_IDS):
            yield batch
            batch, width = [], len(history[1])
        batch.append(history)
    if batch:
        yield batch


def _load(path: Path) -> Any:
    """Returns the loaded SavedModel."""
    try:
        model = tf.saved_model.load(str(path))
        _ = model.signatures["recommend"], model.lookup
    # What loading raises depends on which byte is damaged: OpError, OSError, KeyError,
    # AttributeError, protobuf's DecodeError and others were seen.
    except Exception as error:
        raise damaged(path, error) from error
    return model


def _checked_output(output: Path, histories: Path) -> Path:
    """Returns the real path of the output, so that a link is followed and not replaced."""
    real = Path(os.path.realpath(output))
    if not real.parent.is_dir():
        raise UserError(f"{output}: its folder does not exist. Make it, or mend --output.")
    if real.exists() and not real.is_file():
        raise UserError(f"{output}: is not a regular file. Give --output a file's name.")
    if real.exists() and real.samefile(histories):
        raise UserError(f"{output}: is also the input. Give --output another name.")
    return real


def _check_known(path: Path, form: Form, summary: Summary) -> None:
    """Refuses rows with a slip in them, which detection could only take for histories."""
    if summary.num_ids == 0 or summary.num_unknown_ids < summary.num_ids:
        return
    if form.odd_line:
        raise UserError(
            f"{path}, line {form.odd_line}: expected `user,item` as in the lines before (and as "
            "histories, one a line, the file has no item that the model knows). Mend the line."
        )
    logging.warning("%s: the model knows none of its %d item ids.", path, summary.num_ids)
