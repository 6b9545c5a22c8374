"""A text log of any size as batches of events."""

import itertools
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from types import MappingProxyType

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as arrow_csv

from ufnrec_tf.common.errors import UserError
from ufnrec_tf.data.events import EventBatch
from ufnrec_tf.data.log_description import Note
from ufnrec_tf.data.times import TimeTexts, TimeUnit, as_numbers
from ufnrec_tf.reading.column_kinds import FIRST_ROWS
from ufnrec_tf.reading.column_names import REQUIRED, may_be_names
from ufnrec_tf.reading.columns import (
    READ_ALL,
    Chosen,
    Columns,
    ReadOptions,
    choose_columns,
    events_of_rows,
    first_fault,
    header_fields,
    with_points,
    without_headers,
)
from ufnrec_tf.reading.formats import READERS, Form, detect_format, table_format
from ufnrec_tf.reading.id_checks import holds_spaces, spoilt_id
from ufnrec_tf.reading.json_columns import late_key_check, refuse_nested
from ufnrec_tf.reading.rows import Header, Row, Table, header_line, rows_of, split_lines
from ufnrec_tf.reading.text_files import BOM, Block, TextBlocks, TextFile

_MOST_ROWS = 1 << 17  # rows held as Python objects at a time
_FIRST_BYTES = 1 << 20  # in which the first rows are looked for


