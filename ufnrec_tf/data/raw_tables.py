"""Raw tables of published data sets in Arrow: tens of millions of lines a minute."""

import codecs
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from ufnrec_tf.common.errors import UserError, own_words
from ufnrec_tf.data.raw_rows import Events

_BLOCK = 1 << 22
ISO = "%Y-%m-%dT%H:%M:%SZ"


class TableSpec(NamedTuple):
    """Which columns of a table make an event.

    Attributes:
        user: Column of the raw user ids.
        item: Columns of the item: the first that is not blank is its id; a tuple of columns
            inside stands for their texts joined by " - ".
        time: Column of the time.
        time_scale: Seconds of one unit of a time that is a number; 0 where it is `ISO` text.
        rating: Column of the ratings, or "".
        names: Names of the columns where the table has no header.
        separator: Between fields.
        is_quoted: Whether fields may be quoted.
    """

    user: str
    item: tuple[str | tuple[str, ...], ...]
    time: str
    time_scale: float
    rating: str = ""
    names: tuple[str, ...] = ()
    separator: str = ","
    is_quoted: bool = True


class _Utf8(io.RawIOBase):
    """Bytes that are held to be text on the way.

    Arrow writes a traceback on the screen where it is to skip a row that is none.
    """

    def __init__(self, inner: io.BufferedReader, path: Path) -> None:
        super().__init__()
        self._inner = inner
        self._path = path
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._count = 0

    def readable(self) -> bool:
        """Returns True."""
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Reads into a buffer and returns how many bytes.

        Raises:
            UserError: If they are no UTF-8.
        """
        chunk = self._inner.read(len(buffer))
        try:
            self._decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            raise UserError(
                f"{self._path}: is no utf-8 text at byte {self._count + error.start:,} or so of "
                "the log in it. Remove it, and the same command gets it again."
            ) from None
        self._count += len(chunk)
        buffer[: len(chunk)] = chunk
        return len(chunk)


def read_tables(
    stream: io.BufferedReader, path: Path, spec: TableSpec
) -> Iterator[tuple[Events, pa.RecordBatch]]:
    """Yields the events of a table, and the rows that they come from.

    Rows of another number of fields, and those without a user, item or time, are left out.

    Raises:
        UserError: If it is no such table.
    """
    broken: list[int] = []

    def skip(row: pacsv.InvalidRow) -> str:
        broken.append(1)
        return "skip"

    try:
        reader = _open(_Utf8(stream, path), spec, skip)
        for batch in reader:
            events, kept = _events(batch, spec)
            yield events._replace(num_skipped=events.num_skipped + len(broken)), kept
            broken.clear()
    except pa.ArrowException as error:
        raise UserError(
            f"{path}: is no such table as its publisher describes ({own_words(error)[:200]}). "
            "Remove it, and the same command gets it again."
        ) from error


def _open(
    stream: io.RawIOBase, spec: TableSpec, skip: Callable[[pacsv.InvalidRow], str]
) -> pacsv.CSVStreamingReader:
    return pacsv.open_csv(
        stream,
        read_options=pacsv.ReadOptions(
            block_size=_BLOCK, column_names=list(spec.names) or None, use_threads=False
        ),
        parse_options=pacsv.ParseOptions(
            delimiter=spec.separator,
            quote_char='"' if spec.is_quoted else False,
            newlines_in_values=False,
            invalid_row_handler=skip,
        ),
        convert_options=pacsv.ConvertOptions(
            include_columns=_columns(spec), column_types=_types(spec), strings_can_be_null=False
        ),
    )


def _flat(spec: TableSpec) -> list[str]:
    return [n for part in spec.item for n in ((part,) if isinstance(part, str) else part)]


def _columns(spec: TableSpec) -> list[str]:
    return [spec.user, *_flat(spec), spec.time, *([spec.rating] if spec.rating else [])]


def _types(spec: TableSpec) -> dict[str, pa.DataType]:
    texts = {name: pa.string() for name in (spec.user, *_flat(spec))}
    time = pa.float64() if spec.time_scale else pa.string()
    rating = {spec.rating: pa.float64()} if spec.rating else {}
    return {**texts, spec.time: time, **rating}


def _events(batch: pa.RecordBatch, spec: TableSpec) -> tuple[Events, pa.RecordBatch]:
    """Returns a batch's events, and its rows that made one."""
    users, items = batch.column(spec.user), item_ids(batch, spec.item)
    times = batch.column(spec.time)
    if spec.time_scale:
        seconds = pc.multiply(times, pa.scalar(spec.time_scale, pa.float64()))
    else:
        parsed = pc.strptime(times, format=ISO, unit="s", error_is_null=True)
        seconds = pc.cast(pc.cast(parsed, pa.int64()), pa.float64())
    is_whole = pc.and_(
        pc.and_(pc.not_equal(users, ""), pc.not_equal(items, "")),
        pc.fill_null(pc.is_finite(seconds), False),
    )
    kept = batch.filter(is_whole)
    ratings = None
    if spec.rating:
        ratings = kept.column(spec.rating).to_numpy(zero_copy_only=False)
    events = Events(
        users.filter(is_whole),
        items.filter(is_whole),
        seconds.filter(is_whole).to_numpy(zero_copy_only=False),
        ratings,
        batch.num_rows - kept.num_rows,
    )
    return events, kept


def item_ids(batch: pa.RecordBatch, parts: tuple[str | tuple[str, ...], ...]) -> pa.Array:
    """Returns the raw item ids of rows: the first of `parts` that is not blank; string [rows]."""
    result = pa.array([""] * batch.num_rows, pa.string())
    for part in reversed(parts):
        if isinstance(part, str):
            texts = batch.column(part)
            has_text = pc.not_equal(texts, "")
        else:
            columns = [batch.column(name) for name in part]
            texts = pc.binary_join_element_wise(*columns, " - ")
            has_text = pc.not_equal(columns[-1], "")
        result = pc.if_else(has_text, texts, result)
    return result
