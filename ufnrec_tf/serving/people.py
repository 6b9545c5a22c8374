"""The users of a run, for the page: what they took, and what the memory holds for them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ufnrec_tf.serving.catalogue import TextIndex

MOST_REMEMBERED = 100
"""Items of the memory shown a user at most, flagged and then the highest counts first."""


class Histories(NamedTuple):
    """Who took what, in internal numbers; user u's are `items[offsets[u]:offsets[u + 1]]`.

    Attributes:
        user_ids: object(str) [U], raw ids.
        offsets: int64 [U + 1].
        items: int32 [E], oldest first.
        item_ids: object(str) [V + 1], the raw id of each internal number.
    """

    user_ids: np.ndarray
    offsets: np.ndarray
    items: np.ndarray
    item_ids: np.ndarray


class People:
    """Users by raw id.

    Args:
        histories: What they took.
        memory: Rows of false_negatives.parquet (user, item, position, count, margin, flagged), or
            None for a run without a memory.
        source: Where the histories are from, told on the page.
    """

    def __init__(self, histories: Histories, memory: pd.DataFrame | None, *, source: str) -> None:
        self._histories = histories
        self._ids = [str(raw) for raw in histories.user_ids]
        self._rows = {raw: row for row, raw in enumerate(self._ids)}
        self._index = TextIndex([(raw,) for raw in self._ids])
        self.source = source
        self.has_memory = memory is not None
        self._memory: dict[str, np.ndarray] = {}
        if memory is not None:
            self._frame = _by_item(memory)
            groups = self._frame.groupby("user", sort=False).indices
            self._memory = {str(user): np.asarray(rows) for user, rows in groups.items()}

    def __len__(self) -> int:
        return len(self._ids)

    def search(self, query: str, *, limit: int) -> list[dict[str, Any]]:
        """Returns id and number of events of users whose id has the query in it."""
        lengths = self._histories.offsets
        return [
            {"id": self._ids[row], "events": int(lengths[row + 1] - lengths[row])}
            for row in self._index.search(query, limit=limit)
        ]

    def history(self, user: str, *, most: int) -> list[str] | None:
        """Returns the newest raw item ids of a user, oldest first; None for an unknown one."""
        row = self._rows.get(user)
        if row is None:
            return None
        begin, end = self._histories.offsets[row : row + 2]
        newest = self._histories.items[max(begin, end - most) : end]
        return [str(raw) for raw in self._histories.item_ids[newest]]

    def remembered(self, user: str) -> tuple[list[dict[str, Any]], int]:
        """Returns the items that the memory holds for a user, and how many they are in all.

        Each has item (raw id), count, margin (null where it is not finite), flagged, and places:
        at how many events of the history it is held; the others are of the most flagged one.
        """
        rows = self._memory.get(user)
        if rows is None:
            return [], 0
        chosen = self._frame.iloc[rows[:MOST_REMEMBERED]].to_dict("records")
        found = [
            {
                "item": str(row["item"]),
                "places": int(row["places"]),
                "count": int(row["count"]),
                "margin": round(float(row["margin"]), 4) if np.isfinite(row["margin"]) else None,
                "flagged": bool(row["flagged"]),
            }
            for row in chosen
        ]
        return found, len(rows)


def _by_item(memory: pd.DataFrame) -> pd.DataFrame:
    """Returns a row a user and item: the most flagged, and `places`, how many there were."""
    order = ["flagged", "count", "margin"]
    frame = memory.sort_values(order, ascending=False, kind="stable").reset_index(drop=True)
    pair = ["user", "item"]
    frame["places"] = frame.groupby(pair, sort=False)["item"].transform("size")
    return frame.drop_duplicates(pair).reset_index(drop=True)
