"""A text log of any size as batches of events."""

import hashlib
import itertools
import os
from collections import deque
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import csv as arrow_csv

from ufnrec_tf.common.errors import UserError
from ufnrec_tf.data.times import TimeTexts, as_numbers
from ufnrec_tf.reading.columns import REQUIRED, Columns, choose_columns, chunk_values
from ufnrec_tf.reading.rows import Row, Table, header_line, rows_of, split_lines
from ufnrec_tf.reading.text_files import BOM, TextFile, check_is_text, check_utf8, read_error

BLOCK_BYTES = 8 << 20
"""Read at a time. Rows with quotes become Python objects, 10 times as large."""

_HEAD_BYTES = 1 << 20
_MOST_LINE_BYTES = 64 << 20


class Block(NamedTuple):
    """Some lines of a log.

    Attributes:
        data: UTF-8 text without NUL; ends with a line end, unless the file does not.
        first_line: Number of its first line in the file, from 1.
    """

    data: bytes
    first_line: int


class LogBlocks:
    """Goes through a text log once.

    Memory is that of a block, and of the longest line.

    Args:
        path: The log.
        block_bytes: Bytes of a block, about; the first is smaller, since a reader tells by it
            what the log is.

    Attributes:
        name: The path.
        num_bytes: Bytes read so far.
    """

    def __init__(self, path: str | os.PathLike[str], *, block_bytes: int = BLOCK_BYTES) -> None:
        self.name = os.fspath(path)
        self._block_bytes = block_bytes
        self.num_bytes = 0
        self._digest = hashlib.sha256()

    @property
    def sha256(self) -> str:
        """Of the bytes read so far: of the file, once all blocks were taken."""
        return self._digest.hexdigest()

    def __iter__(self) -> Iterator[Block]:
        """Yields the blocks in order.

        Raises:
            UserError: If the file cannot be read or is no text, naming line and byte.
        """
        line, offset = 1, 0
        for data in self._whole_lines():
            if not offset:
                check_is_text(self.name, data)
            check_utf8(self.name, data, first_line=line, first_offset=offset)
            yield Block(data if offset else data.removeprefix(BOM), line)
            line += data.count(b"\n")
            offset += len(data)

    def _whole_lines(self) -> Iterator[bytes]:
        """Yields pieces of the file that end where a line does."""
        rest, size = b"", min(_HEAD_BYTES, self._block_bytes)
        try:
            with open(self.name, "rb") as file:
                while chunk := file.read(size):
                    size = self._block_bytes
                    self._digest.update(chunk)
                    self.num_bytes += len(chunk)
                    cut = chunk.rfind(b"\n") + 1
                    if cut:
                        yield rest + chunk[:cut]
                        rest = chunk[cut:]
                    else:
                        rest += chunk
                        self._check_length(rest)
        except (OSError, ValueError) as error:
            raise read_error(self.name, error) from None
        if len(rest) == self.num_bytes:
            rest = rest.replace(b"\r", b"\n")  # the lone line ends of old spreadsheets
            yield rest  # even where the file is empty, for it to be told
        elif rest:
            yield rest

    def _check_length(self, rest: bytes) -> None:
        if len(rest) > _MOST_LINE_BYTES:
            raise UserError(
                f"{self.name}: a line of more than {_MOST_LINE_BYTES >> 20} MiB: expected one "
                "event a line, ended by a newline; if the lines end in carriage returns, convert "
                "the file first (tr '\\r' '\\n')."
            )


Layout = Callable[[TextFile], tuple[str, Table]]
_MOST_ROWS = 1 << 17  # rows held as Python objects at a time


