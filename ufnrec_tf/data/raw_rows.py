"""Raw files of published data sets, line by line: batches of events, rows of items."""

import ast
import html
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import pyarrow as pa

from ufnrec_tf.common.errors import UserError

BATCH_ROWS = 1 << 17
MAX_LINE = 1 << 24
"""Bytes of a line; a longer one is no line of ours, and reading it would take the memory."""
_MAX_TEXT = 500
_PRICE = re.compile(r"\$?\s*([0-9][0-9,]*(?:\.[0-9]+)?)")

Record = Mapping[str, Any]
Parser = Callable[[str], Any]
"""Text of a line -> record."""
Seconds = Callable[[Any], float]
"""Time as published -> seconds since 1970."""


class Event(NamedTuple):
    """One event as published; `rating` is None where the layout has none."""

    user: str
    item: str
    time: float
    rating: float | None = None


class Events(NamedTuple):
    """A batch of events.

    Attributes:
        users: string [E], raw ids.
        items: string [E], raw ids.
        times: float64 [E], seconds since 1970, UTC.
        ratings: float64 [E], or None.
        num_skipped: Lines without a user, an item or a time, left out.
    """

    users: pa.Array
    items: pa.Array
    times: np.ndarray
    ratings: np.ndarray | None
    num_skipped: int


class Item(NamedTuple):
    """What is told of an item: categories joined by "|"; a price that is unknown is NaN."""

    id: str
    title: str
    category: str = ""
    price: float = math.nan


def batched(events: Iterator[Event | None]) -> Iterator[Events]:
    """Yields events in batches; None is a line that was left out."""
    rows: list[Event] = []
    skipped = 0
    for event in events:
        if event is None:
            skipped += 1
            continue
        rows.append(event)
        if len(rows) == BATCH_ROWS:
            yield _batch(rows, skipped)
            rows, skipped = [], 0
    if rows or skipped:
        yield _batch(rows, skipped)


def _batch(rows: list[Event], skipped: int) -> Events:
    has_ratings = bool(rows) and rows[0].rating is not None
    ratings = [math.nan if row.rating is None else row.rating for row in rows]
    return Events(
        pa.array([row.user for row in rows], pa.string()),
        pa.array([row.item for row in rows], pa.string()),
        np.array([row.time for row in rows], np.float64),
        np.array(ratings, np.float64) if has_ratings else None,
        skipped,
    )


def read_lines(
    stream: IO[bytes], path: Path, *, encoding: str = "utf-8"
) -> Iterator[tuple[int, str]]:
    """Yields the number (from 1) and the text of each line that is not blank.

    Raises:
        UserError: If a line is too long, or no text of the encoding.
    """
    number = 0
    while line := stream.readline(MAX_LINE + 1):
        number += 1
        if len(line) > MAX_LINE:
            raise wrong_line(path, number, f"is longer than {MAX_LINE:,} bytes")
        try:
            text = line.decode(encoding).rstrip("\r\n")
        except UnicodeDecodeError:
            raise wrong_line(path, number, f"is no {encoding} text") from None
        if text.strip():
            yield number, text


def wrong_line(path: Path, number: int, what: str) -> UserError:
    """Returns, for the caller to raise, what to tell of a line that is not as published."""
    return UserError(
        f"{path}, line {number} of the log in it: {what}: not the layout that its publisher "
        "describes. Remove the file, and the same command gets it again."
    )


def checked_event(
    path: Path, number: int, *, ids: tuple[str, str], time: str, rating: str = ""
) -> Event:
    """Returns the event of a line of fields.

    Args:
        path: The file, for messages.
        number: Of the line, from 1.
        ids: User and item.
        time: In seconds since 1970.
        rating: "" where the layout has none.

    Raises:
        UserError: If an id is blank, or a number is none.
    """
    try:
        event = Event(*ids, float(time), float(rating) if rating else None)
    except ValueError:
        raise wrong_line(path, number, "has a word where a number was") from None
    if not (ids[0].strip() and ids[1].strip() and math.isfinite(event.time)):
        raise wrong_line(path, number, "has no user, no item or no time")
    return event


