"""The table of items beside an exported model: titles, categories, prices, popularity."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from ufnrec_tf.export.versions import damaged_error

ITEMS_FILE = "items.parquet"


class ItemFacts(NamedTuple):
    """The facts of each item, by internal id; row 0 is padding and never read.

    Attributes:
        events: int64 [num_items + 1], train events: the counts that the selected weights and the
            popularity baseline have seen, without held-out events.
        titles: object (str) [num_items + 1], "" where unknown, or None.
        categories: object (str) [num_items + 1], "" where unknown, or None.
        prices: float64 [num_items + 1], NaN where unknown, or None.
    """

    events: np.ndarray
    titles: np.ndarray | None = None
    categories: np.ndarray | None = None
    prices: np.ndarray | None = None


def popularity_scores(events: np.ndarray) -> np.ndarray:
    """Returns the logarithm of each item's share of the events, each item counted once more.

    The scores are finite and never positive, also for an item without an event. Items of equal
    counts have equal scores.

    Args:
        events: int64 [num_items + 1]; that of padding does not count.

    Returns:
        float32 [num_items + 1].
    """
    counts = events.astype(np.float64) + 1.0
    return np.log(counts / counts[1:].sum()).astype(np.float32)


def items_table(item_ids: np.ndarray, facts: ItemFacts | None) -> pd.DataFrame:
    """Returns item_id, title, category, price and events, a row an item, in order of internal id.

    Args:
        item_ids: object (str) [num_items + 1], "" at 0.
        facts: The facts of the items; None: no titles, no events.
    """
    num_items = len(item_ids) - 1
    unknown = np.full(num_items + 1, "", dtype=object)
    facts = facts or ItemFacts(np.zeros(num_items + 1, np.int64))
    prices = np.full(num_items + 1, np.nan) if facts.prices is None else facts.prices
    columns = {
        "item_id": item_ids,
        "title": unknown if facts.titles is None else facts.titles,
        "category": unknown if facts.categories is None else facts.categories,
    }
    for name, values in [*columns.items(), ("price", prices), ("events", facts.events)]:
        if len(values) != num_items + 1:
            raise ValueError(
                f"`{name}` must have a row an item and one for padding, {num_items + 1}. "
                f"Received: {len(values)}."
            )
    return pd.DataFrame(
        {
            **{name: [str(value) for value in values[1:]] for name, values in columns.items()},
            "price": prices[1:].astype(np.float64),
            "events": facts.events[1:].astype(np.int64),
        }
    )


def write_items(path: str | os.PathLike[str], table: pd.DataFrame) -> None:
    """Writes the table of `items_table`; columns of text have that type also without a row."""
    texts = dict.fromkeys(("item_id", "title", "category"), "string")
    table.astype(texts).to_parquet(path, index=False)


def read_items(export_dir: Path, columns: Sequence[str] | None = None) -> pd.DataFrame | None:
    """Returns the items that `write_items` wrote into a version folder.

    Args:
        export_dir: Version folder.
        columns: The columns to read, which must exist; None: all.

    Returns:
        A row an item in order of internal id, texts as object(str); None for an older export
        without the file.

    Raises:
        UserError: If the file is damaged.
    """
    path = export_dir / ITEMS_FILE
    if not path.is_file():
        return None
    try:
        frame = pd.read_parquet(path, columns=None if columns is None else list(columns))
        if "item_id" not in frame:
            raise ValueError("has no column item_id")
    except (OSError, ValueError, KeyError, TypeError) as error:  # PyArrow's errors derive from them
        raise damaged_error(path, error) from error
    texts = [name for name in ("item_id", "title", "category") if name in frame]
    return frame.assign(**{name: frame[name].fillna("").astype(object) for name in texts})


def checked_vocabulary(item_ids: np.ndarray, num_rows: int) -> list[str]:
    """Returns raw ids, object (str) [num_items + 1], as a list.

    Raises:
        ValueError: If they cannot be the vocabulary of a table of `num_rows` rows.
    """
    raw_ids = [str(item_id) for item_id in item_ids]
    if len(raw_ids) < 2 or raw_ids[0] != "":
        raise ValueError('`item_ids` must begin with "" (padding) and hold an item or more.')
    if "" in raw_ids[1:]:
        raise ValueError('`item_ids` may have "" only at 0, where it means padding.')
    if len(set(raw_ids)) != len(raw_ids):
        raise ValueError("`item_ids` must be unique.")
    if len(raw_ids) != num_rows:
        raise ValueError(
            f"`item_ids` must have one id a row of the backbone's item embeddings, {num_rows}. "
            f"Received: {len(raw_ids)}."
        )
    return raw_ids
