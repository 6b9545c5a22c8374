"""Items: titles, categories and prices by raw id; the catalogue of a prepared folder."""

from typing import NamedTuple

import numpy as np

from ufnrec_tf.data.log_description import TitlesRead


class ItemTable(NamedTuple):
    """Titles, categories and prices by raw id; None if the table has no such column.

    Attributes:
        titles: Raw item id -> title.
        categories: Raw item id -> category; of several, with | between them.
        prices: Raw item id -> price, in the table's currency; ids without one are left out.
        title_column: The name of the column of titles; "" where there is none.
        notes: What was not plain in the table, for the screen.
    """

    titles: dict[str, str] | None = None
    categories: dict[str, str] | None = None
    prices: dict[str, float] | None = None
    title_column: str = ""
    notes: tuple[str, ...] = ()

    def texts(self, name: str, item_ids: np.ndarray) -> np.ndarray | None:
        """Returns the text of each item, object(str) [V + 1], "" if unknown.

        Args:
            name: "titles" or "categories".
            item_ids: object(str) [V + 1], raw ids, the first of padding, which has nothing.
        """
        known = getattr(self, name)
        if known is None:
            return None
        return np.array(["", *(known.get(item, "") for item in item_ids[1:])], dtype=object)

    def price_of(self, item_ids: np.ndarray) -> np.ndarray | None:
        """Returns the price of each item, float64 [V + 1], NaN if unknown."""
        if self.prices is None:
            return None
        return np.array([np.nan, *(self.prices.get(item, np.nan) for item in item_ids[1:])])

    def titles_read(self, titles: np.ndarray | None) -> TitlesRead:
        """Returns what the screen says of the titles.

        Args:
            titles: object(str) [V], those of the log's items, "" where unknown; None without.
        """
        known = 0 if titles is None else int(np.count_nonzero(titles != ""))
        num_items = 0 if titles is None else len(titles)
        return TitlesRead(self.title_column, known, num_items, self.notes)


class Items(NamedTuple):
    """The catalogue. Place i is the item with internal id i + 1.

    Attributes:
        ids: object(str) [V], raw ids.
        counts: int64 [V], events of each in the folder.
        titles: object(str) [V], "" where unknown, or None.
        categories: object(str) [V], "" where unknown, or None.
        prices: float64 [V], NaN where unknown, or None.
    """

    ids: np.ndarray
    counts: np.ndarray
    titles: np.ndarray | None
    categories: np.ndarray | None = None
    prices: np.ndarray | None = None


def items_of(ids: np.ndarray, counts: np.ndarray, table: ItemTable | None) -> Items:
    """Returns the catalogue of the given raw ids.

    Args:
        ids: object(str) [V].
        counts: int64 [V].
        table: Titles, categories and prices by raw id, or None.
    """
    padded, table = with_padding(ids), table or ItemTable()
    known = (table.texts("titles", padded), table.texts("categories", padded))
    every = (*known, table.price_of(padded))
    return Items(ids, counts, *(None if values is None else values[1:] for values in every))


def with_padding(ids: np.ndarray) -> np.ndarray:
    """Returns the raw ids by internal id, object(str) [V + 1], the first "" for padding."""
    return np.concatenate([np.array([""], dtype=object), ids])
