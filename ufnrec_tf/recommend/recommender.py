"""An exported model in Python: lists of raw item ids in, a frame of recommendations out."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tensorflow as tf

from ufnrec_tf.common.errors import UserError
from ufnrec_tf.export.items import read_items
from ufnrec_tf.export.saved_model import checked_metadata
from ufnrec_tf.export.versions import load_newest
from ufnrec_tf.recommend.scoring import load_model, to_tensor

_BATCH = 256
"""Histories of one call; bounds the scores, float32 [histories, items]."""

Histories = Mapping[Any, Sequence[Any]] | Iterable[Sequence[Any]]


class Recommender:
    """An exported model, ready to answer.

    Args:
        path: An export folder (its newest version is taken) or one version of it.

    Attributes:
        metadata: The content of the model's ufnrec.json.
        items: A frame of item_id, title, category, price, events; None for an older export.

    Raises:
        UserError: If there is no export, or it is damaged.
    """

    def __init__(self, path: str | Path) -> None:
        folder = Path(path)
        is_version = (folder / "saved_model.pb").is_file()
        self._load(folder) if is_version else load_newest(folder, self._load)
        self._titles: dict[str, str] = {}
        if self.items is not None:
            self._titles = dict(zip(self.items["item_id"], self.items["title"], strict=True))

    def _load(self, folder: Path) -> None:
        self.path = folder
        self.metadata = checked_metadata(folder)
        self._model = load_model(folder)
        self.items = read_items(folder)

    def recommend(
        self,
        histories: Histories,
        *,
        top_k: int = 10,
        exclude: Iterable[Any] = (),
        allow: Iterable[Any] = (),
    ) -> pd.DataFrame:
        """Returns the best items for each history, best first.

        Args:
            histories: Raw item ids, oldest first: a mapping or Series of user -> ids, or lists,
                which are numbered from 0. Numbers become text; unknown ids are dropped.
            top_k: Items a history, 1 or more.
            exclude: Raw ids never to be returned.
            allow: The only raw ids that may be returned; empty: all.

        Returns:
            A frame of `user`, `rank` (from 1), `item` (raw id), `title`, `score` (float32). A user
            has fewer rows where fewer items are left.

        Raises:
            UserError: If `top_k` is not positive, or a history is not a list of ids.
        """
        if top_k < 1:
            raise UserError(f"`top_k` must be 1 or more. Received: {top_k}.")
        names, rows = _named_histories(histories)
        filters = _id_texts(exclude), _id_texts(allow)
        frames = [
            self._frame(names[start : start + _BATCH], rows[start : start + _BATCH], top_k, filters)
            for start in range(0, len(rows), _BATCH)
        ]
        return pd.concat(frames or [self._frame([], [], top_k, filters)], ignore_index=True)

    def encode(self, histories: Histories) -> np.ndarray:
        """Returns the vector of each history, float32 [B, D]; `histories` as in `recommend`."""
        _, rows = _named_histories(histories)
        vectors = [
            self._model.signatures["encode"](item_ids=to_tensor(rows[start : start + _BATCH]))
            for start in range(0, max(len(rows), 1), _BATCH)
        ]
        return np.concatenate([answer["vectors"].numpy() for answer in vectors])

    def _frame(
        self,
        names: list[Any],
        rows: list[list[str]],
        top_k: int,
        filters: tuple[list[str], list[str]],
    ) -> pd.DataFrame:
        inputs = {"item_ids": to_tensor(rows), "k": tf.constant(top_k)}
        signature = "recommend"
        if any(filters):
            signature = "recommend_filtered"
            for name, ids in zip(("exclude_ids", "allow_ids"), filters, strict=True):
                inputs[name] = to_tensor([ids] * len(rows))
        answer = self._model.signatures[signature](**inputs)
        items, scores = answer["item_ids"].numpy(), answer["scores"].numpy()
        is_item = items != b""  # [B, k]
        raw = [item.decode("utf-8") for item in items[is_item]]
        row, rank = np.nonzero(is_item)
        return pd.DataFrame(
            {
                "user": [names[number] for number in row],
                "rank": rank + 1,
                "item": raw,
                "title": [self._titles.get(item, "") for item in raw],
                "score": scores[is_item],
            }
        )


def _named_histories(histories: Histories) -> tuple[list[Any], list[list[str]]]:
    """Returns the users' names and their histories as text."""
    if isinstance(histories, str | bytes | pd.DataFrame):
        raise UserError(
            "`histories` must be lists of item ids, oldest first, or user -> such lists. "
            f"Received: {type(histories).__name__}. A frame of events gives them by "
            'events.groupby("user")["item"].apply(list).'
        )
    if isinstance(histories, Mapping | pd.Series):
        names = list(histories.keys())
        rows = [row for _, row in histories.items()]
    else:
        rows = list(histories)
        names = list(range(len(rows)))
    for name, row in zip(names, rows, strict=True):
        if isinstance(row, str | bytes) or not isinstance(row, Iterable):
            raise UserError(
                f"the history of {name!r} must be a list of item ids. Received: {row!r}."
            )
    return names, [_id_texts(row) for row in rows]


def _id_texts(ids: Iterable[Any]) -> list[str]:
    return [str(item) for item in ids]
