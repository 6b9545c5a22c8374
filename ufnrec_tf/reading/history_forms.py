"""The form of a file of histories: a log, or one history a line, told by what a run knows."""

import json
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from ufnrec_tf.common.errors import UserError
from ufnrec_tf.reading.column_names import GUESSES, REQUIRED, find_role
from ufnrec_tf.reading.columns import EXPECTED_HEADER, IGNORED, Columns
from ufnrec_tf.reading.data_files import DataFile
from ufnrec_tf.reading.filters import Filters
from ufnrec_tf.reading.formats import csv_table, inter_table, json_table, table_format
from ufnrec_tf.reading.list_cells import LISTS, ListTable, find_list_table, is_list_of_ids
from ufnrec_tf.reading.parquet_files import is_parquet
from ufnrec_tf.reading.readers import PARQUET, LogSettings
from ufnrec_tf.reading.rows import Table, looks_like_json, rows_of, split_lines
from ufnrec_tf.reading.text_files import TextBlocks, TextFile

FLAG = "--histories"
HISTORIES = "histories"
"""The value of `data.format` for one history a line, which no log has."""
LINES, ROWS = "lines", "rows"
"""Forms that no log has: one history a line, and `user,item` rows without a header."""

SPACES, JSON_LIST = "", "[]"
"""What separates the items of a line, where it is no character: white space, or a JSON list."""
_SEPARATORS: tuple[str, ...] = (SPACES, ",", ";", "|")
_LOOKED_AT = 1000  # lines by which the form of a file without a header is decided
_FORMAT = "--config.data.format="
# As in the readers of logs, other Unicode spaces (no-break, ideographic) are part of an id, which
# str.split would cut there.
_FIELDS = re.compile(r"[^ \t\n\r\x0b\x0c]+")


class RunVocabulary:
    """The raw ids that a run knows, fetched when they are first asked for.

    Args:
        items: Returns the ids of its items.
        users: Returns those of some ids that are users; all users may be too many to hold.
    """

    def __init__(
        self, items: Callable[[], Iterable[str]], users: Callable[[set[str]], set[str]]
    ) -> None:
        self._items = items
        self.users = users

    @cached_property
    def items(self) -> frozenset[str]:
        """The ids of the items."""
        return frozenset(self._items())

    def item(self, raw: str) -> str:
        """Returns an id as the run has it: `101.0` is 101 if only that is an item."""
        is_whole = raw.endswith(".0") and raw not in self.items and raw[:-2] in self.items
        return raw[:-2] if is_whole else raw


class OwnReading(NamedTuple):
    """How a run read its log, as far as it holds for other files too.

    Attributes:
        columns: The names of its columns, and its separator.
        min_rating: Lowest rating that it kept; 0: all.
        events: The event types that it kept, separated by commas; "": all.
        duplicates: keep, or drop, of events that say again what another says.
        repeats: keep, or drop, of items that a user took before.
    """

    columns: Columns = Columns()
    min_rating: float = 0.0
    events: str = ""
    duplicates: str = "keep"
    repeats: str = "keep"


NO_RUN = OwnReading()


class HistoryForm(NamedTuple):
    """How a file of histories is read.

    Attributes:
        format: A form of log, "auto" for one without a header, `ROWS` or `LINES`.
        settings: The settings of a log, with the run's own columns that the file has.
        separator: Of the fields of `ROWS` and `LINES`.
        is_guess: True if only the first line speaks for it.
        note: What the run did with its log and is not done with the file, or "".
        lists: The table of `LISTS`; else None.
    """

    format: str
    settings: LogSettings
    separator: str = SPACES
    is_guess: bool = False
    note: str = ""
    lists: ListTable | None = None

    @property
    def words(self) -> str:
        """The form, for the screen; "" for a log, which has a description of its own."""
        between = {SPACES: "", JSON_LIST: ", each a JSON list"}.get(
            self.separator, f", items separated by {self.separator!r}"
        )
        lines = f"read as one history a line, oldest first{between}"
        if self.lists is not None:
            return (
                "read as one history a row, oldest first; "
                f"columns: user={self.lists.user}, items={self.lists.item}"
            )
        rows = f"read as rows of user{self.separator}item without a header, in the file's order"
        return {LINES: lines, ROWS: rows}.get(self.format, "")


