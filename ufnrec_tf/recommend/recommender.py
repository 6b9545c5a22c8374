"""An exported model in Python: lists of raw item ids in, a frame of recommendations out."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tensorflow as tf

from ufnrec_tf.common.arguments import shown, whole_number
from ufnrec_tf.common.display import Display
from ufnrec_tf.common.errors import UserError
from ufnrec_tf.common.python_terms import speaks_python, warn
from ufnrec_tf.common.representation import Shown
from ufnrec_tf.export.items import read_items
from ufnrec_tf.export.saved_model import checked_metadata
from ufnrec_tf.export.versions import load_newest
from ufnrec_tf.recommend.given_ids import (
    GivenFilters,
    Ids,
    KnownHistories,
    id_text,
    item_filters,
    known_histories,
    listed,
)
from ufnrec_tf.recommend.scoring import known_ids, load_model, to_tensor

_BATCH = 256
"""Histories of one call; bounds the scores, float32 [histories, items]."""

Histories = Mapping[Any, Sequence[Any]] | Iterable[Sequence[Any]]


class Recommender(Shown):
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
        self._known_ids = known_ids(self._model)
        self.items = read_items(folder)

    def _show(self, display: Display) -> None:
        metadata, made = self.metadata, self.metadata.get("metadata", {})
        step = f", {made['weights']} weights of epoch {made['epoch']}" if "epoch" in made else ""
        display.line(
            f"Recommender {self.path}: {metadata['num_items']:,} items, histories of up to "
            f"{metadata['max_length']} items{step}"
        )

    @speaks_python
    def recommend(
        self, histories: Histories, *, top_k: int = 10, exclude: Ids = None, allow: Ids = None
    ) -> pd.DataFrame:
        """Returns the best items for each history, best first.

        Ids may be texts, numbers or bytes in UTF-8. One that the model does not know as it is, is
        looked up without the spaces around it, and 36.0 as 36. Other unknown ids are dropped, with
        a warning.

        Args:
            histories: Raw item ids, oldest first: a mapping or Series of user -> ids, or lists,
                which are numbered from 0. An empty text in a history is padding.
            top_k: Items a history, 1 or more.
            exclude: Raw ids never to be returned, one or several.
            allow: The only raw ids that may be returned, one or several; None or empty: all.

        Returns:
            A frame of `user`, `rank` (from 1), `item` (raw id), `title`, `score` (float32) and
            `known_items`: the number of ids of the user's history that the model knows. Where it
            is 0, the answer is the same for everybody. A user has fewer rows where fewer items are
            left.

        Raises:
            UserError: If `top_k` is not positive, a history is not a list of ids, the model knows
                no item of any history, or none of `allow`.
        """
        top_k = whole_number(top_k, "top_k", minimum=1)
        k = min(top_k, int(self.metadata["num_items"]))
        names, found = self._known(histories)
        filters = item_filters(exclude, allow, known=self._known_ids, example=self._example)
        for note in (*found.notes, *filters.notes):
            warn(note)
        frames = [
            self._frame(names, found, slice(start, start + _BATCH), k, filters)
            for start in range(0, max(len(names), 1), _BATCH)
        ]
        return pd.concat(frames, ignore_index=True)

    @speaks_python
    def encode(self, histories: Histories) -> np.ndarray:
        """Returns the vector of each history, float32 [B, D]; `histories` as in `recommend`."""
        _, found = self._known(histories)
        for note in found.notes:
            warn(note)
        rows = found.rows
        vectors = [
            self._model.signatures["encode"](item_ids=to_tensor(rows[start : start + _BATCH]))
            for start in range(0, max(len(rows), 1), _BATCH)
        ]
        return np.concatenate([answer["vectors"].numpy() for answer in vectors])

    def _known(self, histories: Histories) -> tuple[list[Any], KnownHistories]:
        """Returns the users' names and their histories in the model's spelling."""
        names, rows = _named_histories(histories)
        return names, known_histories(names, rows, known=self._known_ids, example=self._example)

    @property
    def _example(self) -> str:
        """A known id, or "" where an older export has no table of items."""
        return "" if self.items is None or self.items.empty else self.items["item_id"].iloc[0]

    def _frame(
        self,
        names: list[Any],
        found: KnownHistories,
        batch: slice,
        k: int,
        filters: GivenFilters,
    ) -> pd.DataFrame:
        """Returns the rows of a batch of histories."""
        names, num_known = names[batch], np.array(found.num_known[batch], np.int32)
        inputs = {"item_ids": to_tensor(found.rows[batch]), "k": tf.constant(k)}
        signature = "recommend"
        if filters.exclude or filters.allow:
            signature = "recommend_filtered"
            inputs["exclude_ids"] = to_tensor([filters.exclude] * len(names))
            inputs["allow_ids"] = to_tensor([filters.allow] * len(names))
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
                "known_items": num_known[row],
            }
        )


def _named_histories(histories: Histories) -> tuple[list[Any], list[list[str]]]:
    """Returns the users' names and their histories as text."""
    if isinstance(histories, Mapping | pd.Series):
        found = list(histories.items())
    elif (rows := listed(histories)) is not None:
        found = list(enumerate(rows))
    else:
        hint = 'A frame of events gives them by events.groupby("user")["item"].apply(list).'
        if isinstance(histories, str | os.PathLike):
            hint = "A file of histories is read by the command line's --mode=recommend."
        raise UserError(
            "`histories` must be lists of item ids, oldest first, or user -> such lists. "
            f"Received: {shown(histories)}. {hint}"
        )
    return [name for name, _ in found], [_ids_of(row, name) for name, row in found]


def _ids_of(row: Any, name: Any) -> list[str]:
    """Returns the ids of one history as texts, without padding."""
    ids = listed(row)
    if ids is None:
        raise UserError(
            f"the history of {name!r} must be a list of item ids. Received: {shown(row)}. For one "
            'history give [["ITEM", "ITEM"]].'
        )
    texts = [id_text(id, name=f"the history of {name!r}") for id in ids]
    return [text for text in texts if text]