class TextLog:
    """A log of text, gone through once.

    Args:
        blocks: The file.
        format: A key of `READERS`, or "auto": the file itself shows which.
        columns: The columns and separator that the user named.
        options: What the filters need.
        is_streamed: True if the file must not be held as a whole: only tables are read then.
        forms: The forms that there are.
        partitions: Further columns of one value each, as the names of a file's folders have them.
        times: Reads the time column, of several files one; None: of this file only.
        is_part: True of one of several files, which may be without an event.

    Attributes:
        format: The form, known once the first batch was taken.
        chosen: Role -> name of the column that is read, known then too.
        names: The names of all columns, known then too.
        separator: Between the fields of a table, known then too.
        found_by: Role -> what its column was recognised by, known then too.
    """

    def __init__(
        self,
        blocks: TextBlocks,
        *,
        format: str,
        columns: Columns,
        options: ReadOptions = READ_ALL,
        is_streamed: bool = False,
        forms: dict[str, Form] = READERS,
        partitions: Mapping[str, str] = MappingProxyType({}),
        times: TimeTexts | None = None,
        is_part: bool = False,
    ) -> None:
        self.format = format
        self.chosen: dict[str, str] = {}
        self.names: tuple[str, ...] = ()
        self.separator = ""
        self.found_by: dict[str, str] = {}
        self._notes: tuple[Note, ...] = ()
        self._parser: _Parser | None = None
        self._times = times or TimeTexts(columns.time_format)
        self._partitions = partitions
        self._is_part = is_part
        self._blocks = blocks
        self._columns = columns
        self._options = options
        self._is_streamed = is_streamed
        self._forms = forms

    @property
    def size(self) -> int:
        """Bytes of the text, estimated where the file is compressed."""
        return self._blocks.size

    @property
    def dates(self) -> TimeUnit | None:
        """The unit of times that are dates, known once the first batch was taken, or None."""
        return self._times.unit

    @property
    def notes(self) -> tuple[Note, ...]:
        """What is not used or was left out, known once all batches were taken."""
        headers = () if self._parser is None else self._parser.notes
        return (*self._notes, *headers)

    @property
    def done(self) -> int:
        """How much of `size` has been read."""
        return self._blocks.num_bytes

    @property
    def sha256(self) -> str:
        """The hash of the bytes read so far: of the file, once all batches were taken."""
        return self._blocks.sha256

    def __iter__(self) -> Iterator[EventBatch]:
        """Yields the batches.

        Raises:
            UserError: If the log is not as expected, naming file and line.
        """
        blocks = iter(self._blocks)
        head = next(blocks)
        file = self._blocks.file(head.data)
        if self.format == "auto":
            self.format = table_format(file, self._columns)
        form = self._forms.get(self.format)
        if form is not None and form.layout is not None:
            yield from self._table(file, form.layout(file, self._columns), head, blocks)
            return
        if self._is_streamed:
            self.format = self.format or detect_format(file, self._columns)
            raise file.error(
                f"read as {self.format}, which --mode=prepare does not take: expected Parquet, or "
                "one event a line below a header such as user_id,item_id,timestamp (commas or "
                "tabs); put such a line on top and separate the fields so."
            )
        whole = b"".join([head.data, *(block.data for block in blocks)])
        file = self._blocks.file(whole)
        self.format = self.format or detect_format(file, self._columns)
        read = self._forms[self.format].read
        assert read is not None
        yield read(file, self._columns)

    def _table(
        self, head: TextFile, table: Table, first: Block, blocks: Iterator[Block]
    ) -> Iterator[EventBatch]:
        lines = _Lines(blocks, table)
        line, rest = head.first_line()[0], [first]
        if table.has_header:
            # The header by itself, since it may be quoted, or stand under blank lines.
            lines.give(first)
            line = header_line(head, rows_of(head, lines, table))
            rest = lines.taken_back()
        # A column of the file itself comes before a folder's name.
        extra = {name: text for name, text in self._partitions.items() if name not in table.names}
        names = [*table.names, *extra]
        first_rows = _first_rows(head, rest, table)
        if first_rows:
            count = len(first_rows[0])
            first_rows += [pd.Series([text] * count, dtype=object) for text in extra.values()]
        self.names, self.separator = tuple(names), table.separator
        chosen = self._choose(head, (line, names), table, first_rows)
        if table.is_json:
            check = late_key_check(head, self._columns, chosen.places)
            table = replace(table, read=tuple(chosen.places.values()), check_new_key=check)
        self.chosen, self.found_by = chosen.names_of(names), chosen.found_by
        self._notes = chosen.notes
        # The data itself is not needed any more, only the file's name.
        file = self._blocks.file(b"")
        parser = self._parser = _Parser(
            file,
            table,
            chosen.places,
            times=self._times,
            constants=[*extra.values()],
            options=self._options,
        )
        has_events = False
        for block in itertools.chain(rest, blocks):
            for batch in parser.batches(block, lines):
                if batch.num_events:  # a block may be blank lines only
                    has_events = True
                    yield batch
        if not has_events and not self._is_part:
            raise head.error("a header and no events: expected one event a line below it.")

    def _choose(
        self, head: TextFile, header: Header, table: Table, first_rows: list[pd.Series]
    ) -> Chosen:
        """Returns the columns to read, none of which holds lists or objects."""
        try:
            chosen = choose_columns(
                head,
                header,
                self._columns,
                first_rows=first_rows,
                with_ratings=self._options.with_ratings,
                with_events=self._options.with_events,
            )
        except UserError:
            refuse_nested(head, table, self._columns, chosen=None)
            raise
        refuse_nested(head, table, self._columns, chosen=chosen.places)
        return chosen


def _first_rows(file: TextFile, blocks: list[Block], table: Table) -> list[pd.Series]:
    """Returns the first values of each column, object(str); rows of another width left out."""
    data = blocks[0].data if blocks else b""
    if len(data) > _FIRST_BYTES:
        data = data[: data.rfind(b"\n", 0, _FIRST_BYTES) + 1] or data
    found: list[Row] = []
    table = replace(table, read=tuple(range(len(table.names))))
    with suppress(UserError):  # which reading raises, with the line
        found.extend(itertools.islice(rows_of(file, split_lines(data, table), table), FIRST_ROWS))
    width = len(table.names)
    fields = [row for _, row in found if len(row) == width and row != table.names]
    columns = zip(*fields, strict=True) if fields else [()] * width
    return [pd.Series(list(column), dtype=object) for column in columns]


