"""The raw files of published data sets as events and items: line by line, or by Arrow.

A layout is made of one log (`LineLog` or `TableLog`) and one description of items (`ItemLines`,
`TitlesInLog` or `NoItems`), each a row of arguments; `layouts.LAYOUTS` has them.
"""

import codecs
import html
import io
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from ufnrec_tf.common.errors import UserError, own_words
from ufnrec_tf.reading.published.archives import Watch, open_member

BATCH_ROWS = 1 << 17
MAX_LINE = 1 << 24
"""Bytes of a line: a longer one is of no published log, and reading it would take the memory."""
_BLOCK = 1 << 22
_MAX_TEXT = 500
_ISO = "%Y-%m-%dT%H:%M:%SZ"
_PRICE = re.compile(r"\$?\s*([0-9][0-9,]*(?:\.[0-9]+)?)")

Record = Mapping[str, Any]


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
    """The description of an item: categories joined by "|"; NaN for an unknown price."""

    id: str
    title: str
    category: str = ""
    price: float = math.nan


def _wrong_line(path: Path, number: int, what: str) -> UserError:
    return UserError(
        f"{path}, line {number} of the log in it: {what}: not the layout that its publisher "
        "describes. Remove the file, and the same command downloads it again."
    )


class Lines(NamedTuple):
    """A file whose lines are records, each parsed on its own.

    Attributes:
        member: Its name in the archive, "" if it is only compressed.
        parse: Text of a line -> record; raises ValueError and the like for a line that is none.
        has_header: True if the first line names the columns.
        encoding: The encoding of the text.
    """

    member: str = ""
    parse: Callable[[str], Any] = json.loads
    has_header: bool = False
    encoding: str = "utf-8"

    def records(self, path: Path, watch: Watch) -> Iterator[tuple[int, Record]]:
        """Yields the number (from 1) and the record of each line that is not blank.

        Raises:
            UserError: If a line is too long, no text of the encoding, or no record.
        """
        with open_member(path, self.member, watch) as stream:
            number = 0
            while line := stream.readline(MAX_LINE + 1):
                number += 1
                if len(line) > MAX_LINE:
                    raise _wrong_line(path, number, f"is longer than {MAX_LINE:,} bytes")
                try:
                    text = line.decode(self.encoding).rstrip("\r\n")
                except UnicodeDecodeError:
                    raise _wrong_line(path, number, f"is no {self.encoding} text") from None
                if not text.strip() or (number == 1 and self.has_header):
                    continue
                try:
                    record = self.parse(text)
                except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
                    record = None
                if not isinstance(record, dict):
                    raise _wrong_line(path, number, "is no record")
                yield number, record


class LineLog(NamedTuple):
    """A log of records, one a line.

    Attributes:
        lines: The file.
        user: Key of the user.
        item: Key of the item.
        time: Key of the time.
        rating: Key of the rating, or "".
        seconds: Time as published -> seconds since 1970.
        is_strict: True if a line that makes no event is an error, rather than left out.
        is_distinct: True if an event that is there already is dropped.
    """

    lines: Lines
    user: str
    item: str
    time: str
    rating: str = ""
    seconds: Callable[[Any], float] = float
    is_strict: bool = False
    is_distinct: bool = False

    def events(self, path: Path, watch: Watch) -> Iterator[Events]:
        """Yields the events in batches, in the order of the file."""
        rows: list[tuple[str, str, float, float]] = []
        seen: set[tuple[str, str, float, float]] = set()
        skipped = 0
        for number, record in self.lines.records(path, watch):
            event = self._event(record)
            if event is None:
                if self.is_strict:
                    what = "has no user, item, time or rating that can be read"
                    raise _wrong_line(path, number, what)
                skipped += 1
                continue
            if self.is_distinct:
                if event in seen:
                    continue
                seen.add(event)
            rows.append(event)
            if len(rows) == BATCH_ROWS:
                yield self._batch(rows, skipped)
                rows, skipped = [], 0
        if rows or skipped:
            yield self._batch(rows, skipped)

    def _event(self, record: Record) -> tuple[str, str, float, float] | None:
        user, item = _text_of(record.get(self.user)), _text_of(record.get(self.item))
        try:
            time = self.seconds(record.get(self.time))
            rating = float(record[self.rating]) if self.rating else 0.0
        except (KeyError, TypeError, ValueError, OverflowError):
            return None
        return (user, item, time, rating) if user and item and math.isfinite(time) else None

    def _batch(self, rows: list[tuple[str, str, float, float]], skipped: int) -> Events:
        users, items, times, ratings = zip(*rows, strict=True) if rows else ((), (), (), ())
        return Events(
            pa.array(users, pa.string()),
            pa.array(items, pa.string()),
            np.array(times, np.float64),
            np.array(ratings, np.float64) if self.rating else None,
            skipped,
        )