def read_fields(
    stream: IO[bytes], path: Path, *, separator: str, num_fields: int, encoding: str = "utf-8"
) -> Iterator[tuple[int, list[str]]]:
    """Yields the number and the fields of each line, nothing quoted.

    Raises:
        UserError: If a line has fewer fields; and as `read_lines`.
    """
    for number, text in read_lines(stream, path, encoding=encoding):
        fields = text.split(separator)
        if len(fields) < num_fields:
            raise wrong_line(path, number, f"has {len(fields)} fields, expected {num_fields}")
        yield number, fields


def parse_literal(text: str) -> Any:
    """Returns the value of a Python literal: nothing is called, imported or looked up."""
    return ast.literal_eval(text)


def read_records(
    stream: IO[bytes], path: Path, *, parse: Parser = json.loads
) -> Iterator[tuple[int, Record]]:
    """Yields the number and the record of each line.

    Args:
        stream: Lines of JSON, or what `parse` takes.
        path: The file, for messages.
        parse: Text of a line -> record.

    Raises:
        UserError: If a line is no record; and as `read_lines`.
    """
    for number, text in read_lines(stream, path):
        try:
            record = parse(text)
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            raise wrong_line(path, number, "is no record") from None
        if not isinstance(record, dict):
            raise wrong_line(path, number, "is no record")
        yield number, record


class Keys(NamedTuple):
    """Which keys of a record make an event; `rating` is "" where there is none."""

    user: str
    item: str
    time: str
    rating: str = ""


def event_of(record: Record, keys: Keys, *, seconds: Seconds) -> Event | None:
    """Returns the event of a record, or None where it has no user, item or time.

    Args:
        record: A line.
        keys: Where what is.
        seconds: The record's time -> seconds since 1970.
    """
    user, item = (_text(record.get(key)) for key in keys[:2])
    try:
        time = seconds(record.get(keys.time))
        rating = float(record[keys.rating]) if keys.rating else None
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    return Event(user, item, time, rating) if user and item and math.isfinite(time) else None


def _text(value: Any) -> str:
    text = "" if value is None else str(value).strip()
    if not text.isascii():
        # JSON may escape half of a pair, which no file of UTF-8 can hold.
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def item_of(
    record: Record, *, id: str, titles: tuple[str, ...], category: str, price: str = ""
) -> Item | None:
    """Returns the item of a record, or None where it has no id.

    Args:
        record: A line.
        id: Key of the id.
        titles: Keys of the title; the first that has one counts.
        category: Key of the categories.
        price: Key of the price, or "".
    """
    own = _text(record.get(id))
    title = next((text for key in titles if (text := clean(record.get(key)))), "")
    value = price_of(record.get(price)) if price else math.nan
    return Item(own, title, joined(record.get(category)), value) if own else None


def clean(value: Any) -> str:
    """Returns a title on one line, without the page's own notation of characters."""
    return " ".join(html.unescape(_text(value)).split())[:_MAX_TEXT]


def joined(value: Any) -> str:
    """Returns categories joined by "|": of a list, of a list of lists the first, of a text."""
    if isinstance(value, list):
        if value and isinstance(value[0], list):
            value = value[0]
        return "|".join(text for part in value if (text := clean(part)))[:_MAX_TEXT]
    return clean(value)


def price_of(value: Any) -> float:
    """Returns a price such as 4.99, "$1,299.00" or "Free to Play"; NaN where it is none."""
    if isinstance(value, bool) or value is None:
        return math.nan
    if isinstance(value, int | float):
        return float(value) if value >= 0 else math.nan
    text = _text(value)
    if text.lower().startswith("free"):
        return 0.0
    match = _PRICE.fullmatch(text)
    return float(match[1].replace(",", "")) if match else math.nan