class EventBatch(NamedTuple):
    """Some events that follow one another in the log; n of them.

    Attributes:
        user_ids: object(str), the batch's distinct raw user ids by first appearance.
        users: int32 [n], places in `user_ids`.
        item_ids: object(str), likewise.
        items: int32 [n], places in `item_ids`.
        times: float64 [n], finite, or None where the log has no times.
        ratings: float64 [n], finite, or None where they are not there or not asked for.
    """

    user_ids: np.ndarray
    users: np.ndarray
    item_ids: np.ndarray
    items: np.ndarray
    times: np.ndarray | None
    ratings: np.ndarray | None = None

    def kept(self, is_kept: np.ndarray) -> "EventBatch":
        """Returns the events where bool [n] is true."""
        users, user_places = pd.factorize(self.users[is_kept])
        items, item_places = pd.factorize(self.items[is_kept])
        return EventBatch(
            self.user_ids[user_places],
            users.astype(np.int32),
            self.item_ids[item_places],
            items.astype(np.int32),
            None if self.times is None else self.times[is_kept],
            None if self.ratings is None else self.ratings[is_kept],
        )


class TextLog:
    """A log of text with a row an event, gone through once.

    Args:
        blocks: The file.
        layout: Tells by the start of the file its format and its layout.
        columns: The columns and separator that the user named.

    Attributes:
        format: Its name, known once the first batch was taken.
        chosen: Role -> name of the column that is read, known likewise.
    """

    def __init__(self, blocks: LogBlocks, *, layout: Layout, columns: Columns) -> None:
        self.format = ""
        self.chosen: dict[str, str] = {}
        self._times = TimeTexts()
        self._layout = layout
        self._blocks = blocks
        self._columns = columns

    @property
    def are_dates(self) -> bool:
        """Whether times are dates, known likewise."""
        return bool(self._times.are_dates)

    def __iter__(self) -> Iterator[EventBatch]:
        """Yields the batches.

        Raises:
            UserError: If the log is not as expected, naming file and line.
        """
        blocks = iter(self._blocks)
        head = next(blocks)
        file = TextFile(self._blocks.name, head.data, "")
        self.format, table = self._layout(file)
        # By itself, since the header may be quoted, or stand under blank lines.
        lines = _Lines(blocks, table)
        lines.give(head)
        rows = rows_of(file, lines, table)
        line = header_line(file, rows) if table.has_header else file.first_line()[0]
        chosen = choose_columns(file, (line, table.names), self._columns)
        self.chosen = {role: table.names[index] for role, index in chosen.items()}
        # The data itself is not needed any more, only the file's name.
        parser = _Parser(TextFile(self._blocks.name, b"", ""), table, chosen, times=self._times)
        has_events = False
        for batch in itertools.chain(
            parser.slowly(lines, rows),
            itertools.chain.from_iterable(self._batches(parser, lines, block) for block in blocks),
        ):
            has_events = True
            yield batch
        if not has_events:
            raise file.error("a header and no events: expected one event a line below it.")

    @staticmethod
    def _batches(parser: "_Parser", lines: "_Lines", block: Block) -> Iterator[EventBatch]:
        batch = parser.fast(block)
        if batch is not None:
            yield batch
            return
        lines.give(block)
        rows = rows_of(parser.file, lines, parser.table, first_line=block.first_line)
        yield from parser.slowly(lines, rows)


class _Lines(Iterator[str]):
    """The lines of the block at hand, and of the next ones where a row needs them."""

    def __init__(self, blocks: Iterator[Block], table: Table) -> None:
        self._blocks = blocks
        self._table = table
        self._pending: deque[str] = deque()

    @property
    def has_pending(self) -> bool:
        """Whether lines are left of the blocks taken so far."""
        return bool(self._pending)

    def give(self, block: Block) -> None:
        """Takes a block's lines."""
        self._pending.extend(split_lines(block.data, self._table))
        if self._pending and not self._pending[-1]:
            self._pending.pop()  # what `split` sees behind the last line end

    def __next__(self) -> str:
        while not self._pending:
            self.give(next(self._blocks))
        return self._pending.popleft()


