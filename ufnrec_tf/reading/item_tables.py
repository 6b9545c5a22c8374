"""Item tables, which describe the items of a log: titles, categories and prices."""

import json
import os
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, islice
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ufnrec_tf.common.errors import UserError, own_words
from ufnrec_tf.common.text import is_null_word
from ufnrec_tf.data.items import ItemTable
from ufnrec_tf.reading.columns import Columns
from ufnrec_tf.reading.data_files import DataFile
from ufnrec_tf.reading.formats import csv_table, inter_table
from ufnrec_tf.reading.item_columns import (
    ItemColumns,
    find_id_column,
    id_columns,
    item_columns,
    mismatch,
    shown_names,
    title_columns,
)
from ufnrec_tf.reading.parquet_files import is_parquet
from ufnrec_tf.reading.rows import (
    Table,
    header_line,
    looks_like_json,
    objects,
    python_literal,
    rows,
)
from ufnrec_tf.reading.text_files import TextFile, load_text

_FLAG = "--config.data.titles"
_FIRST_ROWS = 1000
"""Rows that are looked at before the columns are chosen; the keys of JSON lines are columns."""
GENRES_100K = (
    *("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime"),
    *("Documentary", "Drama", "Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance"),
    *("Sci-Fi", "Thriller", "War", "Western"),
)
"""The fields of MovieLens's u.item after the fifth, one a genre; source: the README of ml-100k."""
_SEPARATORS = ("\t", ",", ";", "|")
_PRICE = re.compile(r"\s*[^\d\s.,+-]{0,4}\s*(\d{1,3}(?:,\d{3})+|\d+)(\.\d+)?\s*[^\d\s.,-]{0,4}\s*")


def read_item_table(
    path: str | os.PathLike[str] | pd.DataFrame,
    *,
    item_ids: set[str] | None = None,
    item_column: str = "",
    title_column: str = "",
) -> ItemTable | None:
    """Reads an item table: text with or without a header, JSON lines, Parquet, a DataFrame.

    Text is separated by tabs, commas, semicolons or bars, or is RecBole's .item. Where it has no
    header, as MovieLens's movies.dat and u.item, the first column is the id and the second the
    title. Text that is not UTF-8 is read as cp1252 or latin-1, and a note says so. `item_columns`
    chooses the columns.

    Args:
        path: The table, a file or a DataFrame.
        item_ids: The log's raw ids; where given, the table must have one of them, and of others
            nothing is kept.
        item_column: The name of the log's item column, if it has one.
        title_column: The name of the title column, or its number where there is no header; "" is
            guessed, "none" leaves titles unread.

    Returns:
        The table, the first row where an id is there twice; None where `item_ids` is not given and
        the table has no column to read.

    Raises:
        UserError: If the table is not readable, a row is too short or too long, or no row is one
            of `item_ids`.
    """
    table = _open(path, item_ids, item_column, title_column)
    columns = table.columns
    first = list(islice(table.rows, _FIRST_ROWS))
    if columns is None:
        columns = item_columns(table.file, table.names, title_column)
        if item_ids is not None:
            texts = [[_value_text(value) for value in row] for row in first]
            place = find_id_column(table.names, texts, item_ids, item_column)
            columns = columns._replace(item=place)
    if columns.item is None or not (columns.has_facts or title_column):
        if item_ids is None:
            return None
        raise _no_columns_error(table, columns, first, item_ids)
    kept, missed, renamed = _kept_rows(chain(first, table.rows), columns, item_ids)
    if item_ids is not None and not kept:
        raise _no_items_error(table, columns, missed, item_ids)
    made = _item_table(table, columns, kept, missed, item_ids, title_column)
    if not renamed:
        return made
    words = (
        f"{table.file.name}: {len(renamed):,} ids are there again with another title, such as "
        f"{min(renamed)[:40]!r}; the first is kept"
    )
    return made._replace(notes=(*made.notes, words))


_Facts = tuple[Any, Any, Any]
"""Title, category and price of an item, as the table has them; None for what is not read."""


def _kept_rows(
    found: Iterator[Any], columns: ItemColumns, item_ids: set[str] | None
) -> tuple[dict[str, _Facts], list[str], set[str]]:
    """Returns the first row of each item of the log, and two kinds of ids.

    Returns:
        The rows, the first ids that are not the log's, and those that have another title later.
    """
    kept: dict[str, _Facts] = {}
    missed: list[str] = []
    renamed: set[str] = set()
    for row in found:
        item, *values = (None if index is None else row[index] for index in columns)
        key = _value_text(item)
        if item_ids is not None and key not in item_ids:
            key = key.strip()
            if key not in item_ids:
                if key and len(missed) < _FIRST_ROWS:
                    missed.append(key)
                continue
        if _value_text(kept.setdefault(key, (values[0], values[1], values[2]))[0]) != _value_text(
            values[0]
        ):
            renamed.add(key)
    return kept, missed, renamed


