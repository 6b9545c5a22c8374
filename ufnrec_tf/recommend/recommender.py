"""An exported model in Python: lists of raw item ids in, a frame of recommendations out."""

import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ufnrec_tf.common.arguments import shown, whole_number
from ufnrec_tf.common.display import Display
from ufnrec_tf.common.errors import UserError
from ufnrec_tf.common.python_terms import speaks_python, warn
from ufnrec_tf.common.representation import Shown
from ufnrec_tf.export.items import read_items
from ufnrec_tf.export.saved_model import checked_metadata
from ufnrec_tf.export.versions import load_newest
from ufnrec_tf.recommend.diversity import Diversifier, checked_diversity, item_vectors
from ufnrec_tf.recommend.explain import left_out, score_drops
from ufnrec_tf.recommend.given_ids import (
    GivenFilters,
    Ids,
    KnownHistories,
    id_list,
    id_text,
    item_filters,
    known_histories,
    listed,
    unknown_text,
)
from ufnrec_tf.recommend.given_times import needed_error, seconds_of_histories
from ufnrec_tf.recommend.scoring import (
    BestItems,
    ExactScorer,
    ItemLists,
    SimilarScorer,
    check_signature,
    known_ids,
    load_model,
    times_input,
    to_tensor,
)

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
        self,
        histories: Histories,
        *,
        top_k: int = 10,
        exclude: Ids = None,
        allow: Ids = None,
        times: Any = None,
        diversity: float = 0.0,
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
            times: When each event of the histories was, in their form: dates or seconds since 1970.
                A model that was trained with backbone.time needs them. One with request_time also
                takes one more in each row, the time of the request, else the present.
            diversity: From 0, the best items, to 1. Above 0 a list is chosen one by one among the
                100 best items (or twice `top_k`) by maximal marginal relevance, score against
                likeness to the items already chosen: `recommend.diversity.diverse_order` has the
                formula and its source. `score` stays the model's, so it may rise along a list.

        Returns:
            A frame of `user`, `rank` (from 1), `item` (raw id), `title`, `score` (float32) and
            `known_items`: the number of ids of the user's history that the model knows. Where it
            is 0, the answer is the same for everybody. A user has fewer rows where fewer items are
            left.

        Raises:
            UserError: If `top_k` is not positive, `diversity` is not from 0 to 1, a history is not
                a list of ids, the model knows no item of any history, or none of `allow`, or times
                are missing or no times.
        """
        top_k = whole_number(top_k, "top_k", minimum=1)
        diversity = checked_diversity(diversity)
        k = min(top_k, int(self.metadata["num_items"]))
        names, found, seconds = self._known(histories, times)
        filters = item_filters(exclude, allow, known=self._known_ids, example=self._example)
        for note in (*found.notes, *filters.notes):
            warn(note)
        chooser = Diversifier(self.item_vectors, diversity) if diversity else None
        scorer = ExactScorer(self._model, _lists_of(filters), chooser)
        frames = [
            self._frame(names, found, slice(start, start + _BATCH), k, scorer, seconds)
            for start in range(0, max(len(names), 1), _BATCH)
        ]
        return pd.concat(frames, ignore_index=True)

    @speaks_python
    def similar(
        self, items: Ids, *, top_k: int = 10, exclude: Ids = None, allow: Ids = None
    ) -> pd.DataFrame:
        """Returns the items most like each of some items, best first.

        Likeness is the cosine of the vectors by which the model scores items. Unknown ids are
        dropped, with a warning.

        Args:
            items: Raw ids, one or several, spelled as in `recommend`.
            top_k: Items an item, 1 or more.
            exclude: Raw ids never to be returned, one or several.
            allow: The only raw ids that may be returned, one or several; None or empty: all.

        Returns:
            A frame of `similar_to` (the given id), `rank` (from 1), `item`, `title` and `score`
            (float32), the cosine. An item is never returned for itself.

        Raises:
            UserError: If `top_k` is not positive, there is no id, the model knows none of them, or
                none of `allow`.
        """
        check_signature(self._model, "similar", needed_by="similar items need")
        top_k = whole_number(top_k, "top_k", minimum=1)
        k = min(top_k, int(self.metadata["num_items"]))
        asked = list(dict.fromkeys(id_list(items, name="`items`")))
        if not asked:
            raise UserError("`items` has no id. Give one raw item id or several.")
        spellings = self._known_ids.spellings(asked)
        if unknown := [id for id in asked if id not in spellings]:
            note = unknown_text("`items`", unknown, len(asked), example=self._example)
            if not spellings:
                raise UserError(f"{note} Give item ids as they were in the log.")
            warn(note)
        filters = item_filters(exclude, allow, known=self._known_ids, example=self._example)
        for note in filters.notes:
            warn(note)
        known = [id for id in asked if id in spellings]
        scorer = SimilarScorer(self._model, _lists_of(filters))
        frames = []
        for start in range(0, len(known), _BATCH):
            names = known[start : start + _BATCH]
            best = scorer.best(to_tensor([[spellings[id]] for id in names]), k)
            frames.append(self._ranked(names, best, column="similar_to"))
        return pd.concat(frames, ignore_index=True)

    @speaks_python
    def explain(
        self,
        histories: Any = None,
        items: Ids = None,
        *,
        top_k: int = 10,
        times: Any = None,
        history: Sequence[Any] | None = None,
        item: Any = None,
    ) -> pd.DataFrame:
        """Returns the items of a history that carried a recommended item, by leave-one-out.

        Each item of the history is left out in turn, and the model scores the recommended item
        again. Drops do not add up, as items may stand for each other. A history of one item is
        compared with an empty one.

        Args:
            histories: Raw item ids of one history, oldest first; or several, as in `recommend`.
            items: The raw id of the recommended item, or of any other; several are explained one
                after the other. None: the first recommendation of each history.
            top_k: Items with the largest drops, 1 or more.
            times: When each event was, in the form of the histories; see `recommend`. An item is
                left out with its times.
            history: Older name of `histories`.
            item: Older name of `items`.

        Returns:
            A frame of `rank` (from 1), `item`, `title` and `drop` (float32): the score less the
            score without that item. Above 0 it speaks for the recommended item, below 0 against.
            Unless it is of one history and one item, `user` and `explained` come first. A history
            without a known item has no rows.

        Raises:
            UserError: If the model does not know the item, or no item of a history, or times are
                missing or no times.
        """
        top_k = whole_number(top_k, "top_k", minimum=1)
        histories, items = _either(histories, history), _either(items, item)
        if histories is None:
            raise UserError("`histories` is missing. Give raw item ids, oldest first.")
        is_one = _is_one_history(histories)
        if is_one:
            histories, times = [histories], None if times is None else [times]
        names, found, seconds = self._known(histories, times)
        for note in found.notes:
            warn(note)
        if is_one and not found.num_known[0]:
            raise UserError("`histories` has no item. Give raw item ids, oldest first.")
        explained = self._explained(items, histories, times, names)
        frames = []
        for place, (name, row) in enumerate(zip(names, found.rows, strict=True)):
            own = None if seconds is None else seconds[place]
            for asked in explained[name] if found.num_known[place] else ():
                frame = self._reasons(row, asked, top_k, own)
                frames.append(frame.assign(user=name, explained=asked))
        columns = ["user", "explained", "rank", "item", "title", "drop"]
        whole = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=columns)
        is_alone = is_one and items is not None and len(frames) == 1
        return whole[columns[2:] if is_alone else columns]

    def _explained(
        self, items: Ids, histories: Any, times: Any, names: list[Any]
    ) -> dict[Any, list[str]]:
        """Returns user -> the items to explain, in the model's spelling."""
        if items is None:
            with warnings.catch_warnings(action="ignore"):  # said above
                best = self.recommend(histories, top_k=1, times=times)
            firsts = dict(zip(best["user"], best["item"], strict=True))
            return {name: [firsts[name]] if name in firsts else [] for name in names}
        asked = list(dict.fromkeys(id_list(items, name="`items`")))
        spellings = self._known_ids.spellings(asked)
        if unknown := [text for text in asked if text not in spellings]:
            note = unknown_text("`items`", unknown, len(asked), example=self._example)
            raise UserError(f"{note} Give item ids as they were in the log.")
        spelled = [spellings[text] for text in asked]
        return dict.fromkeys(names, spelled)

    def _reasons(
        self, row: list[str], item: str, top_k: int, seconds: list[int] | None
    ) -> pd.DataFrame:
        """Returns the reasons for one item by one history, both in the model's spelling."""
        ids = self._model.lookup(to_tensor([row, [item]])).numpy()
        places = np.flatnonzero(ids[0]).tolist()
        own = None
        if seconds is not None:  # that of the request comes after those of the ids
            own = [*(seconds[place] for place in places), *seconds[len(row) :]]
        known = [row[place] for place in places]
        items, rows, row_times = left_out(known, int(self.metadata["max_length"]), own)
        inputs = {"item_ids": to_tensor(rows)} | times_input(row_times)
        vectors = self._model.signatures["encode"](**inputs)["vectors"].numpy()
        drops = score_drops(vectors, self.item_vectors[ids[1, 0] - 1])
        best = np.argsort(-drops, kind="stable")[:top_k]
        names = [items[place] for place in best]
        return pd.DataFrame(
            {
                "rank": np.arange(1, len(best) + 1),
                "item": names,
                "title": [self._titles.get(name, "") for name in names],
                "drop": drops[best],
            }
        )

    @speaks_python
    def encode(self, histories: Histories, *, times: Any = None) -> np.ndarray:
        """Returns the vector of each history, float32 [B, D]; arguments as of `recommend`."""
        _, found, seconds = self._known(histories, times)
        for note in found.notes:
            warn(note)
        rows = found.rows
        vectors = [
            self._model.signatures["encode"](
                item_ids=to_tensor(rows[start : start + _BATCH]),
                **times_input(seconds, slice(start, start + _BATCH)),
            )
            for start in range(0, max(len(rows), 1), _BATCH)
        ]
        return np.concatenate([answer["vectors"].numpy() for answer in vectors])

    def _known(
        self, histories: Histories, times: Any
    ) -> tuple[list[Any], KnownHistories, list[list[int]] | None]:
        """Returns the users' names, their histories in the model's spelling and their times.

        The times are None for a model that reads none.
        """
        names, rows = _named_histories(histories)
        seconds = None
        if "times" in self.metadata:
            if times is None:
                raise needed_error("`histories` are")
            seconds = seconds_of_histories(times, names, rows, self.metadata)
        elif times is not None:
            warn("`times` is not used: this model reads no times (backbone.time is none).")
        found = known_histories(names, rows, known=self._known_ids, example=self._example)
        return names, found, seconds

    @cached_property
    def item_vectors(self) -> np.ndarray:
        """The vectors by which items are scored, float32 [V, D], rows as in `items`."""
        return item_vectors(self.path, self._model)

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
        scorer: ExactScorer,
        seconds: list[list[int]] | None,
    ) -> pd.DataFrame:
        """Returns the rows of a batch of histories."""
        times = None if seconds is None else seconds[batch]
        best = scorer.best(to_tensor(found.rows[batch]), k, times)
        num_known = np.array(found.num_known[batch], np.int32)
        row, _ = np.nonzero(best.item_ids != b"")
        return self._ranked(names[batch], best, column="user").assign(known_items=num_known[row])

    def _ranked(self, names: list[Any], best: BestItems, *, column: str) -> pd.DataFrame:
        """Returns a row an item of a batch, empty places left out."""
        is_item = best.item_ids != b""  # [B, k]
        raw = [item.decode("utf-8") for item in best.item_ids[is_item]]
        row, rank = np.nonzero(is_item)
        return pd.DataFrame(
            {
                column: [names[number] for number in row],
                "rank": rank + 1,
                "item": raw,
                "title": [self._titles.get(item, "") for item in raw],
                "score": best.scores[is_item],
            }
        )


def _lists_of(filters: GivenFilters) -> ItemLists:
    return ItemLists(tuple(filters.exclude), tuple(filters.allow))


def _either(value: Any, older: Any) -> Any:
    """Returns an argument, which may have been given by its older name."""
    return older if value is None else value


def _is_one_history(histories: Any) -> bool:
    """True for the ids of one history, False for several, each of which is a list."""
    if isinstance(histories, Mapping):
        return False
    rows = listed(histories)
    return rows is not None and all(listed(row) is None for row in rows)


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
