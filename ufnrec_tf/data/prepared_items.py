"""The items of a prepared folder, with what is known of them."""

from typing import NamedTuple

import numpy as np

from ufnrec_tf.data.item_table import ItemTable


class Items(NamedTuple):
    """The catalogue; place i is internal id i + 1.

    Attributes:
        ids: object(str) [V], raw ids.
        counts: int64 [V], events of each in the folder.
        titles: object(str) [V], "" where unknown, or None.
        categories: Likewise.
        prices: float64 [V], NaN where unknown, or None.
    """

    ids: np.ndarray
    counts: np.ndarray
    titles: np.ndarray | None
    categories: np.ndarray | None = None
    prices: np.ndarray | None = None


def items_of(ids: np.ndarray, counts: np.ndarray, table: ItemTable | None) -> Items:
    """Returns the catalogue of some raw ids.

    Args:
        ids: object(str) [V].
        counts: int64 [V].
        table: What is known of them, or None.
    """
    padded, table = with_padding(ids), table or ItemTable()
    known = (table.texts("titles", padded), table.texts("categories", padded))
    every = (*known, table.price_of(padded))
    return Items(ids, counts, *(None if values is None else values[1:] for values in every))


def with_padding(ids: np.ndarray) -> np.ndarray:
    """Returns the raw ids by internal id, object(str) [V + 1], the first "" for padding."""
    return np.concatenate([np.array([""], dtype=object), ids])