def _no_columns_error(
    table: "_Table", columns: ItemColumns, first: list[Any], item_ids: set[str]
) -> UserError:
    """Returns the error for a table without a column of ids, or without any other to read."""
    lacks = "no item and title columns (nor category or price)"
    if columns.item is None and columns.has_facts:
        lacks = "no column of item ids"
    values = [repr(_value_text(value)[:20]) for row in first[:1] for value in list(row)[:6]]
    ids = f"the first row has {', '.join(values)}, the log ids such as {min(item_ids)[:40]!r}: "
    return table.file.error(
        f"{lacks} among {shown_names(table.names)}; {ids * bool(values)}expected a header such as "
        "item_id,title,category,price; name the title column with "
        f"--config.data.title_column=NAME, or {table.mend}",
        line=table.line,
    )


def _no_items_error(
    table: "_Table", columns: ItemColumns, missed: list[str], item_ids: set[str]
) -> UserError:
    """Returns the error for a table none of whose ids is the log's, with one id of each."""
    name = table.names[columns.item or 0]
    if not missed:
        return table.file.error(f"no id in its column {name!r}: {table.mend}")
    theirs, ours, words = mismatch(missed, item_ids)
    return table.file.error(
        f"titles for none of the log's items: expected raw ids such as {ours[:40]!r} in column "
        f"{name!r}, and not {theirs[:40]!r}; {words}{', or ' * bool(words)}{table.mend}"
    )


def _item_table(
    table: "_Table",
    columns: ItemColumns,
    kept: dict[str, _Facts],
    missed: list[str],
    item_ids: set[str] | None,
    title_column: str,
) -> ItemTable:
    """Returns the table of the kept rows, with notes on what was not plain."""
    prices = {item: price_of(row[2]) for item, row in kept.items()}
    titles, categories = (
        {item: _value_text(row[place]) for item, row in kept.items()} for place in (0, 1)
    )
    # `nan` is no title of several items, and `Null` may be that of one.
    again = {word for word, count in Counter(titles.values()).items() if count > 1}
    titles = {
        item: "" if title in again and is_null_word(title) else title
        for item, title in titles.items()
    }
    known = [title for title in titles.values() if title]
    if table.columns is not None and known and all(map(_is_number, known)):
        raise table.file.error(
            f"no header, and column {table.names[columns.title or 0]} holds numbers such as "
            f"{known[0][:20]!r}: expected titles there, or a header such as item_id,title; name "
            f"the column's number with --config.data.title_column=3, or {table.mend}"
        )
    return ItemTable(
        titles=None if columns.title is None else titles,
        categories=None if columns.category is None else categories,
        prices=None
        if columns.price is None
        else {item: price for item, price in prices.items() if np.isfinite(price)},
        title_column="" if columns.title is None else table.names[columns.title],
        notes=(
            *_notes(table, columns, known, is_guessed=not title_column),
            *_mismatch_notes(table, kept, missed, item_ids or set()),
        ),
    )


def _notes(
    table: "_Table", columns: ItemColumns, titles: list[str], *, is_guessed: bool
) -> Iterator[str]:
    """Yields what the screen says beside the number of titles."""
    name, names = table.file.name, table.names
    if table.columns is not None:
        yield f"{name}: no header; ids from column 1"
    elif columns.item is not None and columns.item not in id_columns(names):
        yield f"{name}: ids from column {names[columns.item]!r}"
    if is_guessed and columns.title is None:
        left = [name for place, name in enumerate(names) if place not in columns]
        if left:
            shown = shown_names(left[:5])
            yield f"titles might be in: {shown} (--config.data.title_column=NAME)"
    if is_guessed and columns.title is not None and table.columns is None:
        others = [names[index] for index in title_columns(names) if index != columns.title]
        if others:
            shown = shown_names(others[:5])
            yield f"titles might also be: {shown} (--config.data.title_column=NAME)"
    if table.file.encoding:
        odd = next((title for title in titles if not title.isascii()), "")
        example = f", as in {odd[:40]!r}" if odd else ""
        yield (
            f"{name}: not UTF-8, read as {table.file.encoding}{example}; if that is wrong, convert "
            "it (iconv -f ENCODING -t UTF-8)"
        )


