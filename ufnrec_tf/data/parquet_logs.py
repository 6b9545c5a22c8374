"""Parquet logs, a file or a folder of files, as batches of events."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ufnrec_tf.data.columns import (
    REQUIRED,
    Columns,
    RawLog,
    choose_columns,
    frame_of,
)
from ufnrec_tf.data.event_batches import EventBatch, arrow_batch
from ufnrec_tf.data.files import TextFile, not_readable
from ufnrec_tf.data.parquet_columns import EventColumns
from ufnrec_tf.data.times import TimeTexts
from ufnrec_tf.errors import UserError, own_words
from ufnrec_tf.workdir import sha256_of

BATCH_ROWS = 1 << 18
MAGIC = b"PAR1"


class ParquetLog:
    """One Parquet file, or all `*.parquet` of a folder in the order of their names.

    Ids may be text or whole numbers; times numbers, or dates, also as ISO 8601 texts, which become
    seconds since 1970.

    Args:
        path: The file or folder.
        columns: The columns that the user named.
        batch_rows: Events of a batch at most.
        with_ratings: Whether to read ratings.

    Attributes:
        files: What is read.
        chosen: Role -> name of the column that is read, known once the first batch was taken.
        num_bytes: Of all files.
        are_dates: Whether times are dates, known likewise.
        names: Of all columns, known likewise.
    """

    format = "parquet"

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        columns: Columns,
        batch_rows: int = BATCH_ROWS,
        with_ratings: bool = False,
    ) -> None:
        name = os.fspath(path)
        self.files = sorted(Path(name).glob("*.parquet")) if os.path.isdir(name) else [Path(name)]
        if not self.files:
            raise UserError(f"{name}: a folder without a *.parquet file: expected at least one.")
        try:
            self.num_bytes = sum(file.stat().st_size for file in self.files)
        except OSError as error:
            raise not_readable(name, error) from None
        self.chosen: dict[str, str] = {}
        self._is_folder = os.path.isdir(name)
        self._columns = columns
        self._batch_rows = batch_rows
        self._with_ratings = with_ratings
        self._texts = TimeTexts()
        self.are_dates = self._is_told = False
        self.names: tuple[str, ...] = ()

    @property
    def sha256(self) -> str:
        """Of the file's bytes; of a folder, of names and hashes of its files. Reads them all."""
        hashes = [_sha256(path) for path in self.files]
        if not self._is_folder:
            return hashes[0]
        names = (path.name for path in self.files)
        lines = (f"{sha256}  {name}\n" for name, sha256 in zip(names, hashes, strict=True))
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def num_rows(self) -> int:
        """Returns the number of events of all files.

        Raises:
            UserError: If one is no Parquet file.
        """
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
            batches = file.iter_batches(
                self._batch_rows, columns=list(own.values()), use_threads=False
            )
            while (batch := _next(batches, path)) is not None:
                columns = EventColumns(path, batch, first_row, self._texts)
                yield _event_batch(columns, own)
                self._check_dates(path, columns.are_dates)
                first_row += batch.num_rows

    def _check_dates(self, path: Path, are_dates: bool) -> None:
        """Refuses dates in one file of a folder beside numbers in another."""
        if self._is_told and are_dates != self.are_dates:
            raise UserError(
                f"{path}: its times are {'dates' if are_dates else 'numbers'}, and those of "
                f"{self.files[0].name} are not: expected the same in all files of a folder."
            )
        self.are_dates, self._is_told = are_dates, True


def _event_batch(columns: EventColumns, names: dict[str, str]) -> EventBatch:
    users, items = (columns.ids(role, names[role]) for role in REQUIRED)
    times = columns.times(names["time"]) if "time" in names else None
    batch = arrow_batch(users, items, times)
    return batch._replace(ratings=columns.ratings(names["rating"])) if "rating" in names else batch


def read_raw(log: ParquetLog) -> RawLog:
    """Returns all events, as the readers of text do: object(str) ids, float64 times."""
    known: dict[str, str] = {}  # one object an id, however often it occurs
    pieces: dict[str, list[np.ndarray]] = {}
    for batch in log:
        for role, ids, codes in (
            ("user", batch.user_ids, batch.users),
            ("item", batch.item_ids, batch.items),
        ):
            own = np.array([known.setdefault(id, id) for id in ids], dtype=object)
            pieces.setdefault(role, []).append(own[codes])
        for role, numbers in (("time", batch.times), ("rating", batch.ratings)):
            if numbers is not None:
                pieces.setdefault(role, []).append(numbers)
    whole = {role: np.concatenate(parts) for role, parts in pieces.items()}
    return RawLog(frame_of(whole), dict(log.chosen), log.are_dates, log.names)


def is_parquet(path: str | os.PathLike[str]) -> bool:
    """Whether a file begins and ends as Parquet does."""
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
    except (OSError, pa.ArrowException) as error:
        raise _not_parquet(path, error) from None


def _next(batches: Iterator[pa.RecordBatch], path: Path) -> pa.RecordBatch | None:
    try:
        if (batch := next(batches, None)) is not None:
            # Reading checks neither that texts are UTF-8 nor that codes have an entry.
            batch.validate(full=True)
        return batch
    except (OSError, pa.ArrowException) as error:
        raise _not_parquet(path, error) from None


def _not_parquet(path: Path, error: Exception) -> UserError:
    if isinstance(error, (FileNotFoundError, PermissionError)):
        return not_readable(str(path), error)
    return UserError(
        f"{path}: cannot be read as Parquet ({own_words(error)[:200]}): expected a whole Parquet "
        "file; write it again."
    )


def _sha256(path: Path) -> str:
    try:
        return sha256_of(path)
    except OSError as error:
        raise not_readable(str(path), error) from None