class _Lines(Iterator[str]):
    """The lines of the block at hand, and of the next ones where a row needs them."""

    def __init__(self, blocks: Iterator[Block], table: Table) -> None:
        self._blocks = blocks
        self._table = table
        self._pending: deque[str] = deque()
        self._num_taken = 0

    @property
    def has_pending(self) -> bool:
        """True if lines are left of the blocks given so far."""
        return bool(self._pending)

    def give(self, block: Block) -> None:
        """Appends a block's lines."""
        self._pending.extend(split_lines(block.data, self._table))
        if self._pending and not self._pending[-1]:
            self._pending.pop()  # what `split` sees behind the last line end

    def taken_back(self) -> list[Block]:
        """Returns the lines that are left of the first blocks as a block, or nothing."""
        if not self._pending:
            return []
        # Lines of quoted tables keep their ends; see `split_lines`.
        text = ("" if self._table.is_quoted else "\n").join(self._pending)
        self._pending.clear()
        return [Block(text.encode(), self._num_taken + 1)]

    def __next__(self) -> str:
        while not self._pending:
            self.give(next(self._blocks))
        self._num_taken += 1
        return self._pending.popleft()


class _Parser:
    """Turns the blocks of a table into batches.

    Args:
        file: Named in errors.
        table: The log's layout.
        chosen: Role -> index of the column.
        times: Reads the time column; the first rows decide what it holds.
        constants: The values of columns beyond the table's, the same in all rows.
        options: What the filters need.
    """

    def __init__(
        self,
        file: TextFile,
        table: Table,
        chosen: dict[str, int],
        *,
        times: TimeTexts,
        constants: list[str],
        options: ReadOptions,
    ) -> None:
        self._options = options
        self._headers: list[int] = []
        self._header_fields = header_fields(table)
        self._times = times
        self._file = file
        self._table = table
        self._chosen = chosen
        self._constants = constants
        names = [str(place) for place in range(len(table.names))]
        self._read = arrow_csv.ReadOptions(use_threads=False, column_names=names)
        self._convert = arrow_csv.ConvertOptions(
            check_utf8=False,  # done
            column_types=dict.fromkeys(names, pa.string()),
            include_columns=[str(index) for index in chosen.values() if index < len(names)],
        )

    def batches(self, block: Block, lines: _Lines) -> Iterator[EventBatch]:
        """Yields the batches of a block.

        Args:
            block: The next block.
            lines: Gives the lines of the blocks after it, for a row that ends there.

        Raises:
            UserError: See `columns.events_of_rows`.
        """
        batch = self._parsed(block)
        if batch is not None:
            yield batch
            return
        lines.give(block)
        rows = rows_of(self._file, lines, self._table, first_line=block.first_line)
        table = self._table
        if self._constants:
            rows = ((line, [*fields, *self._constants]) for line, fields in rows)
            table = replace(table, names=[*table.names, *self._constants])
        while lines.has_pending:
            chunk: list[Row] = []
            while lines.has_pending and len(chunk) < _MOST_ROWS:
                chunk.extend(itertools.islice(rows, 1))
            kept = without_headers(self._file, chunk, table, self._chosen)
            if len(kept) < len(chunk):
                lines_kept = {line for line, _ in kept}
                self._headers += [line for line, _ in chunk if line not in lines_kept]
            if kept:
                yield events_of_rows(
                    self._file,
                    kept,
                    table,
                    self._chosen,
                    times=self._times,
                    options=self._options,
                )

    @property
    def notes(self) -> list[Note]:
        """Returns the lines that were left out because they say the header again."""
        if not self._headers:
            return []
        count = len(self._headers)
        words = (
            "1 line says the header again and is"
            if count == 1
            else (f"{count:,} lines say the header again and are")
        )
        return [Note("header_again", f"{words} left out: line {self._headers[0]:,}", share=0.0)]

    def _parsed(self, block: Block) -> EventBatch | None:
        """Returns the batch of a block by Arrow's reader, or None where rows need a closer look."""
        data, separator = block.data, self._table.separator
        is_odd = self._table.is_quoted and b'"' in data
        # A carriage return by itself ends a quoted table's row and no other's.
        is_odd |= data.count(b"\r") != data.count(b"\r\n")
        # Arrow takes it for a byte order mark, which past a file's beginning is part of an id.
        is_odd |= data.startswith(BOM)
        if is_odd or self._table.is_json or len(separator) != 1 or not separator.isascii():
            return None
        self._read.block_size = len(data) + 1
        try:
            parsed = arrow_csv.read_csv(
                pa.BufferReader(data),
                read_options=self._read,
                parse_options=arrow_csv.ParseOptions(delimiter=separator, quote_char=False),
                convert_options=self._convert,
            )
        except pa.ArrowInvalid:
            return None
        columns = {role: self._column(parsed, index) for role, index in self._chosen.items()}
        users, items = (columns[role].dictionary_encode() for role in REQUIRED)
        if not self._are_good(users, items):
            return None
        times = ratings = types = None
        if "time" in columns:
            texts = _texts(columns["time"])
            times = self._times.read(with_points(texts, separator))
            if (
                first_fault(texts, times, is_missing_allowed=self._options.without_times)
                is not None
            ):
                return None
        if "rating" in columns:
            ratings = _ratings(columns["rating"], separator)
            if not np.isfinite(ratings).all():
                return None
        if "event" in columns:
            types = pc.utf8_trim_whitespace(columns["event"]).dictionary_encode()
        return arrow_batch(users, items, times, ratings, types)

    def _are_good(self, users: pa.DictionaryArray, items: pa.DictionaryArray) -> bool:
        """Returns False if an id, or a header among the rows, needs a closer look."""
        are_names = []
        for role, codes in zip(REQUIRED, (users, items), strict=True):
            ids = stripped = codes.dictionary.to_pylist()
            if holds_spaces("\n".join(ids)):
                stripped = list(map(str.strip, ids))
            if not (self._options.without_ids or all(stripped)) or spoilt_id(ids, role):
                return False
            are_names.append(may_be_names(stripped, self._header_fields))
        return not all(are_names)

    def _column(self, parsed: pa.Table, index: int) -> pa.Array:
        width = len(self._table.names)
        if index < width:
            return _whole(parsed[str(index)])
        return pa.repeat(self._constants[index - width], parsed.num_rows)