class _Parser:
    """Turns blocks into batches.

    Args:
        file: Named in errors.
        table: The log's layout.
        chosen: Role -> index of the column.
        times: What the time column holds; told by the first rows.
    """

    def __init__(
        self, file: TextFile, table: Table, chosen: dict[str, int], *, times: TimeTexts
    ) -> None:
        self._times = times
        self.file = file
        self.table = table
        self._chosen = chosen
        names = [str(place) for place in range(len(table.names))]
        self._read = arrow_csv.ReadOptions(use_threads=False, column_names=names)
        self._convert = arrow_csv.ConvertOptions(
            check_utf8=False,  # done
            column_types=dict.fromkeys(names, pa.string()),
            include_columns=[str(index) for index in chosen.values()],
        )

    def slowly(self, lines: _Lines, rows: Iterator[Row]) -> Iterator[EventBatch]:
        """Yields the batches of the lines at hand; see `columns.chunk_values` for errors."""
        while lines.has_pending:
            chunk: list[Row] = []
            while lines.has_pending and len(chunk) < _MOST_ROWS:
                chunk.extend(itertools.islice(rows, 1))
            if chunk:
                values = chunk_values(
                    self.file, chunk, self.table, self._chosen, known={}, times=self._times
                )
                batch = batch_of(values["user"], values["item"], values.get("time"))
                yield batch._replace(ratings=values.get("rating"))

    def fast(self, block: Block) -> EventBatch | None:
        """Returns the batch of a block, or None where a closer look is needed."""
        data, separator = block.data, self.table.separator
        is_odd = self.table.is_quoted and b'"' in data
        # A carriage return by itself ends a quoted table's row and no other's.
        is_odd |= data.count(b"\r") != data.count(b"\r\n")
        # Arrow takes it for a byte order mark, which past a file's beginning is part of an id.
        is_odd |= data.startswith(BOM)
        if is_odd or self.table.is_json or len(separator) != 1 or not separator.isascii():
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
        columns = {role: _whole(parsed[str(index)]) for role, index in self._chosen.items()}
        users, items = (columns[role].dictionary_encode() for role in REQUIRED)
        times = self._times.read(_texts(columns["time"])) if "time" in columns else None
        is_good = all(_are_ids(codes) for codes in (users, items))
        is_good &= times is None or bool(np.isfinite(times).all())
        ratings = _ratings(columns["rating"]) if "rating" in columns else None
        is_good &= ratings is None or bool(np.isfinite(ratings).all())
        return arrow_batch(users, items, times)._replace(ratings=ratings) if is_good else None


def batch_of(users: np.ndarray, items: np.ndarray, times: np.ndarray | None) -> EventBatch:
    """Returns the batch of some events: object(str) [n] twice, float64 [n] or None."""
    user_codes, user_ids = pd.factorize(users)
    item_codes, item_ids = pd.factorize(items)
    return EventBatch(
        user_ids, user_codes.astype(np.int32), item_ids, item_codes.astype(np.int32), times
    )


def arrow_batch(
    users: pa.DictionaryArray, items: pa.DictionaryArray, times: np.ndarray | None
) -> EventBatch:
    """Returns the batch of some events, from dictionaries of strings without null."""
    codes = (column.indices.to_numpy().astype(np.int32) for column in (users, items))
    ids = (column.dictionary.to_numpy(zero_copy_only=False) for column in (users, items))
    (user_codes, item_codes), (user_ids, item_ids) = codes, ids
    return EventBatch(user_ids, user_codes, item_ids, item_codes, times)


def _whole(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)


def _are_ids(codes: pa.DictionaryArray) -> bool:
    return all(map(str.strip, codes.dictionary.to_pylist()))


def _texts(texts: pa.Array) -> pd.Series:
    return pd.Series(texts.to_numpy(zero_copy_only=False), dtype=object)


def _ratings(texts: pa.Array) -> np.ndarray:
    """Returns float64, NaN for what is no number; few are distinct."""
    codes = texts.dictionary_encode()
    return as_numbers(_texts(codes.dictionary))[codes.indices.to_numpy()]
