"""The items of a model by raw id, with titles where they are known, searched by text."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ufnrec_tf.item_facts import read_items

_END, _FIELD = "\n", "\t"
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")


class TextIndex:
    """Rows of short texts, found by a prefix first and then by any part; case does not matter.

    The texts stand in one string, which `str.find` goes through at the speed of memory: a million
    titles take some ten milliseconds.

    Args:
        texts: The texts of each row, such as title and id.
    """

    def __init__(self, texts: Sequence[Sequence[str]]) -> None:
        rows = [_FIELD + _FIELD.join(_folded(text) for text in row) + _END for row in texts]
        self._starts = np.cumsum([0, *map(len, rows)]).tolist()
        self._text = "".join(rows)

    def search(self, query: str, *, limit: int) -> list[int]:
        """Returns rows with the query in them, by prefix first, then in their order."""
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
        place = self._text.find(pattern)
        while place >= 0:
            row = bisect_right(self._starts, place) - 1
            yield row
            place = self._text.find(pattern, self._starts[row + 1])


def _folded(text: str) -> str:
    return _CONTROLS.sub(" ", text).casefold()


class Catalogue:
    """Items by raw id.

    Args:
        item_ids: Raw ids, object(str) [V], padding left out.
        titles: object(str) [V], "" where unknown, or None.
        categories: object(str) [V], "" where unknown, or None.
        events: int64 [V], how often each was taken, by which searches are ordered; or None.
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

    def describe(self, item_id: str) -> dict[str, str]:
        """Returns id, title and category of an item; "" where they are unknown."""
        row = self._rows.get(item_id)
        if row is None:
            return {"id": item_id, "title": "", "category": ""}
        return {"id": item_id, "title": self._titles[row], "category": self._categories[row]}

    def search(self, query: str, *, limit: int) -> list[dict[str, str]]:
        """Returns items whose title or id has the query in it."""
        rows = self._index.search(query, limit=limit)
        return [self.describe(self._ids[row]) for row in rows]


def read_catalogue(version_folder: Path) -> Catalogue | None:
    """Returns the items that an export has beside its model; None for one without them.

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