def history_form(
    file: DataFile, settings: LogSettings, *, own: OwnReading, known: RunVocabulary | None
) -> HistoryForm:
    """Returns how a file is read, by its first lines and by what the run knows.

    Args:
        file: The file.
        settings: How a log is read.
        own: How the run read its log, for the columns that the file has.
        known: The ids of the run; None: a file without a header is `user,item` rows if its first
            line is such a row, else one history a line.

    Raises:
        UserError: If the file cannot be read, is empty or no text, or its form cannot be told.
    """
    if settings.format == PARQUET or (settings.format == "auto" and is_parquet(file)):
        lists = find_list_table(file, None, settings.columns, own=own.columns, flag=FLAG)
        if lists is not None:
            return _list_form(settings, lists)
        return _table_form(PARQUET, settings, _parquet_names(file.local), own)
    blocks = TextBlocks(file, flag=FLAG)
    head = TextFile(blocks.name, next(iter(blocks)).data, "")
    if settings.format == HISTORIES:
        separator = SPACES if known is None else _sample(head, known).separator
        return HistoryForm(LINES, settings, separator)
    lists = None
    if settings.format in ("auto", "csv", "jsonl"):
        lists = find_list_table(file, head, settings.columns, own=own.columns, flag=FLAG)
    if lists is not None:
        return _list_form(settings, lists)
    columns = _with_separator(head, settings.columns, own.columns)
    names = _names(head, columns)
    form = _table_form(settings.format, settings._replace(columns=columns), names, own)
    if settings.format != "auto":
        return form
    settings = form.settings
    format = table_format(head, settings.columns)
    if format == "csv" and not settings.columns.is_named:
        table = csv_table(head, settings.columns)
        if table.separator == "\t" and not _has_both(table.names, Columns()):
            format = ""  # of items, one of which is called as a column may be
    if format:
        return form._replace(format=format)
    sample = None if known is None else _sample(head, known)
    if sample is None or not sample.is_known:
        is_rows = _begins_with_row(head)
        format, separator = (ROWS, ",") if is_rows else (LINES, SPACES)
        return HistoryForm(format, settings, separator, is_guess=True)
    return HistoryForm(_bare_format(head, sample), settings, sample.separator)


def fields_of(line: str, separator: str) -> list[str]:
    """Returns the fields of a line.

    Raises:
        ValueError: If it should be a JSON list of ids and is not.
    """
    if separator == SPACES:
        return _FIELDS.findall(line)
    if separator != JSON_LIST:
        return [field for part in line.split(separator) if (field := part.strip())]
    values = json.loads(line, parse_int=str, parse_float=str) if line.strip() else []
    if not is_list_of_ids(values):
        raise ValueError("no list of ids")
    return values


def _list_form(settings: LogSettings, lists: ListTable) -> HistoryForm:
    """Returns the form of a table of lists.

    Raises:
        UserError: If there are filters, which are of events.
    """
    for key, value in settings.filters._asdict().items():
        if value != getattr(Filters(), key):
            raise UserError(
                f"{lists.name}: --config.data.{key}={value} has no effect on lists of items in the "
                f"column {lists.item!r}. Leave it out, or give one event a row."
            )
    return HistoryForm(LISTS, settings, lists=lists)


def _of_run(given: Columns, names: list[str], own: Columns) -> Columns:
    """Returns the columns that the user named, else those of the run that a file has."""
    found: dict[str, Any] = {}
    for role in GUESSES:
        name = getattr(own, role, "")
        is_there = name == IGNORED or (name and find_role(names, role, name) is not None)
        if is_there and not getattr(given, role):
            found[role] = name
    return replace(given, **found)


def _table_form(
    format: str, settings: LogSettings, names: list[str], own: OwnReading
) -> HistoryForm:
    """Returns the form of a table, read as the run read its log where it has the columns."""
    columns, filters = _of_run(settings.columns, names, own.columns), settings.filters
    notes = []
    wanted: list[tuple[str, str, Any]] = [
        ("rating", "min_rating", own.min_rating),
        ("event", "events", own.events),
    ]
    for role, key, value in wanted:
        if not value or getattr(filters, key):
            continue
        if find_role(names, role, getattr(columns, role)) is not None:
            filters = filters._replace(**{key: value})
        else:
            notes.append(f"data.{key}={value} of the run is not applied: no {role} column")
    if own.duplicates == "drop":
        filters = filters._replace(duplicates="drop")
    if own.repeats == "drop":
        notes.append("data.repeats=drop of the run is not applied")
    settings = settings._replace(columns=columns, filters=filters)
    return HistoryForm(format, settings, note="; ".join(notes))


def _with_separator(head: TextFile, given: Columns, own: Columns) -> Columns:
    """Returns the user's columns, with the separator of the run if it parts the header."""
    if given.separator or not own.separator or looks_like_json(head.first_line()[1]):
        return given
    parted = replace(given, separator=own.separator)
    names = _names(head, parted)
    return parted if _has_both(names, _of_run(parted, names, own)) else given


def _names(head: TextFile, columns: Columns) -> list[str]:
    """Returns the names that a table has if the first line is its header, or its keys."""
    if looks_like_json(head.first_line()[1]):
        return json_table(head, columns).names
    return (inter_table(head, columns) or csv_table(head, columns)).names


