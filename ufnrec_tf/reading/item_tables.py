"""Item tables, which describe the items of a log: titles, categories and prices."""

import os
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ufnrec_tf.common.errors import UserError, own_words
from ufnrec_tf.data.items import ItemTable
from ufnrec_tf.reading.column_names import find_role
from ufnrec_tf.reading.columns import Columns
from ufnrec_tf.reading.formats import csv_table, inter_table
from ufnrec_tf.reading.parquet import is_parquet
from ufnrec_tf.reading.rows import header_line, looks_like_json, objects, rows
from ufnrec_tf.reading.text_files import TextFile, load_text

_FLAG = "--config.data.titles"
_FIRST_OBJECTS = 1000  # of JSON lines; their keys are the columns
# Compared as `columns.GUESSES` are. A column "id" holds items only in a table of items.
_CATEGORIES = ("category", "categories", "maincategory", "maincat", "genre", "genres", "class")
_PRICES = ("price", "listprice", "itemprice", "unitprice")
_PRICE = re.compile(r"\s*[^\d\s.,+-]{0,4}\s*(\d{1,3}(?:,\d{3})+|\d+)(\.\d+)?\s*[^\d\s.,-]{0,4}\s*")


class _Names(NamedTuple):
    """Indices of the columns; None for a column that the table lacks."""

    item: int | None
    title: int | None
    category: int | None
    price: int | None

    @property
    def is_table(self) -> bool:
        """True if there is something to read."""
        return self.item is not None and any(index is not None for index in self[1:])


def read_item_table(
    path: str | os.PathLike[str] | pd.DataFrame, *, item_ids: set[str] | None = None
) -> ItemTable | None:
    """Reads an item table: RecBole's .item, CSV or TSV with a header, JSON lines, Parquet.

    The item column is guessed as a log's is, or is called id; the title's name contains "title" or
    is "name". Category (category, genres, class, ...) and price have their usual names.

    Args:
        path: The table, a file or a DataFrame.
        item_ids: The log's raw ids; where given, the table must have one of them, and of others
            nothing is kept.

    Returns:
        The table, the first row where an id is there twice; None where `item_ids` is not given and
        the table has no column to read.

    Raises:
        UserError: If the table is not readable, a row is too short, or no row is one of `item_ids`.
    """
    file = _named(path)
    table = _open(path, file)
    names = _names(table.names)
    if not names.is_table:
        if item_ids is None:
            return None
        raise table.file.error(
            "no item and title columns (nor category or price): expected a header such as "
            f"item_id,title,category,price; mend it or give another file as {_FLAG}.",
            line=table.line,
        )
    kept: dict[str, tuple[Any, Any, Any]] = {}
    for row in table.rows:
        item, *values = (None if index is None else row[index] for index in names)
        key = _value_text(item)
        if item_ids is not None and key not in item_ids:
            key = key.strip()  # as the ids of a log are
        if item_ids is None or key in item_ids:
            kept.setdefault(key, (values[0], values[1], values[2]))
    if item_ids is not None and not kept:
        raise table.file.error(
            f"titles for none of the log's items: expected raw ids such as {min(item_ids)[:40]!r} "
            f"in column {table.names[names.item or 0]!r}; give the matching file as {_FLAG}."
        )
    return _of_rows(kept, names)


def _of_rows(kept: dict[str, tuple[Any, Any, Any]], names: _Names) -> ItemTable:
    prices = {item: price_of(row[2]) for item, row in kept.items()}
    titles, categories = (
        {item: _value_text(row[place]) for item, row in kept.items()} for place in (0, 1)
    )
    return ItemTable(
        titles=None if names.title is None else titles,
        categories=None if names.category is None else categories,
        prices=None
        if names.price is None
        else {item: price for item, price in prices.items() if np.isfinite(price)},
    )


def _names(names: list[str]) -> _Names:
    title = next((i for i, name in enumerate(names) if "title" in name.lower()), None)
    plain = [re.sub(r"[\W_]", "", name.lower()) for name in names]

    def first(*guesses: str) -> int | None:
        return next((plain.index(guess) for guess in guesses if guess in plain), None)

    item = find_role(names, "item")
    return _Names(
        item=first("id") if item is None else item,
        title=find_role(names, "item", "name") if title is None else title,
        category=first(*_CATEGORIES),
        price=first(*_PRICES),
    )


