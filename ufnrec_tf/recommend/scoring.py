"""The best items of batches of histories by an exported model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import tensorflow as tf

from ufnrec_tf.common.errors import UserError
from ufnrec_tf.export.items import read_items
from ufnrec_tf.export.versions import damaged_error
from ufnrec_tf.recommend.diversity import Diversifier
from ufnrec_tf.recommend.given_ids import KnownIds
from ufnrec_tf.recommend.histories import History, TimedHistory

# Floats of one call's scores and ids of one call's histories: bound memory if there are a
# million items, or a history is very long.
_MAX_SCORES = 1 << 26
_MAX_IDS = 1 << 21

Id = TypeVar("Id", str, bytes)
AnyHistory = TypeVar("AnyHistory", History, TimedHistory)


class BestItems(NamedTuple):
    """The best items of B histories.

    Attributes:
        item_ids: object (bytes) [B, k], "" where fewer are left.
        scores: float32 [B, k].
        num_known: int [B], the number of ids of a history that the model knows.
    """

    item_ids: np.ndarray
    scores: np.ndarray
    num_known: np.ndarray


class ItemLists(NamedTuple):
    """Raw ids that bound the answers of all histories.

    Attributes:
        exclude: Ids that are never recommended.
        allow: The only ids that may be recommended; empty for all.
    """

    exclude: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()


NO_LISTS = ItemLists()


class ExactScorer:
    """The exported model's own answers.

    Args:
        model: The loaded SavedModel.
        lists: The items that answers may and may not hold.
        diversifier: Chooses the answers among more of the best items; None: the best themselves.

    Raises:
        UserError: If there are lists, and the model was exported before it could take any.
    """

    def __init__(
        self, model: Any, lists: ItemLists = NO_LISTS, diversifier: Diversifier | None = None
    ) -> None:
        self._model = model
        self._lists = lists
        self._diversifier = diversifier
        if any(lists):
            check_signature(
                model,
                "recommend_filtered",
                needed_by="lists of items to exclude or to allow need",
            )

    def best(self, item_ids: tf.Tensor, k: int, times: list[list[int]] | None = None) -> BestItems:
        """Returns the k best items of string [B, T] histories, padded by "".

        Args:
            item_ids: The histories.
            k: Items of each.
            times: The times of each history's ids, for a model that reads them.
        """
        known = np.count_nonzero(self._model.lookup(item_ids).numpy(), axis=1)  # [B]
        chooser = self._diversifier
        count = k if chooser is None else chooser.num_candidates(k)
        inputs = {"item_ids": item_ids, "k": tf.constant(count)} | times_input(times)
        answer = call_filtered(self._model, "recommend", inputs, self._lists)
        ids, scores = answer["item_ids"].numpy(), answer["scores"].numpy()
        if chooser is not None:
            places = self._model.lookup(answer["item_ids"]).numpy()
            ids, scores = chooser.chosen(ids, scores, places, k)
        return BestItems(ids, scores, known)

    def unknown(self, ids: Sequence[str]) -> list[str]:
        """Returns the raw ids that the model does not know, each once."""
        distinct = list(dict.fromkeys(ids))
        found = self._model.lookup(to_tensor([distinct])).numpy()[0]
        return [raw for raw, number in zip(distinct, found, strict=False) if not number]


class SimilarScorer(ExactScorer):
    """The exported model's items that are most like others: a history is one item.

    Args:
        model: The loaded SavedModel.
        lists: The items that answers may and may not hold.

    Raises:
        UserError: If the model was exported before it could find similar items.
    """

    def __init__(self, model: Any, lists: ItemLists = NO_LISTS) -> None:
        check_signature(model, "similar", needed_by="similar items need")
        super().__init__(model, lists)

    def best(self, item_ids: tf.Tensor, k: int, times: list[list[int]] | None = None) -> BestItems:
        """Returns the k items most like each of string [B, 1]; `scores` are cosines."""
        inputs = {"item_ids": item_ids[:, 0], "k": tf.constant(k)}
        answer = call_filtered(self._model, "similar", inputs, self._lists)
        known = answer["is_known"].numpy().astype(np.int32)
        return BestItems(answer["item_ids"].numpy(), answer["scores"].numpy(), known)


def check_signature(model: Any, name: str, *, needed_by: str) -> None:
    """Raises UserError if a model was exported before it had a signature."""
    if name not in model.signatures:
        raise UserError(
            f"this export has no signature {name}, which {needed_by}. Run --mode=export once more."
        )


def call_filtered(
    model: Any, name: str, inputs: dict[str, tf.Tensor], lists: ItemLists
) -> dict[str, tf.Tensor]:
    """Returns the answer of a signature, by its `_filtered` form where there are lists.

    Args:
        model: The loaded SavedModel.
        name: "recommend" or "similar".
        inputs: Its inputs, without lists.
        lists: The items that answers may and may not hold, the same for all rows.
    """
    if any(lists):
        name, num_rows = f"{name}_filtered", inputs["item_ids"].shape[0]
        inputs = inputs | {
            "exclude_ids": to_tensor([list(lists.exclude)] * num_rows),
            "allow_ids": to_tensor([list(lists.allow)] * num_rows),
        }
    return model.signatures[name](**inputs)


def batches_of(
    histories: Iterable[AnyHistory], *, batch_size: int, num_items: int, num_listed: int = 0
) -> Iterator[list[AnyHistory]]:
    """Yields lists of at most `batch_size` histories that are small enough when padded.

    Args:
        histories: The histories.
        batch_size: Histories of a list, at most; 1 or more.
        num_items: Items of the model.
        num_listed: Ids of the lists to exclude and to allow, which each history gets.
    """
    most = min(_MAX_SCORES // (num_items + 1), _MAX_IDS // max(num_listed, 1))
    batch_size = max(1, min(batch_size, most))
    batch: list[AnyHistory] = []
    width = 0
    for history in histories:
        width = max(width, len(history[1]))
        if batch and (len(batch) == batch_size or (len(batch) + 1) * width > _MAX_IDS):
            yield batch
            batch, width = [], len(history[1])
        batch.append(history)
    if batch:
        yield batch


def to_tensor(histories: list[list[str]]) -> tf.Tensor:
    """Returns B lists of raw ids as string [B, T], right-padded by ""."""
    return tf.constant(padded(histories, ""), tf.string)


def times_input(times: list[list[int]] | None, batch: slice = slice(None)) -> dict[str, tf.Tensor]:
    """Returns the input `times` int64 [B, T] of a call, right-padded by 0; none for None.

    Args:
        times: The times of all histories, in seconds; None for a model that reads none.
        batch: The histories of the call.
    """
    if times is None:
        return {}
    rows = times[batch]
    values = np.zeros((len(rows), max([1, *map(len, rows)])), np.int64)
    for number, row in enumerate(rows):
        values[number, : len(row)] = row
    return {"times": tf.constant(values)}


def padded(rows: list[list[Id]], pad: Id) -> np.ndarray:
    """Returns rows as object [B, T], right-padded; T is 1 or more.

    Args:
        rows: B lists of raw ids.
        pad: The empty text or the empty bytes.
    """
    # At least one column: an array of objects without one has no second axis.
    values = np.full((len(rows), max([1, *map(len, rows)])), pad, dtype=object)
    for number, row in enumerate(rows):
        values[number, : len(row)] = row
    return values


def read_titles(export_dir: Path) -> dict[bytes, str] | None:
    """Returns raw item id (UTF-8) -> title of an export, or None if no title is known.

    Raises:
        UserError: If the export's table of items is damaged.
    """
    table = read_items(export_dir, ["item_id", "title"])
    if table is None:
        return None
    pairs = zip(table["item_id"], table["title"], strict=True)
    return {raw.encode(): title for raw, title in pairs if title} or None


def load_model(path: Path) -> Any:
    """Returns the loaded SavedModel.

    Raises:
        UserError: If it is damaged.
    """
    try:
        model = tf.saved_model.load(str(path))
        _ = model.signatures["recommend"], model.lookup
    # What loading raises depends on which byte is damaged: OpError, OSError, KeyError,
    # AttributeError, protobuf's DecodeError and others were seen.
    except Exception as error:
        raise damaged_error(path, error) from error
    return model


def known_ids(model: Any) -> KnownIds:
    """Returns the raw ids that a loaded SavedModel knows."""
    return KnownIds(lambda ids: model.lookup(tf.constant([ids], tf.string)).numpy()[0] != 0)