def _has_both(names: list[str], columns: Columns) -> bool:
    return all(find_role(names, role, getattr(columns, role)) is not None for role in REQUIRED)


def _parquet_names(path: Path) -> list[str]:
    try:
        return pq.read_schema(os.fspath(path)).names
    except (OSError, ValueError, pa.ArrowException):
        return []  # its reader says why


def _begins_with_row(head: TextFile) -> bool:
    """Returns True if the first line that is not blank is `user,item`."""
    table = Table(list(REQUIRED), ",", is_quoted=True, has_header=False)
    try:
        _, row = next(rows_of(head, split_lines(head.data, table), table), (1, [""]))
    except UserError:
        return False
    return len(row) == 2 and all(map(str.strip, row))


class _Sample(NamedTuple):
    """The first rows of a file without a header, by what the run knows of them.

    Attributes:
        separator: Of the fields; the one by which most fields are items.
        rows: The fields of the rows that have two or more.
        first: Share of these rows whose first field is an item.
        second: Share whose second field is one.
        users: Share whose first field is a user.
        second_users: Share whose second field is a user.
        is_header: True if the second field of the first row is no item, and of most others is.
        is_known: True if any field of any row is an item.
    """

    separator: str
    rows: list[list[str]]
    first: float
    second: float
    users: float
    second_users: float
    is_header: bool
    is_known: bool

    @property
    def is_two(self) -> bool:
        """True if there are such rows, all of two fields."""
        return bool(self.rows) and max(map(len, self.rows)) == 2


def _sample(head: TextFile, known: RunVocabulary) -> _Sample:
    lines = list(filter(_FIELDS.search, head.data.decode().split("\n")))[:_LOOKED_AT]
    separators = _SEPARATORS
    if _is_json_list(lines[0]):
        lines, separators = list(filter(_is_json_list, lines)), (JSON_LIST,)
    rows: list[list[str]] = []
    separator, most = SPACES, -1.0
    for tried in separators:
        parted = [fields_of(line, tried) for line in lines]
        share = _share(known.item(field) in known.items for row in parted for field in row)
        if share > most:
            rows, separator, most = parted, tried, share
    several = [row for row in rows if len(row) > 1]
    users = known.users({field for row in several for field in row[:2]})
    seconds = [known.item(row[1]) in known.items for row in several]
    return _Sample(
        separator,
        several,
        _share(known.item(row[0]) in known.items for row in several),
        _share(seconds),
        _share(row[0] in users for row in several),
        _share(row[1] in users for row in several),
        not any(seconds[:1]) and sum(seconds[1:]) >= 0.8 * len(seconds[1:]),
        most > 0,
    )


def _is_json_list(line: str) -> bool:
    try:
        fields_of(line, JSON_LIST)
        return True
    except (ValueError, RecursionError):
        return False


def _share(are_so: Iterable[bool]) -> float:
    values = list(are_so)
    return sum(values) / len(values) if values else 0.0


def _bare_format(head: TextFile, sample: _Sample) -> str:
    """Returns `LINES`, `ROWS`, or "auto" for a log as --data takes it.

    Raises:
        UserError: If a header names no column, items stand before users, or both fields of all
            lines may be items.
    """
    if not sample.rows or sample.separator == JSON_LIST:
        return LINES
    is_user = sample.users >= 0.5
    is_item = sample.first > 0 and sample.second <= 2 * sample.first
    if is_item and sample.second < 0.1 and sample.second_users >= 0.5:
        raise head.error(
            f"{' '.join(sample.rows[0])[:60]!r}: the first field is an item and the second a user "
            "of the run: put a header such as item_id,user_id on top, with commas or tabs in all "
            "lines.",
            line=head.first_line()[0],
        )
    if is_item and not (is_user and sample.is_two):
        return LINES
    if is_item and sample.separator == SPACES:
        raise head.error(
            f"{' '.join(sample.rows[0])[:60]!r}: the first field is both a user and an item of the "
            f"run: say what the lines are with {_FORMAT}pairs (`user item`) or {_FORMAT}"
            f"{HISTORIES} (items only, oldest first).",
            line=head.first_line()[0],
        )
    if not is_item and not is_user and 10 * sample.first > sample.second:
        return LINES
    header = sample.rows[0]
    has_digit = any(character.isdecimal() for name in header for character in name)
    if sample.is_header and len(sample.rows) > 1 and not has_digit:
        raise head.error(
            f"{' '.join(header)[:60]!r} looks like a header, and names no user and item column: "
            f"{EXPECTED_HEADER}.",
            line=head.first_line()[0],
        )
    return ROWS if sample.is_two and sample.separator != SPACES else "auto"
