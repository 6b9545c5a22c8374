"""Parquet files and folders as events."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ufnrec_tf.common.errors import UserError, own_words
from ufnrec_tf.common.text import is_null_word
from ufnrec_tf.data.events import EventBatch
from ufnrec_tf.data.log_description import BY_VALUES, Note
from ufnrec_tf.data.times import TYPED_DATES, TimeTexts, TimeUnit
from ufnrec_tf.reading.column_kinds import FIRST_ROWS
from ufnrec_tf.reading.column_names import REQUIRED
from ufnrec_tf.reading.columns import (
    IGNORED,
    READ_ALL,
    Columns,
    ReadOptions,
    choose_columns,
    first_fault,
)
from ufnrec_tf.reading.data_files import DataFile, read_error
from ufnrec_tf.reading.event_batches import arrow_batch
from ufnrec_tf.reading.folders import Part, sha256_of_parts
from ufnrec_tf.reading.id_checks import spoilt_id
from ufnrec_tf.reading.text_files import TextFile


class EventColumns:
    """A batch's columns, checked; errors name file and row."""

    def __init__(
        self,
        path: str,
        batch: pa.RecordBatch,
        first_row: int,
        texts: TimeTexts,
        *,
        format: str = "",
        options: ReadOptions = READ_ALL,
    ) -> None:
        self.are_dates = False
        self._format = format
        self._options = options
        self._texts = texts
        self._path = path
        self._batch = batch
        self._first_row = first_row

    def ids(self, role: str, name: str) -> pa.DictionaryArray:
        """Returns the raw ids of a column as a dictionary of strings."""
        column = self._batch.column(name)
        kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        if not (_is_text(kind) or pa.types.is_integer(kind)):
            remedy = "convert it"
            if pa.types.is_nested(kind):
                remedy = f"make a row of each event (pandas: frame.explode({name!r}))"
            raise UserError(
                f"{self._path}: the {role} column {name!r} holds {column.type}: expected text or "
                f"whole numbers; {remedy}, or name another with --config.data.{role}_column=NAME."
            )
        may_lack = self._options.without_ids
        drop = "leave such rows out with --config.data.null_ids=drop,"
        if may_lack:
            column = column.cast(pa.string()).fill_null("")
        what = f"no {role} id: expected any text; fill it in, {drop}"
        self._refuse_first(pc.is_null(column), what)
        codes = column.cast(pa.string()).dictionary_encode()
        ids = codes.dictionary.to_pylist()
        spoilt, why = spoilt_id(ids, role) or ("", "")
        for is_wrong, what in (
            (
                [not (may_lack or id.strip()) for id in ids],
                f"an empty {role} id: expected any text; fill it in, {drop}",
            ),
            (["\0" in id for id in ids], f"a {role} id with a NUL: expected text; mend it"),
            ([bool(why) and id == spoilt for id in ids], why),
        ):
            if any(is_wrong):
                where = pa.array(np.array(is_wrong)[codes.indices.to_numpy()])
                self._refuse_first(where, what)
        return codes

    def types(self, name: str) -> pa.DictionaryArray:
        """Returns the event types of a column as a dictionary of strings, "" for none."""
        column = self._batch.column(name)
        if pa.types.is_nested(column.type):
            raise UserError(
                f"{self._path}: the column of event types {name!r} holds {column.type}: expected "
                "text; convert it, or name another with --config.data.event_column=NAME."
            )
        texts = column.cast(pa.string()).fill_null("")
        return pc.utf8_trim_whitespace(texts).dictionary_encode()

    def times(self, name: str) -> np.ndarray:
        """Returns the times of a column, float64; of dates the seconds since 1970."""
        column = self._batch.column(name)
        kind = column.type
        if pa.types.is_dictionary(kind):
            column = column.dictionary_decode()
            kind = column.type
        if self._format and pa.types.is_integer(kind):
            column = column.cast(pa.string())  # 20240131
            kind = column.type
        if _is_text(kind):
            return self._iso(column, name)
        if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
            self.are_dates = True
            seconds = column.cast(pa.timestamp("us", getattr(kind, "tz", None)), safe=False)
            values = seconds.cast(pa.int64()).to_numpy(zero_copy_only=False) / 1e6
        elif _is_number(kind):
            values = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        else:
            raise UserError(
                f"{self._path}: the time column {name!r} holds {kind}: expected numbers or dates; "
                f"convert it, or leave it unread with --config.data.time_column={IGNORED}."
            )
        is_wrong = ~np.isfinite(values)
        what = "no finite time: expected a number; mend it"
        if column.null_count:
            is_null = pc.is_null(column).to_numpy(zero_copy_only=False)
            values = np.where(is_null, np.nan, values)  # those of dates are numbers
            is_wrong |= is_null
            if self._options.without_times:
                is_wrong &= ~is_null
            what += ", leave such rows out with --config.data.null_times=drop,"
        self._refuse_first(pa.array(is_wrong), what)
        return values.astype(np.float64)

    def _iso(self, column: pa.Array, name: str) -> np.ndarray:
        """Returns the times of a column of texts."""
        texts = pd.Series(column.to_numpy(zero_copy_only=False), dtype=object).fillna("")
        values = self._texts.read(texts)
        self.are_dates = bool(self._texts.are_dates)
        at = first_fault(texts, values, is_missing_allowed=self._options.without_times)
        if at is not None:
            text = texts[at]
            drop = "leave such rows out with --config.data.null_times=drop, " * is_null_word(text)
            raise UserError(
                f"{self._path}, row {self._first_row + at}: the time column {name!r} holds "
                f"{text[:40]!r}, which {self._texts.fault(text)}; mend it, {drop}"
                f"or leave it unread with --config.data.time_column={IGNORED}."
            )
        return values

    def ratings(self, name: str) -> np.ndarray:
        """Returns the ratings of a column, float64."""
        column = self._batch.column(name)
        if not _is_number(column.type):
            raise UserError(
                f"{self._path}: the rating column {name!r} holds {column.type}: expected numbers; "
                "convert it, or name another with --config.data.rating_column=NAME."
            )
        values = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        what = "no finite rating: expected a number; mend it"
        self._refuse_first(pa.array(~np.isfinite(values)), what)
        return values

    def _refuse_first(self, is_wrong: pa.Array, what: str) -> None:
        if pc.any(is_wrong).as_py():
            row = self._first_row + is_wrong.index(True).as_py()
            raise UserError(f"{self._path}, row {row}: {what} or delete the row.")