class ItemLines(NamedTuple):
    """Items described by records, one a line.

    Attributes:
        place: Which of the data set's files it is.
        lines: The file.
        id: Key of the item.
        titles: Keys of the title; the first that has one counts.
        category: Key of the categories, or "".
        price: Key of the price, or "".
        separator: Between categories in one text.
    """

    place: int
    lines: Lines
    id: str
    titles: tuple[str, ...]
    category: str = ""
    price: str = ""
    separator: str = "|"

    def items(self, paths: list[Path], watch: Watch) -> Iterator[Item]:
        """Yields the items, one perhaps more than once."""
        if len(paths) <= self.place:
            return
        for _, record in self.lines.records(paths[self.place], watch):
            id = _text_of(record.get(self.id))
            if id:
                title = next((t for key in self.titles if (t := _clean(record.get(key)))), "")
                category = _joined(record.get(self.category)).replace(self.separator, "|")
                yield Item(id, title, category, price_of(record.get(self.price)))


def _text_of(value: Any) -> str:
    text = "" if value is None else str(value).strip()
    if not text.isascii():
        # JSON may escape half of a surrogate pair, which no file of UTF-8 can hold.
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _clean(value: Any) -> str:
    """Returns a title on one line, its HTML entities resolved."""
    return " ".join(html.unescape(_text_of(value)).split())[:_MAX_TEXT]


def _joined(value: Any) -> str:
    """Returns categories joined by "|": of a list, of a list of lists the first, of a text."""
    if isinstance(value, list):
        if value and isinstance(value[0], list):
            value = value[0]
        return "|".join(text for part in value if (text := _clean(part)))[:_MAX_TEXT]
    return _clean(value)


def price_of(value: Any) -> float:
    """Returns a price such as 4.99, "$1,299.00" or "Free to Play"; NaN if it is none."""
    if isinstance(value, bool) or value is None:
        return math.nan
    if isinstance(value, int | float):
        return float(value) if value >= 0 else math.nan
    text = _text_of(value)
    if text.lower().startswith("free"):
        return 0.0
    match = _PRICE.fullmatch(text)
    return float(match[1].replace(",", "")) if match else math.nan


