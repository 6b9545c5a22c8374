"""The roles of a log's columns, and the checked values of rows of text."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from ufnrec_tf.common.errors import UserError
from ufnrec_tf.common.lookup import nearest
from ufnrec_tf.common.text import is_null_word
from ufnrec_tf.data.events import EventBatch, batch_of
from ufnrec_tf.data.log_description import BY_FLAG, BY_NAME, Note
from ufnrec_tf.data.times import TimeTexts, as_numbers
from ufnrec_tf.reading.column_kinds import separator_in_cells
from ufnrec_tf.reading.column_names import GUESSES, REQUIRED, SPELLINGS, as_name, find_role
from ufnrec_tf.reading.column_notes import unread_notes
from ufnrec_tf.reading.id_checks import spoilt_id
from ufnrec_tf.reading.rows import Header, Row, Table
from ufnrec_tf.reading.text_files import TextFile
from ufnrec_tf.reading.time_column import find_time

IGNORED = "none"
_TYPE = re.compile(r":(token|float)(_seq)?$")
_DECIMAL_COMMA = re.compile(r"^(\s*[+-]?\d+),(\d+\s*)$")
EXPECTED_HEADER = (
    "expected a header line such as user_id,item_id,timestamp (commas or tabs); name other columns "
    "with --config.data.user_column=NAME --config.data.item_column=NAME, or say what the file is "
    "with --config.data.format=pairs|sequences|inter|csv|jsonl"
)


@dataclass(frozen=True)
class Columns:
    """What the user says of the columns; "" is guessed, "none" leaves time or rating unread.

    Attributes:
        user: Column of the raw user ids.
        item: Column of the raw item ids.
        time: Column of the times, numbers or dates.
        rating: Column of the ratings, numbers; read only for a filter.
        separator: One character, or "tab"; "" detects it by the header.
        event: Column of the event types; read only for a filter.
        time_format: The form of the dates, as of strptime; "" detects it.
        strip: True to remove spaces around ids.

    Raises:
        UserError: If the separator is no character, or the format none of dates.
    """

    user: str = ""
    item: str = ""
    time: str = ""
    rating: str = ""
    separator: str = ""
    event: str = ""
    time_format: str = ""
    strip: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "separator", _separator_of(self.separator))
        _check_format(self.time_format)

    @property
    def is_named(self) -> bool:
        """True if the user named a column to read, or the separator."""
        names = {self.user, self.item, self.time, self.rating, self.event, self.separator}
        return bool(names - {"", IGNORED})


def _separator_of(text: str) -> str:
    """Returns the character that `data.separator` names.

    Raises:
        UserError: If it names none.
    """
    character = {"tab": "\t", "\\t": "\t", "space": " "}.get(text, text)
    if len(character) > 1 or character in ('"', "\n", "\r"):
        raise UserError(
            "`data.separator` must be one character other than a quote, or tab. "
            f"Received: {text!r}."
        )
    return character


def _check_format(format: str) -> None:
    """Refuses a `data.time_format` that is no form of dates."""
    try:
        if format:
            pd.to_datetime(pd.Series(["x"]), format=format, errors="coerce")
    except ValueError as error:
        raise UserError(
            f"`data.time_format` must be a form of dates as strptime has it, such as '%d.%m.%Y "
            f"%H:%M'. Received: {format!r} ({error})."
        ) from None
    if format and "%" not in format:
        raise UserError(
            "`data.time_format` must be a form of dates as strptime has it, such as '%d.%m.%Y "
            f"%H:%M'. Received: {format!r}, which has no %."
        )


class Chosen(NamedTuple):
    """The columns of a log that are read.

    Attributes:
        places: Role -> index of the column; user and item are always there.
        found_by: Role -> what the column was recognised by; see `log_description`.
        notes: What is not read and looks as if it should be.
    """

    places: dict[str, int]
    found_by: dict[str, str]
    notes: tuple[Note, ...] = ()

    def names_of(self, names: Sequence[str]) -> dict[str, str]:
        """Returns role -> name of the column."""
        return {role: names[place] for role, place in self.places.items()}


def choose_columns(
    file: TextFile,
    header: Header,
    columns: Columns,
    *,
    first_rows: Sequence[pd.Series] = (),
    with_ratings: bool = False,
    with_events: bool = False,
) -> Chosen:
    """Returns the columns to read.

    Args:
        file: Named in errors.
        header: Its line, and the names of all columns.
        columns: What the user says of them.
        first_rows: The first values of each column: texts of a text file, or of any type.
        with_ratings: True if the ratings are needed.
        with_events: True if the event types are needed.

    Raises:
        UserError: If a needed or a named column is missing or ambiguous.
    """
    line, names = header
    needed = {*REQUIRED, *["event"] * with_events}
    places: dict[str, int] = {}
    found_by: dict[str, str] = {}
    notes: list[Note] = []
    for role in GUESSES:
        flag = getattr(columns, role)
        if flag == IGNORED and role not in needed:
            continue
        index = find_role(names, role, flag)
        if flag and index is None:
            raise file.error(
                f"no column {flag!r} (--config.data.{role}_column) in the header: expected one of "
                f"{_shown(names)}." + nearest(flag, names),
                line=line,
            )
        if role in REQUIRED and index is None:
            raise file.error(
                f"no {role} column among {_shown(names)}: {EXPECTED_HEADER}.", line=line
            )
        if role == "time" and not flag:
            time = find_time(file, header, first_rows, index, places, columns.time_format)
            index, found_by[role] = time.place, time.found_by
            notes += time.notes
        if index is not None:
            places[role] = index
            found_by[role] = BY_FLAG if flag else found_by.get(role, BY_NAME)
        elif role in needed:
            raise file.error(
                f"no column of event types among {_shown(names)}, which --config.data.events "
                "needs: name it with --config.data.event_column=NAME, or leave the filter out.",
                line=line,
            )
    _check_twice(file, header, places)
    if first_rows:
        notes += _several_in_cells(
            file, header, first_rows[places["item"]], places["item"], columns
        )
    for role, is_read in (("rating", with_ratings), ("event", with_events)):
        if not is_read:
            places.pop(role, None)
    found_by = {role: found_by[role] for role in places}
    flags = {role: getattr(columns, role) for role in GUESSES}
    notes += unread_notes(names, first_rows, places, flags)
    return Chosen(places, found_by, tuple(notes))


def _several_in_cells(
    file: TextFile, header: Header, values: pd.Series, place: int, columns: Columns
) -> list[Note]:
    """Refuses an item column most of whose cells hold several; returns a note if it was named.

    Args:
        file: Named in errors.
        header: Its line, and the names of all columns.
        values: The first values of the column.
        place: Index of the column.
        columns: A column that the user names is taken at their word.
    """
    line, names = header
    separator = separator_in_cells(values)
    if not separator:
        return []
    cell = next(value for value in values if isinstance(value, str) and separator in value.strip())
    name = names[place]
    words = f"the item column {name!r} holds several items in a cell, as {cell[:40]!r}"
    remedy = (
        "make a row of each (pandas: "
        f"frame.assign({name}=frame[{name!r}].str.split({separator!r})).explode({name!r}))"
    )
    if columns.item:
        return [Note("several_items", f"{words}, and each cell is taken for one item", remedy)]
    raise file.error(
        f"{words}: expected one event a row; {remedy}; if each is one id, name the column with "
        f"--config.data.item_column={name}.",
        line=line,
    )


def _shown(names: Sequence[str]) -> str:
    return ", ".join(repr(name[:40]) for name in names[:20])


def _check_twice(file: TextFile, header: Header, places: dict[str, int]) -> None:
    """Refuses a column that is there twice, or plays two roles."""
    line, names = header
    for role, index in places.items():
        if names.count(names[index]) > 1 or list(places.values()).count(index) > 1:
            raise file.error(
                f"the {role} column {names[index]!r} is there twice, or chosen twice: expected one "
                f"column each; rename it, or name another with --config.data.{role}_column=NAME.",
                line=line,
            )


class ReadOptions(NamedTuple):
    """What the filters need of a log.

    Attributes:
        with_ratings: Ratings.
        with_events: Event types.
        without_ids: Rows without an id, which are else an error.
        without_times: Rows without a time, likewise.
    """

    with_ratings: bool = False
    with_events: bool = False
    without_ids: bool = False
    without_times: bool = False


READ_ALL = ReadOptions()
"""No filter: no ratings and event types, and a row that lacks a value is an error."""


def events_of_rows(
    file: TextFile,
    rows: list[Row],
    table: Table,
    chosen: dict[str, int],
    *,
    times: TimeTexts,
    options: ReadOptions = READ_ALL,
) -> EventBatch:
    """Returns the events of some rows of text, checked.

    Dates are seconds since 1970; times that are numbers stay as they are.

    Args:
        file: Named in errors.
        rows: The rows, without a header.
        table: The layout of the rows.
        chosen: Role -> index of the column; see `choose_columns`.
        times: Reads the time column; the first rows decide what it holds.
        options: What is needed of the rows.

    Raises:
        UserError: If a row is not as expected, with its line.
    """
    users, items = (_ids(file, rows, chosen[role], role, options) for role in REQUIRED)
    seconds = ratings = types = None
    if "time" in chosen:
        seconds = _times(file, rows, table, chosen["time"], times, options)
    if "rating" in chosen:
        ratings = _ratings(file, rows, table, chosen["rating"])
    if "event" in chosen:
        types = np.array([row[chosen["event"]].strip() for _, row in rows], dtype=object)
    return batch_of(users, items, seconds, ratings, types)


def without_headers(
    file: TextFile, rows: list[Row], table: Table, chosen: dict[str, int]
) -> list[Row]:
    """Returns the rows without those that say the header again, as joined files have them.

    Raises:
        UserError: If a row has another width than the header, or has its names in another order.
    """
    _check_widths(file, rows, table)
    names, own = header_fields(table), [as_name(table.names[chosen[role]]) for role in REQUIRED]
    if not names:
        return rows
    kept = []
    user, item = (chosen[role] for role in REQUIRED)
    for line, row in rows:
        if as_name(row[user]) not in names or as_name(row[item]) not in names:
            kept.append((line, row))
            continue
        fields = {place: _TYPE.sub("", as_name(field)) for place, field in enumerate(row)}
        ids = [fields[place] for place in (user, item)]
        is_usual = all(id in SPELLINGS[role] for id, role in zip(ids, REQUIRED, strict=True))
        if ids != own and set(fields.values()) == set(map(as_name, table.names)):
            raise file.error(
                f"a header again, whose columns are in another order than in the first line "
                f"({', '.join(row)[:80]}): expected the same order; read the files one by one, or "
                "bring their columns into one order.",
                line=line,
            )
        elif ids != own and not is_usual:
            kept.append((line, row))
    return kept


def header_fields(table: Table) -> frozenset[str]:
    """Returns the fields that a header has which is there again, as `as_name` returns them.

    None where there is no header.
    """
    if not table.has_header:
        return frozenset()
    types = () if table.is_quoted else ("token", "token_seq", "float", "float_seq")
    names = [as_name(name) for name in table.names]
    typed = (f"{name}:{kind}" for name in names for kind in types)
    return frozenset({*names, *typed, *SPELLINGS["user"], *SPELLINGS["item"]})


def _check_widths(file: TextFile, rows: list[Row], table: Table) -> None:
    width, first = len(table.names), "header" if table.has_header else "first line"
    for line, row in rows:
        if len(row) != width:
            remedies = ["put a field that holds a separator in double quotes"] * table.is_quoted
            if len(row) < width or not remedies:
                remedies.insert(0, "mend or delete the line")
            elif len(row) == width + 1 and not row[-1].strip():
                remedies.insert(0, "delete the separator at the end of the lines")
            remedy = ", or ".join(remedies)
            raise file.error(
                f"{len(row)} field(s) where the {first} has {width}: expected as many; {remedy}.",
                line=line,
            )


def _ids(
    file: TextFile, rows: list[Row], index: int, role: str, options: ReadOptions
) -> np.ndarray:
    ids = [row[index] for _, row in rows]
    distinct = list(dict.fromkeys(ids))
    if not options.without_ids and not all(map(str.strip, distinct)):
        line = next(line for line, row in rows if not row[index].strip())
        raise file.error(
            f"an empty {role} id: expected any text; fill it in, delete the line, or leave such "
            "lines out with --config.data.null_ids=drop.",
            line=line,
        )
    if spoilt := spoilt_id(distinct, role):
        line = next(line for line, row in rows if row[index] == spoilt[0])
        raise file.error(f"{spoilt[1]}.", line=line)
    return np.array(ids, dtype=object)


def _times(
    file: TextFile,
    rows: list[Row],
    table: Table,
    index: int,
    times: TimeTexts,
    options: ReadOptions,
) -> np.ndarray:
    """Returns the times of a column; NaN where there is none and `options` allows it."""
    texts = pd.Series([row[index] for _, row in rows], dtype=object)
    found = times.read(with_points(texts, table.separator))
    at = first_fault(texts, found, is_missing_allowed=options.without_times)
    if at is None:
        return found
    text, name, drop = texts[at], table.names[index], ""
    if is_null_word(text):
        count = sum(map(is_null_word, texts))
        drop = (
            f"leave such lines out ({count:,} of {len(texts):,} here) with "
            "--config.data.null_times=drop, "
        )
    raise file.error(
        f"{name} {text[:40]!r} {times.fault(text)}; mend the line, convert the column, {drop}"
        f"or leave it unread with --config.data.time_column={IGNORED}.",
        line=rows[at][0],
    )


def first_fault(texts: pd.Series, numbers: np.ndarray, *, is_missing_allowed: bool) -> int | None:
    """Returns the place of the first text that could not be read, or None.

    Args:
        texts: object(str) [n].
        numbers: float64 [n], what they were read as.
        is_missing_allowed: True if a text may be blank or a null word.
    """
    places = np.flatnonzero(~np.isfinite(numbers))
    faults = (int(p) for p in places if not (is_missing_allowed and is_null_word(texts.iloc[p])))
    return next(faults, None)


def with_points(texts: pd.Series, separator: str) -> pd.Series:
    """Returns numbers with a decimal point; where `;` separates fields they may have a comma."""
    return texts.str.replace(_DECIMAL_COMMA, r"\1.\2", regex=True) if separator == ";" else texts


def _ratings(file: TextFile, rows: list[Row], table: Table, index: int) -> np.ndarray:
    texts = pd.Series([row[index] for _, row in rows], dtype=object)
    numbers = as_numbers(with_points(texts, table.separator))
    at = first_fault(texts, numbers, is_missing_allowed=False)
    if at is None:
        return numbers
    text = texts[at]
    is_number = text.strip().lower().lstrip("+-") in ("nan", "inf", "infinity")
    raise file.error(
        f"{table.names[index]} {text[:40]!r} is not {'finite' if is_number else 'a number'}, and "
        "--config.data.min_rating needs one: expected a finite number, such as 4.5; mend the line, "
        "convert the column, or leave the filter --config.data.min_rating out.",
        line=rows[at][0],
    )