def price_of(value: Any) -> float:
    """Returns the price that a value names, NaN where it names none for certain.

    A number, or a text with a currency before or after: "$1,299.00". Ranges, and a comma that may
    be a decimal one ("12,99"), are no price.
    """
    if isinstance(value, bool) or value is None:
        return np.nan
    if isinstance(value, int | float | np.number):
        return float(value)
    found = _PRICE.fullmatch(_value_text(value))
    return float(found[1].replace(",", "") + (found[2] or "")) if found else np.nan


class _Table(NamedTuple):
    """A table that is open.

    Attributes:
        file: Named in errors.
        line: Of its header; None where it has none.
        names: The names of its columns.
        rows: Its rows, values in the order of the names.
    """

    file: TextFile
    line: int | None
    names: list[str]
    rows: Iterator[Any]


def _named(path: str | os.PathLike[str] | pd.DataFrame) -> TextFile:
    name = "the DataFrame of items" if isinstance(path, pd.DataFrame) else os.fspath(path)
    return TextFile(name, b"", "")


def _open(path: str | os.PathLike[str] | pd.DataFrame, file: TextFile) -> _Table:
    if isinstance(path, pd.DataFrame):
        return _Table(file, None, list(map(str, path.columns)), path.itertuples(index=False))
    if is_parquet(path):
        return _parquet(path, file)
    file = load_text(path, flag=_FLAG)
    line, header = file.first_line()
    if looks_like_json(header):
        texts = file.data.decode().split("\n")
        start = islice(objects(file, texts), _FIRST_OBJECTS)
        names = list(dict.fromkeys(key for _, row in start for key in row))
        found = ([row.get(name) for name in names] for _, row in objects(file, texts))
        return _Table(file, None, names, found)
    table = inter_table(file, Columns()) or csv_table(file, Columns())
    lines = rows(file, table)
    header_line(file, lines)
    width = 1 + max((index for index in _names(table.names) if index is not None), default=0)
    return _Table(file, line, table.names, _wide_rows(file, lines, width, len(table.names)))


def _wide_rows(
    file: TextFile, lines: Iterator[tuple[int, list[str]]], width: int, num_names: int
) -> Iterator[list[str]]:
    """Yields the fields of each row, all of which must have the columns that are read."""
    for line, row in lines:
        if len(row) < width:
            raise file.error(
                f"{len(row)} field(s) where the header has {num_names}: mend or delete the line.",
                line=line,
            )
        yield row


def _parquet(path: str | os.PathLike[str], file: TextFile) -> _Table:
    try:
        with pq.ParquetFile(path) as opened:
            every = opened.schema_arrow.names
            chosen = [every[index] for index in _names(every) if index is not None]
            table = opened.read(columns=list(dict.fromkeys(chosen)), use_threads=False)
        table.validate(full=True)  # that texts are UTF-8, which reading does not check
        columns = [column.to_pylist() for column in table.columns]
    # Python's dates end with 9999; pytz says of an unknown zone that it is no key.
    except (OSError, OverflowError, KeyError, pa.ArrowException) as error:
        raise UserError(
            f"{Path(path)}: cannot be read as Parquet ({own_words(error)[:200]}): expected an "
            f"item table; give another file as {_FLAG}."
        ) from None
    return _Table(file, None, table.column_names, zip(*columns, strict=True))


def _value_text(value: Any) -> str:
    """Returns a value's text: "" for what is missing, | between the distinct ones of a list."""
    if isinstance(value, str):
        return value
    if isinstance(value, list | tuple | np.ndarray):
        return "|".join(dict.fromkeys(filter(None, _leaves(value))))
    return "" if value is None or value != value or value is pd.NaT else str(value)


def _leaves(values: Any) -> Iterator[str]:
    """Yields the texts of lists within lists."""
    for value in values:
        if isinstance(value, list | tuple | np.ndarray):
            yield from _leaves(value)
        else:
            yield _value_text(value)