class TableLog(NamedTuple):
    """A log that is a table, read by Arrow: tens of millions of lines a minute.

    Attributes:
        member: Its name in the archive, "" if it is only compressed.
        user: Column of the raw user ids.
        item: Columns of the item: the first that is not blank is its id; a tuple of columns
            inside stands for their texts joined by " - ".
        time: Column of the time.
        time_scale: Seconds of one unit of a time that is a number; 0 for ISO dates.
        rating: Column of the ratings, or "".
        names: Names of the columns of tab-separated text without a header and without quotes;
            empty for CSV.
    """

    member: str
    user: str
    item: tuple[str | tuple[str, ...], ...]
    time: str
    time_scale: float = 0.0
    rating: str = ""
    names: tuple[str, ...] = ()

    def events(self, path: Path, watch: Watch) -> Iterator[Events]:
        """Yields the events in batches, in the order of the file."""
        for events, _ in self.batches(path, watch):
            yield events

    def batches(self, path: Path, watch: Watch) -> Iterator[tuple[Events, pa.RecordBatch]]:
        """Yields the events of a table, and the rows that they come from.

        Rows of another number of fields, and those without a user, item or time, are left out.

        Raises:
            UserError: If it is no such table.
        """
        broken: list[int] = []

        def skip(row: pacsv.InvalidRow) -> str:
            broken.append(1)
            return "skip"

        with open_member(path, self.member, watch) as stream:
            try:
                for batch in self._open(_Utf8(stream, path), skip):
                    events, kept = self._events(batch)
                    yield events._replace(num_skipped=events.num_skipped + len(broken)), kept
                    broken.clear()
            except pa.ArrowException as error:
                raise UserError(
                    f"{path}: is no such table as its publisher describes "
                    f"({own_words(error)[:200]}). Remove it, and the same command downloads it "
                    "again."
                ) from error

    def _open(
        self, stream: io.RawIOBase, skip: Callable[[pacsv.InvalidRow], str]
    ) -> pacsv.CSVStreamingReader:
        item = [n for part in self.item for n in ((part,) if isinstance(part, str) else part)]
        types = dict.fromkeys((self.user, *item), pa.string())
        types[self.time] = pa.float64() if self.time_scale else pa.string()
        if self.rating:
            types[self.rating] = pa.float64()
        return pacsv.open_csv(
            stream,
            read_options=pacsv.ReadOptions(
                block_size=_BLOCK, column_names=list(self.names) or None, use_threads=False
            ),
            parse_options=pacsv.ParseOptions(
                delimiter="\t" if self.names else ",",
                quote_char=False if self.names else '"',
                newlines_in_values=False,
                invalid_row_handler=skip,
            ),
            convert_options=pacsv.ConvertOptions(
                include_columns=list(types), column_types=types, strings_can_be_null=False
            ),
        )

    def _events(self, batch: pa.RecordBatch) -> tuple[Events, pa.RecordBatch]:
        """Returns a batch's events, and its rows that made one."""
        users, items, times = batch.column(self.user), self._ids(batch), batch.column(self.time)
        if self.time_scale:
            seconds = pc.multiply(times, pa.scalar(self.time_scale, pa.float64()))
        else:
            parsed = pc.strptime(times, format=_ISO, unit="s", error_is_null=True)
            seconds = pc.cast(pc.cast(parsed, pa.int64()), pa.float64())
        is_whole = pc.and_(
            pc.and_(pc.not_equal(users, ""), pc.not_equal(items, "")),
            pc.fill_null(pc.is_finite(seconds), False),
        )
        kept = batch.filter(is_whole)
        events = Events(
            users.filter(is_whole),
            items.filter(is_whole),
            seconds.filter(is_whole).to_numpy(zero_copy_only=False),
            kept.column(self.rating).to_numpy(zero_copy_only=False) if self.rating else None,
            batch.num_rows - kept.num_rows,
        )
        return events, kept

    def _ids(self, batch: pa.RecordBatch) -> pa.Array:
        """Returns the raw item ids of rows; string [rows]."""
        result = pa.array([""] * batch.num_rows, pa.string())
        for part in reversed(self.item):
            columns = [batch.column(name) for name in ((part,) if isinstance(part, str) else part)]
            texts = pc.binary_join_element_wise(*columns, " - ")
            result = pc.if_else(pc.not_equal(columns[-1], ""), texts, result)
        return result


class _Utf8(io.RawIOBase):
    """Bytes that are checked to be text on the way.

    Arrow writes a traceback on the screen when it has to skip a row that is no text.
    """

    def __init__(self, inner: io.BufferedReader, path: Path) -> None:
        super().__init__()
        self._inner, self._path = inner, path
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._count = 0

    def readable(self) -> bool:
        """Returns True."""
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Reads into a buffer and returns the number of bytes.

        Raises:
            UserError: If they are no UTF-8.
        """
        chunk = self._inner.read(len(buffer))
        try:
            self._decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            raise UserError(
                f"{self._path}: is no utf-8 text at byte {self._count + error.start:,} or so of "
                "the log in it. Remove it, and the same command downloads it again."
            ) from None
        self._count += len(chunk)
        buffer[: len(chunk)] = chunk
        return len(chunk)


class TitlesInLog(NamedTuple):
    """Items whose titles stand in the log itself.

    Attributes:
        log: The log.
        title: Columns whose texts, joined by " - ", are the title.
    """

    log: TableLog
    title: tuple[str, ...]

    def items(self, paths: list[Path], watch: Watch) -> Iterator[Item]:
        """Yields each item once, with the title that it has first."""
        seen: set[str] = set()
        for events, rows in self.log.batches(paths[0], watch):
            texts = [rows.column(name).to_pylist() for name in self.title]
            for id, *parts in zip(events.items.to_pylist(), *texts, strict=True):
                if id not in seen:
                    seen.add(id)
                    yield Item(id, _clean(" - ".join(part for part in parts if part)))


class NoItems(NamedTuple):
    """A data set that describes no items."""

    def items(self, paths: list[Path], watch: Watch) -> Iterator[Item]:
        """Yields nothing."""
        yield from ()