def arrow_batch(
    users: pa.DictionaryArray,
    items: pa.DictionaryArray,
    times: np.ndarray | None,
    ratings: np.ndarray | None,
    types: pa.DictionaryArray | None = None,
) -> EventBatch:
    """Returns the batch of some events, from dictionaries of strings without null."""
    codes = (column.indices.to_numpy().astype(np.int32) for column in (users, items))
    ids = (column.dictionary.to_numpy(zero_copy_only=False) for column in (users, items))
    (user_codes, item_codes), (user_ids, item_ids) = codes, ids
    type_codes = type_names = None
    if types is not None:
        type_codes = types.indices.to_numpy().astype(np.int32)
        type_names = types.dictionary.to_numpy(zero_copy_only=False)
    return EventBatch(
        user_ids, user_codes, item_ids, item_codes, times, ratings, type_codes, type_names
    )


def _whole(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)


def _texts(texts: pa.Array) -> pd.Series:
    return pd.Series(texts.to_numpy(zero_copy_only=False), dtype=object)


def _ratings(texts: pa.Array, separator: str) -> np.ndarray:
    """Returns the ratings as float64, NaN for texts that are no number; few are distinct."""
    codes = texts.dictionary_encode()
    numbers = as_numbers(with_points(_texts(codes.dictionary), separator))
    return numbers[codes.indices.to_numpy()]
