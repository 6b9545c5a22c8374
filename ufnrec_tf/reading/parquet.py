"""Parquet files and folders as events."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ufnrec_tf.common.errors import UserError, own_words
from ufnrec_tf.common.files import sha256_of
from ufnrec_tf.data.events import EventBatch
from ufnrec_tf.data.times import TYPED_DATES, TimeTexts, TimeUnit
from ufnrec_tf.reading.columns import IGNORED, REQUIRED, Columns, choose_columns
from ufnrec_tf.reading.event_batches import arrow_batch
from ufnrec_tf.reading.text_files import TextFile, read_error


class EventColumns:
    """A batch's columns, checked; errors name file and row."""

    def __init__(self, path: Path, batch: pa.RecordBatch, first_row: int, texts: TimeTexts) -> None:
        self.are_dates = False
        self._texts = texts
        self._path = path
        self._batch = batch
        self._first_row = first_row

    def ids(self, role: str, name: str) -> pa.DictionaryArray:
        """Returns the raw ids of a column as a dictionary of strings."""
        column = self._batch.column(name)
        kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        if not (_is_text(kind) or pa.types.is_integer(kind)):
            raise UserError(
                f"{self._path}: the {role} column {name!r} holds {column.type}: expected text or "
                "whole numbers; convert it, or name another with "
                f"--config.data.{role}_column=NAME."
            )
        self._refuse_first(pc.is_null(column), f"no {role} id: expected any text; fill it in")
        codes = column.cast(pa.string()).dictionary_encode()
        ids = codes.dictionary.to_pylist()
        for is_wrong, what in (
            ([not id.strip() for id in ids], f"an empty {role} id: expected any text; fill it in"),
            (["\0" in id for id in ids], f"a {role} id with a NUL: expected text; mend it"),
        ):
            if any(is_wrong):
                where = pa.array(np.array(is_wrong)[codes.indices.to_numpy()])
                self._refuse_first(where, what)
        return codes

    def times(self, name: str) -> np.ndarray:
        """Returns the times of a column, float64; of dates the seconds since 1970."""
        column = self._batch.column(name)
        kind = column.type
        if pa.types.is_dictionary(kind):
            column = column.dictionary_decode()
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
        self._refuse_first(
            pa.array(~np.isfinite(values)), "no finite time: expected a number; mend it"
        )
        return values.astype(np.float64)

    def _iso(self, column: pa.Array, name: str) -> np.ndarray:
        """Returns the times of a column of texts."""
        texts = pd.Series(column.to_numpy(zero_copy_only=False), dtype=object).fillna("")
        values = self._texts.read(texts)
        self.are_dates = bool(self._texts.are_dates)
        if not np.isfinite(values).all():
            at = int(np.argmin(np.isfinite(values)))
            raise UserError(
                f"{self._path}, row {self._first_row + at}: the time column {name!r} holds "
                f"{texts[at][:40]!r}: expected numbers, dates or ISO 8601 texts such as "
                f"2019-01-31; mend it, or leave it unread with "
                f"--config.data.time_column={IGNORED}."
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

MAGIC = b"PAR1"
_ROW_BYTES = 32


class ParquetLog:
    """One Parquet file, or all `*.parquet` of a folder in the order of their names.

    Ids may be text or whole numbers; times numbers, or dates, also as ISO 8601 texts, which become
    seconds since 1970.

    Args:
        path: The file or folder.
        columns: The columns that the user named.
        with_ratings: True to read ratings.

    Attributes:
        files: The files that are read.
        chosen: Role -> name of the column that is read, known once the first batch was taken.
        num_bytes: Bytes of all files.
        size: Bytes that a text log of as many rows has, about.
        done: How much of `size` has been read.
        names: The names of all columns, known then too.
    """

    format = "parquet"

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        columns: Columns,
        with_ratings: bool = False,
    ) -> None:
        name = os.fspath(path)
        self.files = sorted(Path(name).glob("*.parquet")) if os.path.isdir(name) else [Path(name)]
        if not self.files:
            raise UserError(f"{name}: a folder without a *.parquet file: expected at least one.")
        try:
            self.num_bytes = sum(file.stat().st_size for file in self.files)
        except OSError as error:
            raise read_error(name, error) from None
        self.size = self._num_rows() * _ROW_BYTES
        self.done = 0
        self.chosen: dict[str, str] = {}
        self._is_folder = os.path.isdir(name)
        self._columns = columns
        self._with_ratings = with_ratings
        self._texts = TimeTexts()
        self._are_dates: bool | None = None
        self.names: tuple[str, ...] = ()

    @property
    def dates(self) -> TimeUnit | None:
        """The unit of times that are dates, known once the first batch was taken, or None."""
        return TYPED_DATES if self._are_dates else None

    @property
    def sha256(self) -> str:
        """The hash of the file, or of the names and hashes of a folder's files. Reads them all."""
        hashes = [_sha256(path) for path in self.files]
        if not self._is_folder:
            return hashes[0]
        names = (path.name for path in self.files)
        lines = (f"{sha256}  {name}\n" for name, sha256 in zip(names, hashes, strict=True))
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def _num_rows(self) -> int:
        """Returns the number of events of all files."""
        total = 0
        for path in self.files:
            with _open(path) as file:
                total += file.metadata.num_rows
        return total

    def __iter__(self) -> Iterator[EventBatch]:
        """Yields the batches.

        Raises:
            UserError: If a file is not as expected, naming file and row.
        """
        is_empty = True
        for path in self.files:
            for batch in self._batches(path):
                is_empty = False
                yield batch
        if is_empty:
            raise UserError(f"{self.files[0]}: no events: expected at least one row.")

    def _batches(self, path: Path) -> Iterator[EventBatch]:
        named = TextFile(str(path), b"", "")
        with _open(path) as file:
            names = file.schema_arrow.names
            self.names = tuple(names)
            chosen = choose_columns(named, (None, names), self._columns)
            if not self._with_ratings:
                chosen.pop("rating", None)  # typed already, and not used
            own = {role: names[index] for role, index in chosen.items()}
            if self.chosen and own != self.chosen:
                raise UserError(
                    f"{path}: would be read by columns {own}, and {self.files[0].name} by "
                    f"{self.chosen}: expected the same columns in all files of a folder."
                )
            self.chosen, first_row = own, 1
            # Not in threads: memory would grow with their number.
            batches = file.iter_batches(BATCH_ROWS, columns=list(own.values()), use_threads=False)
            while (batch := _next(batches, path)) is not None:
                columns = EventColumns(path, batch, first_row, self._texts)
                events = _event_batch(columns, own)
                self.done += events.num_events * _ROW_BYTES
                self._check_dates(path, columns.are_dates)
                yield events
                first_row += batch.num_rows

    def _check_dates(self, path: Path, are_dates: bool) -> None:
        """Refuses dates in one file of a folder beside numbers in another."""
        if self._are_dates not in (None, are_dates):
            raise UserError(
                f"{path}: its times are {'dates' if are_dates else 'numbers'}, and those of "
                f"{self.files[0].name} are not: expected the same in all files of a folder."
            )
        self._are_dates = are_dates