def _mismatch_notes(
    table: "_Table", kept: dict[str, _Facts], missed: list[str], item_ids: set[str]
) -> Iterator[str]:
    """Yields why most of the log's items are not in the table, if their ids show it."""
    if missed and 2 * len(kept) < len(item_ids):
        theirs, ours, words = mismatch(missed, item_ids - kept.keys())
        if words:
            yield f"{table.file.name} has {theirs[:40]!r}, the log {ours[:40]!r}: {words}"


def _is_number(text: str) -> bool:
    return not re.search(r"[^\d.,+-]", text)


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
        names: The names of its columns; of text without a header their numbers from 1.
        rows: Its rows, values in the order of the names.
        columns: The columns of text without a header; None where the names show them.
    """

    file: TextFile
    line: int | None
    names: list[str]
    rows: Iterator[Any]
    columns: ItemColumns | None = None

    @property
    def mend(self) -> str:
        """The way out of an error."""
        if self.file.path == _FRAME:
            return "give another DataFrame of items."
        return f"give the matching file as {_FLAG}."


_FRAME = "the DataFrame of items"


def _open(
    path: str | os.PathLike[str] | pd.DataFrame,
    item_ids: set[str] | None,
    item_column: str,
    title_column: str,
) -> _Table:
    if isinstance(path, pd.DataFrame):
        index = path.index.names
        if any(index) and not set(index) & set(path.columns):
            path = path.reset_index()  # ids may be the index
        names = list(map(str, path.columns))
        return _Table(TextFile(_FRAME, b"", ""), None, names, path.itertuples(index=False))
    given = DataFile(path, flag=_FLAG)
    if is_parquet(given):
        return _parquet(given, item_column, title_column)
    file = load_text(given, flag=_FLAG, is_utf8=False)
    line, header = file.first_line()
    if header.lstrip().startswith("["):
        return _json_array(file)
    is_literal = header.lstrip().startswith("{'")
    if looks_like_json(header) or is_literal:
        texts = file.data.decode().split("\n")
        read = _literals if is_literal else objects
        start = islice(read(file, texts), _FIRST_ROWS)
        names = list(dict.fromkeys(key for _, row in start for key in row))
        found = ([row.get(name) for name in names] for _, row in read(file, texts))
        return _Table(file, None, names, found)
    table = _layout(file, item_ids or set())
    lines = rows(file, table)
    if table.has_header:
        columns = None
        header_line(file, lines)
        chosen = item_columns(file, table.names, title_column)
        # Without a usual name for ids, their column is found by its values: any of them.
        named = id_columns(table.names, item_column) or range(len(table.names))
        width = max(chosen.width, *(1 + index for index in named))
    else:
        columns = _columns_without_header(file, table, title_column)
        width = columns.width
    return _Table(file, line, table.names, _fitting_rows(file, lines, width, table), columns)


def _literals(file: TextFile, texts: list[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields each object, written as Python does ({'asin': ...}), and its line.

    Raises:
        UserError: If a line is no such object.
    """
    for line, text in enumerate(texts, start=1):
        if not text.strip():
            continue
        try:
            row = python_literal(text.strip())
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            row = None
        if not isinstance(row, dict):
            raise file.error(
                "no object such as {'asin': 'i1', 'title': '...'}, as the lines before: mend or "
                "delete the line.",
                line=line,
            )
        yield line, {str(key): value for key, value in row.items()}


def _json_array(file: TextFile) -> _Table:
    """Returns the table of an array of objects, on one line or on several."""
    try:
        found = json.loads(file.data, parse_int=str, parse_float=str, parse_constant=str)
        if not all(isinstance(row, dict) for row in found):
            raise ValueError("an entry is no object")
    except (ValueError, RecursionError) as error:
        raise file.error(
            f"no JSON array of objects ({own_words(error)[:100]}): expected "
            '[{"item_id": "i1", "title": "..."}, ...], or one object a line; mend the file.'
        ) from None
    names = list(dict.fromkeys(key for row in found for key in row))
    return _Table(file, None, names, ([row.get(name) for name in names] for row in found))


def _layout(file: TextFile, item_ids: set[str]) -> Table:
    """Returns the layout of a text by its first line; see `read_item_table`."""
    typed = inter_table(file, Columns())
    if typed is not None:
        return typed
    header = file.first_line()[1]
    found = [csv_table(file, Columns(separator=s)) for s in _SEPARATORS if s in header]
    if "::" in header:
        found.insert(0, Table([name.strip() for name in header.split("::")], "::", is_quoted=False))
    columns = {table.separator: item_columns(file, table.names) for table in found}
    for table in found:
        if columns[table.separator].item is not None and columns[table.separator].has_facts:
            return table
    # The comma last: titles hold it.
    for table in sorted(found, key=lambda table: table.separator == ","):
        is_known = table.separator != "::" or len(table.names) in (2, 3)
        if is_known and _is_row(file, table, item_ids):
            names = [str(number) for number in range(1, len(table.names) + 1)]
            is_quoted = table.separator not in ("::", "|")  # MovieLens's do not quote
            return Table(names, table.separator, is_quoted, has_header=False)
    widest = sorted(found, key=lambda table: (columns[table.separator].has_facts, len(table.names)))
    return widest[-1] if widest else csv_table(file, Columns())