def _is_text(kind: pa.DataType) -> bool:
    return any(
        is_kind(kind)
        for is_kind in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    )


def _is_number(kind: pa.DataType) -> bool:
    return any(
        is_kind(kind)
        for is_kind in (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal)
    )


BATCH_ROWS = 1 << 18
"""Events of a batch at most."""

_ROW_BYTES = 32


class ParquetLog:
    """One Parquet file, or the files of a folder in the order of their names.

    Ids may be text or whole numbers; times numbers, or dates, also as ISO 8601 texts, which become
    seconds since 1970.

    Args:
        parts: The files.
        columns: The columns that the user named.
        options: What the filters need.
        notes: What is known of the files.

    Attributes:
        chosen: Role -> name of the column that is read, known once the first batch was taken.
        num_bytes: Bytes of all files.
        size: Bytes that a text log of as many rows has, about.
        done: How much of `size` has been read.
        names: The names of all columns, known then too.
    """

    format = "parquet"
    separator = ""

    def __init__(
        self,
        parts: list[Part],
        *,
        columns: Columns,
        options: ReadOptions = READ_ALL,
        notes: tuple[Note, ...] = (),
    ) -> None:
        self._parts = parts
        self.num_bytes = sum(part.file.size for part in parts)
        self.size = self._num_rows() * _ROW_BYTES
        self.done = 0
        self.chosen: dict[str, str] = {}
        self._columns = columns
        self._options = options
        self._texts = TimeTexts(columns.time_format)
        self.found_by: dict[str, str] = {}
        self.notes = notes
        self._are_dates: bool | None = None
        self.names: tuple[str, ...] = ()

    @property
    def dates(self) -> TimeUnit | None:
        """The unit of times that are dates, known once the first batch was taken, or None."""
        return (self._texts.unit or TYPED_DATES) if self._are_dates else None

    @property
    def sha256(self) -> str:
        """The hash of the file, or of the names and hashes of a folder's files. Reads them all."""
        is_folder = bool(self._parts[0].name)
        return sha256_of_parts(self._parts) if is_folder else self._parts[0].file.sha256

    def _num_rows(self) -> int:
        """Returns the number of events of all files."""
        total = 0
        for part in self._parts:
            with _open(part.file) as file:
                total += file.metadata.num_rows
        return total

    def __iter__(self) -> Iterator[EventBatch]:
        """Yields the batches.

        Raises:
            UserError: If a file is not as expected, naming file and row.
        """
        is_empty = True
        for part in self._parts:
            for batch in self._batches(part):
                is_empty = False
                yield batch
        if is_empty:
            raise UserError(f"{self._parts[0].file.name}: no events: expected at least one row.")

    def _batches(self, part: Part) -> Iterator[EventBatch]:
        path = part.file.name
        named = TextFile(path, b"", "")
        with _open(part.file) as file:
            real = file.schema_arrow.names
            # A column of the file itself comes before a folder's name.
            extra = {name: text for name, text in part.partitions.items() if name not in real}
            names = [*real, *extra]
            self.names = tuple(names)
            chosen = choose_columns(
                named,
                (None, names),
                self._chosen_before(),
                first_rows=_first_rows(file, part.file, extra),
                with_ratings=self._options.with_ratings,
                with_events=self._options.with_events,
            )
            own = chosen.names_of(names)
            if self.chosen and own != self.chosen:
                raise UserError(
                    f"{path}: would be read by columns {own}, and {self._first} by "
                    f"{self.chosen}: expected the same columns in all files of a folder."
                )
            if not self.chosen:
                self.found_by = chosen.found_by
                self.notes += chosen.notes
            self.chosen, first_row = own, 1
            # Not in threads: memory would grow with their number.
            read = [name for name in own.values() if name not in extra]
            batches = file.iter_batches(BATCH_ROWS, columns=read, use_threads=False)
            while (batch := _next(batches, part.file)) is not None:
                for name, text in extra.items():
                    batch = batch.append_column(name, pa.repeat(text, batch.num_rows))
                columns = EventColumns(
                    path,
                    batch,
                    first_row,
                    self._texts,
                    format=self._columns.time_format,
                    options=self._options,
                )
                events = _event_batch(columns, own)
                self.done += events.num_events * _ROW_BYTES
                self._check_dates(path, columns.are_dates)
                yield events
                first_row += batch.num_rows

    @property
    def _first(self) -> str:
        return Path(self._parts[0].file.name).name

    def _chosen_before(self) -> Columns:
        """Returns the columns to look for: the time column of the first file in all others."""
        if self.found_by.get("time") != BY_VALUES:
            return self._columns
        return replace(self._columns, time=self.chosen["time"])

    def _check_dates(self, path: str, are_dates: bool) -> None:
        """Refuses dates in one file of a folder beside numbers in another."""
        if self._are_dates not in (None, are_dates):
            raise UserError(
                f"{path}: its times are {'dates' if are_dates else 'numbers'}, and those of "
                f"{self._first} are not: expected the same in all files of a folder."
            )
        self._are_dates = are_dates