def _event_batch(columns: EventColumns, names: dict[str, str]) -> EventBatch:
    users, items = (columns.ids(role, names[role]) for role in REQUIRED)
    times = columns.times(names["time"]) if "time" in names else None
    ratings = columns.ratings(names["rating"]) if "rating" in names else None
    return arrow_batch(users, items, times, ratings)


def is_parquet(path: str | os.PathLike[str]) -> bool:
    """Returns True if a file begins and ends as Parquet does."""
    try:
        with open(path, "rb") as file:
            start = file.read(len(MAGIC))
            file.seek(-len(MAGIC), os.SEEK_END)
            return start == MAGIC == file.read()
    except (OSError, ValueError):
        return False  # whoever reads it will say why


def _open(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise _not_parquet(path, error) from None


def _next(batches: Iterator[pa.RecordBatch], path: Path) -> pa.RecordBatch | None:
    try:
        if (batch := next(batches, None)) is not None:
            # Reading checks neither that texts are UTF-8 nor that codes have an entry.
            batch.validate(full=True)
        return batch
    except (OSError, ValueError, pa.ArrowException) as error:
        raise _not_parquet(path, error) from None


def _not_parquet(path: Path, error: Exception) -> UserError:
    if isinstance(error, (FileNotFoundError, PermissionError)):
        return read_error(str(path), error)
    return UserError(
        f"{path}: cannot be read as Parquet ({own_words(error)[:200]}): expected a whole Parquet "
        "file; write it again."
    )


def _sha256(path: Path) -> str:
    try:
        return sha256_of(path)
    except OSError as error:
        raise read_error(str(path), error) from None