def _is_row(file: TextFile, table: Table, item_ids: set[str]) -> bool:
    """Returns True if the first line of a text is no header: it begins with an item's id.

    A number begins no header: where that item is not in the log, one of the next is.
    """
    first = table.names[0]
    if not first.isdigit() or first in item_ids:
        return first in item_ids
    start = file.data.split(b"\n", _FIRST_ROWS)[:_FIRST_ROWS]
    return any(line.decode().split(table.separator)[0].strip() in item_ids for line in start)


def _columns_without_header(file: TextFile, table: Table, title_column: str) -> ItemColumns:
    """Returns the columns of a text without a header: id, title; of MovieLens also genres.

    Raises:
        UserError: If there is no column `title_column`.
    """
    title: int | None = 1
    if title_column:
        title = item_columns(file, table.names, title_column).title
    return ItemColumns(0, title, _place_of_genres(table), None)


def _fitting_rows(
    file: TextFile, lines: Iterator[tuple[int, list[str]]], width: int, table: Table
) -> Iterator[list[str]]:
    """Yields the fields of each row, none shifted and none missing of those that are read."""
    num_names = len(table.names)
    for line, row in lines:
        if not table.has_header:
            row = _movie_row(row, table)
        is_wider = len(row) > num_names and any(map(str.strip, row[num_names:]))
        if len(row) < width or is_wider:
            remedy = " put a field that holds a separator in double quotes, or" * table.is_quoted
            raise file.error(
                f"{len(row)} field(s) where the {'header' if table.has_header else 'first line'} "
                f"has {num_names}:{remedy} mend or delete the line.",
                line=line,
            )
        yield row


def _movie_row(row: list[str], table: Table) -> list[str]:
    """Returns a row of movies.dat with the colons of its title, of u.item with its genres.

    The genres of u.item take the place of the first of its flags.
    """
    place = _place_of_genres(table)
    if place == 2 and len(row) > 3:
        return [row[0], "::".join(row[1:-1]), row[-1]]
    if place == 5:
        flags = zip(GENRES_100K, row[5:], strict=False)
        row = [*row[:5], "|".join(genre for genre, flag in flags if flag == "1"), *row[6:]]
    return row


def _place_of_genres(table: Table) -> int | None:
    """Returns the column of genres of a text without a header; None if it is not MovieLens's."""
    layout = (table.separator, len(table.names))
    return {("::", 3): 2, ("|", 5 + len(GENRES_100K)): 5}.get(layout)


def _parquet(given: DataFile, item_column: str, title_column: str) -> _Table:
    file = TextFile(given.name, b"", "")
    with _parquet_errors(given.name):
        opened = pq.ParquetFile(given.local)
    every = opened.schema_arrow.names
    named = id_columns(every, item_column)
    chosen = item_columns(file, every, title_column)
    # Without a usual name for ids their column is found by its values.
    others = [index for index in chosen[1:] if index is not None]
    wanted = dict.fromkeys([*named, *others]) if named else range(len(every))
    names = [every[index] for index in wanted]
    return _Table(file, None, names, _parquet_rows(given.name, opened, names))


def _parquet_rows(name: str, opened: pq.ParquetFile, names: list[str]) -> Iterator[tuple[Any, ...]]:
    with _parquet_errors(name), opened:
        for batch in opened.iter_batches(columns=names, use_threads=False):
            batch.validate(full=True)  # that texts are UTF-8, which reading does not check
            columns = [batch.column(column).to_pylist() for column in names]
            yield from zip(*columns, strict=True)


@contextmanager
def _parquet_errors(name: str) -> Iterator[None]:
    """Reports what Arrow raises as an error of the file."""
    try:
        yield
    # Python's dates end with 9999; pytz says of an unknown zone that it is no key.
    except (OSError, OverflowError, KeyError, pa.ArrowException) as error:
        raise UserError(
            f"{name}: cannot be read as Parquet ({own_words(error)[:200]}): expected an "
            f"item table; give another file as {_FLAG}."
        ) from None


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