def _event_batch(columns: EventColumns, names: dict[str, str]) -> EventBatch:
    users, items = (columns.ids(role, names[role]) for role in REQUIRED)
    times = columns.times(names["time"]) if "time" in names else None
    ratings = columns.ratings(names["rating"]) if "rating" in names else None
    types = columns.types(names["event"]) if "event" in names else None
    return arrow_batch(users, items, times, ratings, types)


def _first_rows(
    file: pq.ParquetFile, source: DataFile, extra: Mapping[str, str]
) -> list[pd.Series]:
    """Returns the first values of each column; none where they cannot be read or are nested.

    Args:
        file: The file.
        source: The file as the user gave it.
        extra: Name of a further column -> its one value.
    """
    schema = file.schema_arrow
    if len(set(schema.names)) < len(schema.names):
        return []  # refused, if it is one of those that are read
    simple = [field.name for field in schema if not pa.types.is_nested(field.type)]
    batches = file.iter_batches(FIRST_ROWS, columns=simple, use_threads=False)
    batch = _next(batches, source)
    if batch is None:
        return []
    values = {name: _values(column) for name, column in zip(simple, batch.columns, strict=True)}
    none = pd.Series([None] * batch.num_rows, dtype=object)
    further = [pd.Series([text] * batch.num_rows, dtype=object) for text in extra.values()]
    return [*(values.get(name, none) for name in schema.names), *further]


def _values(column: pa.Array) -> pd.Series:
    """Returns the values of a column as pandas has them; of what it cannot have, nothing."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    kind = column.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        column = column.cast(pa.timestamp("us", getattr(kind, "tz", None)), safe=False)
    elif not (_is_text(kind) or _is_number(kind) or pa.types.is_time(kind)):
        return pd.Series([None] * len(column), dtype=object)
    try:
        if pa.types.is_decimal(kind):
            column = column.cast(pa.float64(), safe=False)
        values = column.to_pandas()
        return values.astype(object) if _is_text(kind) else values
    except (ValueError, OverflowError, KeyError, pa.ArrowException):
        return pd.Series([None] * len(column), dtype=object)


def _open(file: DataFile) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(file.local)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise _not_parquet(file, error) from None


def _next(batches: Iterator[pa.RecordBatch], file: DataFile) -> pa.RecordBatch | None:
    try:
        if (batch := next(batches, None)) is not None:
            # Reading checks neither that texts are UTF-8 nor that codes have an entry.
            batch.validate(full=True)
        return batch
    except (OSError, ValueError, pa.ArrowException) as error:
        raise _not_parquet(file, error) from None


def _not_parquet(file: DataFile, error: Exception) -> UserError:
    if isinstance(error, (FileNotFoundError, PermissionError)):
        return read_error(file.name, error)
    return UserError(
        f"{file.name}: cannot be read as Parquet ({own_words(error)[:200]}): expected a whole "
        "Parquet file; write it again."
    )
