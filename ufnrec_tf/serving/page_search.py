"""The items and the users of a run, found by text for the page."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ufnrec_tf.export.items import read_items

_END, _FIELD = "\n", "\t"
# Items of a user's memory that the page shows, flagged ones and then the highest counts first.
_MAX_REMEMBERED = 100
_EXAMPLES = 6  # users that the page offers
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")


class TextIndex:
    """A search in rows of short texts, by prefix first and then by any substring, case ignored.

    The texts are joined to one string, which `str.find` scans at the speed of memory: a million
    titles take about ten milliseconds.

    Args:
        texts: The texts of each row, such as title and id.
    """

    def __init__(self, texts: Sequence[Sequence[str]]) -> None:
        rows = [_FIELD + _FIELD.join(_folded(text) for text in row) + _END for row in texts]
        self._starts = np.cumsum([0, *map(len, rows)]).tolist()
        self._text = "".join(rows)

    def search(self, query: str, *, limit: int) -> list[int]:
        """Returns the rows that contain the query: whole texts, then prefixes, then the others."""
        query = _folded(query)
        if not query:
            return list(range(min(limit, len(self._starts) - 1)))
        found: dict[int, None] = {}
        for pattern in (_FIELD + query + _FIELD, _FIELD + query + _END, _FIELD + query, query):
            for row in self._rows_with(pattern):
                if len(found) >= limit:
                    return list(found)
                found[row] = None
        return list(found)

    def _rows_with(self, pattern: str) -> Iterator[int]:
        begin = self._text.find(pattern)
        while begin >= 0:
            row = bisect_right(self._starts, begin) - 1
            yield row
            begin = self._text.find(pattern, self._starts[row + 1])


def _folded(text: str) -> str:
    return _CONTROLS.sub(" ", text).casefold()


class Catalogue:
    """The items of a run or an export.

    Args:
        item_ids: Raw ids, object(str) [V], without padding.
        titles: object(str) [V], "" where unknown, or None.
        categories: object(str) [V], "" where unknown, or None.
        events: int64 [V], how often each was taken, which orders the results; or None.
    """

    def __init__(
        self,
        item_ids: np.ndarray,
        *,
        titles: np.ndarray | None = None,
        categories: np.ndarray | None = None,
        events: np.ndarray | None = None,
    ) -> None:
        unknown = np.full(len(item_ids), "", dtype=object)
        order = np.arange(len(item_ids))
        if events is not None:
            order = np.argsort(-np.asarray(events), kind="stable")
        self._ids = [str(raw) for raw in item_ids[order]]
        self._titles = (unknown if titles is None else titles)[order].tolist()
        self._categories = (unknown if categories is None else categories)[order].tolist()
        self._rows = {raw: row for row, raw in enumerate(self._ids)}
        self._index = TextIndex(list(zip(self._titles, self._ids, strict=True)))
        self.has_titles = any(self._titles)

    def __len__(self) -> int:
        return len(self._ids)

    def __contains__(self, raw: bytes) -> bool:
        """True if an id, UTF-8, is one of an item."""
        return raw.decode("utf-8", "replace") in self._rows

    def describe(self, item_id: str) -> dict[str, str]:
        """Returns id, title and category of an item, "" if they are unknown."""
        row = self._rows.get(item_id)
        if row is None:
            return {"id": item_id, "title": "", "category": ""}
        return {"id": item_id, "title": self._titles[row], "category": self._categories[row]}

    def search(self, query: str, *, limit: int) -> list[dict[str, str]]:
        """Returns the items whose title or id contains the query."""
        rows = self._index.search(query, limit=limit)
        return [self.describe(self._ids[row]) for row in rows]


def read_catalogue(version_folder: Path) -> Catalogue | None:
    """Returns the items of an export, or None for one without an items file.

    Raises:
        UserError: If the file is damaged.
    """
    frame = read_items(version_folder)
    if frame is None:
        return None
    columns = {name: frame[name].to_numpy() for name in frame}
    return Catalogue(
        columns["item_id"],
        titles=columns.get("title"),
        categories=columns.get("category"),
        events=columns.get("events"),
    )


class UserHistories(NamedTuple):
    """The items of each user by internal number; user u's are `items[offsets[u]:offsets[u + 1]]`.

    Attributes:
        user_ids: object(str) [U], raw ids.
        offsets: int64 [U + 1].
        items: int32 [E], oldest first.
        item_ids: object(str) [V + 1], the raw id of each internal number.
        times: int64 [E], when each event was, in seconds; None for a run that reads no times.
    """

    user_ids: np.ndarray
    offsets: np.ndarray
    items: np.ndarray
    item_ids: np.ndarray
    times: np.ndarray | None = None


class HeldOutEvents(NamedTuple):
    """The events of a user that the test held out.

    Attributes:
        items: Raw ids, oldest first: the first is what the user really took next.
        rank: The rank of the first in the test, from 1.
    """

    items: list[str]
    rank: int


class Users:
    """The users of a run.

    Args:
        histories: The items of each user.
        memory: Rows of false_negatives.parquet (user, item, position, count, margin, flagged), or
            None for a run without a memory.
        source: The origin of the histories, shown on the page.
        ranks: Rows of ranks.parquet (user, item, rank, position), or None for an unfinished run.
    """

    def __init__(
        self,
        histories: UserHistories,
        memory: pd.DataFrame | None,
        *,
        source: str,
        ranks: pd.DataFrame | None = None,
    ) -> None:
        self._histories = histories
        self._ids = [str(raw) for raw in histories.user_ids]
        self._rows = {raw: row for row, raw in enumerate(self._ids)}
        self._index = TextIndex([(raw,) for raw in self._ids])
        self.source = source
        self.has_times = histories.times is not None
        self.has_memory = memory is not None
        self._tests: dict[str, tuple[str, int, int]] = {}
        if ranks is not None:
            first = ranks.sort_values("position", kind="stable").drop_duplicates("user")
            targets = first[["item", "rank", "position"]].itertuples(index=False, name=None)
            self._tests = dict(zip(first["user"].astype(str), targets, strict=True))
        self._memory: dict[str, np.ndarray] = {}
        if memory is not None:
            self._frame = _by_item(memory)
            groups = self._frame.groupby("user", sort=False).indices
            self._memory = {str(user): np.asarray(rows) for user, rows in groups.items()}

    def __len__(self) -> int:
        return len(self._ids)

    def search(self, query: str, *, limit: int) -> list[dict[str, Any]]:
        """Returns id and number of events of the users whose id contains the query."""
        lengths = self._histories.offsets
        return [
            {"id": self._ids[row], "events": int(lengths[row + 1] - lengths[row])}
            for row in self._index.search(query, limit=limit)
        ]

    def history(self, user: str, *, most: int) -> list[str] | None:
        """Returns the newest raw item ids of a user, oldest first, or None for an unknown user."""
        row = self._rows.get(user)
        if row is None:
            return None
        begin, end = self._histories.offsets[row : row + 2]
        newest = self._histories.items[max(begin, end - most) : end]
        return [str(raw) for raw in self._histories.item_ids[newest]]

    def times(self, user: str, *, most: int) -> list[int]:
        """Returns the times of what `history` returns of a known user; only with `has_times`."""
        assert self._histories.times is not None
        begin, end = self._histories.offsets[self._rows[user] :][:2]
        return self._histories.times[max(begin, end - most) : end].tolist()

    def held_out(self, user: str) -> HeldOutEvents | None:
        """Returns the test events of a user, or None if the histories do not have them."""
        row, test = self._rows.get(user), self._tests.get(user)
        if row is None or test is None:
            return None
        item, rank, position = test
        begin, end = self._histories.offsets[row : row + 2]
        held = self._histories.items[begin + position : end]
        items = [str(raw) for raw in self._histories.item_ids[held]]
        # Of an older run only the training events are kept.
        return HeldOutEvents(items, int(rank)) if position and items and items[0] == item else None

    @cached_property
    def examples(self) -> list[dict[str, Any]]:
        """Id and number of events of a few users of the test, at even distances in its order."""
        users = [user for user in self._ids if user in self._tests]
        places = np.linspace(0, len(users) - 1, min(_EXAMPLES, len(users))).astype(int)
        lengths = np.diff(self._histories.offsets)
        return [
            {"id": users[place], "events": int(lengths[self._rows[users[place]]])}
            for place in places.tolist()
            if self.held_out(users[place])
        ]

    def remembered(self, user: str) -> tuple[list[dict[str, Any]], int]:
        """Returns the first items that the memory holds for a user, and the number of all.

        Each has item (raw id), places (the number of events of the history at which it is held),
        and of one of these, a flagged one if there is any: count, margin (null where it is not
        finite), flagged.
        """
        rows = self._memory.get(user)
        if rows is None:
            return [], 0
        shown = self._frame.iloc[rows[:_MAX_REMEMBERED]].to_dict("records")
        found = [
            {
                "item": str(row["item"]),
                "places": int(row["places"]),
                "count": int(row["count"]),
                "margin": round(float(row["margin"]), 4) if np.isfinite(row["margin"]) else None,
                "flagged": bool(row["flagged"]),
            }
            for row in shown
        ]
        return found, len(rows)


def _by_item(memory: pd.DataFrame) -> pd.DataFrame:
    """Returns the first row of each user and item, and `places`, the number of its rows."""
    order = ["flagged", "count", "margin"]
    frame = memory.sort_values(order, ascending=False, kind="stable").reset_index(drop=True)
    pair = ["user", "item"]
    frame["places"] = frame.groupby(pair, sort=False)["item"].transform("size")
    return frame.drop_duplicates(pair).reset_index(drop=True)
