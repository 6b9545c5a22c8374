"""Tables with one history a row: all items of a user in one cell, as a list."""

import json
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from ufnrec_tf.common.errors import UserError, own_words
from ufnrec_tf.reading.column_names import GUESSES, find_role
from ufnrec_tf.reading.columns import Columns
from ufnrec_tf.reading.data_files import DataFile
from ufnrec_tf.reading.formats import csv_table
from ufnrec_tf.reading.rows import (
    header_line,
    is_no_text,
    looks_like_json,
    objects,
    rows_of,
    split_lines,
)
from ufnrec_tf.reading.text_files import TextFile, load_text

LISTS = "lists"
"""The form, which no log has."""

_MORE_NAMES = {"history", "histories", "sequence", "itemsequence", "itemhistory"}
# As Python, NumPy and JSON write a list: ids in quotes or bare, commas or spaces between.
_CELL = re.compile(r"\s*\[.*\]\s*", re.DOTALL)
_ID = re.compile(r"""'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)"|([^\s,'"\[\]]+)""")


class ListTable(NamedTuple):
    """A table with lists of items.

    Attributes:
        file: The file.
        flag: The flag that named it.
        is_parquet: True for Parquet, False for text.
        user: Name of the column of users.
        item: Name of the column of lists.
    """

    file: DataFile
    flag: str
    is_parquet: bool
    user: str
    item: str

    @property
    def name(self) -> str:
        """The file as the user gave it."""
        return self.file.name

    @property
    def sha256(self) -> str:
        """The hash of the file."""
        return self.file.sha256

    def rows(self) -> Iterator[tuple[str, list[str]]]:
        """Yields user and items, oldest first, of each row.

        Raises:
            UserError: If a row has no user or no list, or a user comes twice.
        """
        seen: set[str] = set()
        for place, user, items in self._parquet_rows() if self.is_parquet else self._text_rows():
            fault = None
            if not user.strip():
                fault = "no user id"
            elif items is None:
                fault = f"the column {self.item!r} holds no list of ids"
            elif user in seen:
                fault = f"user {user[:40]!r} again"
            if fault is not None or items is None:
                raise UserError(
                    f"{self.name}, {place}: {fault}: expected a user in each row, once, and a list "
                    "of item ids, oldest first, as in the first row. Correct the row."
                )
            seen.add(user)
            yield user, items

    def _parquet_rows(self) -> Iterator[tuple[str, str, list[str] | None]]:
        first = 1
        try:
            with pq.ParquetFile(self.file.local) as file:
                for batch in file.iter_batches(4096, columns=[self.user, self.item]):
                    users = batch.column(self.user).cast(pa.string()).to_pylist()
                    lists = batch.column(self.item).cast(pa.list_(pa.string())).to_pylist()
                    for row, (user, items) in enumerate(zip(users, lists, strict=True), first):
                        has_all = items is not None and None not in items
                        yield f"row {row}", user or "", items if has_all else None
                    first += batch.num_rows
        except (OSError, ValueError, pa.ArrowException) as error:
            raise UserError(
                f"{self.name}: its lists cannot be read ({own_words(error)[:200]}): expected a "
                "column of users and one of lists of texts or whole numbers; write it again."
            ) from error

    def _text_rows(self) -> Iterator[tuple[str, str, list[str] | None]]:
        file = load_text(self.file, flag=self.flag)
        if looks_like_json(file.first_line()[1]):
            for line, row in objects(file, file.data.decode().split("\n")):
                user = row.get(self.user)
                yield f"line {line}", user if isinstance(user, str) else "", _texts(row, self.item)
            return
        table = csv_table(file, Columns())
        rows = rows_of(file, split_lines(file.data, table), table)
        header_line(file, rows)
        user, item = table.names.index(self.user), table.names.index(self.item)
        for line, fields in rows:
            is_whole = len(fields) == len(table.names)
            yield (
                f"line {line}",
                fields[user] if is_whole else "",
                ids_of_cell(fields[item]) if is_whole else None,
            )


def _texts(row: dict[str, object], name: str) -> list[str] | None:
    values: Any = row.get(name)
    return values if is_list_of_ids(values) else None


def is_list_of_ids(values: object) -> bool:
    """True for a list of texts that a file of UTF-8 can hold."""
    return isinstance(values, list) and all(
        isinstance(value, str) and not is_no_text(value) for value in values
    )


def ids_of_cell(text: str) -> list[str] | None:
    """Returns the ids of a list in a cell, such as `[101, 102]`; None for a text that is none."""
    if not _CELL.fullmatch(text):
        return None
    try:
        values = json.loads(text, parse_int=str, parse_float=str)
        return values if is_list_of_ids(values) else None
    except (ValueError, RecursionError):
        return ["".join(found).replace("\\", "") for found in _ID.findall(text)]


def find_list_table(
    file: DataFile, head: TextFile | None, columns: Columns, *, own: Columns, flag: str
) -> ListTable | None:
    """Returns the table of lists that a file is by its first row, or None.

    Args:
        file: The file.
        head: The start of a text file; None for Parquet.
        columns: The user's own names of the columns.
        own: The names of the columns of the run's log, tried before the usual ones.
        flag: The flag that named the file.
    """
    if head is None:
        names, lists = _parquet_lists(file)
    elif looks_like_json(head.first_line()[1]):
        _, row = next(objects(head, [head.first_line()[1]]))
        names, lists = list(row), [name for name in row if _texts(row, name)]
    else:
        names, lists = _text_lists(head, columns)
    others = [name for name in names if name not in lists]
    user = find_role(others, "user", columns.user or own.user)
    if user is None and not columns.user:
        user = find_role(others, "user")
    item = _list_of_items(lists, columns.item or own.item)
    if item is None and not columns.item:
        item = _list_of_items(lists, "")
    if user is None or item is None:
        return None
    return ListTable(file, flag, head is None, others[user], item)


def _text_lists(head: TextFile, columns: Columns) -> tuple[list[str], list[str]]:
    """Returns the names of a CSV or TSV, and those of columns with a list in the first row."""
    table = csv_table(head, columns)
    if len(table.names) < 2:
        return [], []
    rows = rows_of(head, split_lines(head.data, table), table)
    try:
        first = list(islice(rows, 2))[1:]
    except UserError:
        return [], []  # its reader says why, or it is no table
    cells = first[0][1] if first else []
    names = table.names
    return names, [name for name, cell in zip(names, cells, strict=False) if ids_of_cell(cell)]


def _parquet_lists(file: DataFile) -> tuple[list[str], list[str]]:
    try:
        schema = pq.read_schema(file.local)
    except (OSError, ValueError, pa.ArrowException):
        return [], []  # its reader says why
    lists = [
        field.name
        for field in schema
        if pa.types.is_list(field.type) or pa.types.is_large_list(field.type)
    ]
    return schema.names, lists


def _list_of_items(lists: Sequence[str], named: str) -> str | None:
    """Returns the column of lists that holds items: the named one, a usual name or its plural."""
    if named:
        return next((name for name in lists if name.lower() == named.lower()), None)
    for name in lists:
        plain = re.sub(r"[\W_]", "", name.lower())
        if plain in _MORE_NAMES or {plain, plain.removesuffix("s")} & set(GUESSES["item"]):
            return name
    return None
