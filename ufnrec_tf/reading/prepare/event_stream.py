"""A log read once from its beginning, filtered on the way."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ufnrec_tf.common.errors import UserError
from ufnrec_tf.data.items import ItemTable
from ufnrec_tf.data.log_description import FilterStep, LogDescription
from ufnrec_tf.data.times import AUTO, DATES, TimeUnit, tell_unit
from ufnrec_tf.reading.columns import Columns
from ufnrec_tf.reading.event_batches import BLOCK_BYTES, EventBatch, LogBlocks, TextLog
from ufnrec_tf.reading.filters import (
    Filters,
    Window,
    check_filters,
    excluded_words,
    no_rating_error,
    read_users,
    refuse_nothing_left,
    window_of,
)
from ufnrec_tf.reading.formats import csv_table, dat_table, detect_format, json_table, typed_table
from ufnrec_tf.reading.item_tables import read_item_table
from ufnrec_tf.reading.parquet import BATCH_ROWS, ParquetLog, is_parquet
from ufnrec_tf.reading.prepare.prepared_folder import MANIFEST
from ufnrec_tf.reading.rows import Table
from ufnrec_tf.reading.text_files import TextFile, read_error


class StreamedFilters:
    """What `filters.apply_filters` does by user, rating and date, a batch at a time.

    The unit of times is told by the first batch; that it is the unit of all is known at the end.

    Args:
        filters: The filters; those by numbers of events are not looked at.
        time_unit: See `times.tell_unit`.
        source: What to call the log.

    Attributes:
        unit: Of the times, once the first batch was taken; None where there are none.

    Raises:
        UserError: If the file of `exclude_users` cannot be read.
    """

    def __init__(self, filters: Filters, *, time_unit: str, source: str) -> None:
        self._filters = filters
        self._time_unit = time_unit
        self._source = source
        self.unit: TimeUnit | None = None
        self._window: Window | None = None
        self._is_begun = False
        self._low, self._high = np.inf, -np.inf
        self._excluded: frozenset[str] = frozenset()
        if filters.exclude_users:
            self._excluded = read_users(filters.exclude_users)
        self._found: set[str] = set()
        self._steps: list[tuple[str, str]] = []
        self._counts: list[int] = []

    def kept(self, batch: EventBatch, *, are_dates: bool) -> EventBatch:
        """Returns what is left of a batch, times in seconds where these are told.

        Args:
            batch: The next events, times as the file has them.
            are_dates: Whether these are seconds already.

        Raises:
            UserError: If a filter needs a column that is not there.
        """
        if batch.times is not None and len(batch.times):
            self._low = min(self._low, float(batch.times.min()))
            self._high = max(self._high, float(batch.times.max()))
        if not self._is_begun:
            self._begin(batch, are_dates)
        if self.unit is not None and self.unit.per_second != 1 and batch.times is not None:
            batch = batch._replace(times=batch.times / self.unit.per_second)
        for place, (name, _) in enumerate(self._steps):
            self._counts[place] += len(batch.items)
            if name == "exclude_users":
                batch = self._without_excluded(batch)
            elif name == "window" and self._window is not None and batch.times is not None:
                batch = batch.kept(self._window.holds(batch.times))
            elif batch.ratings is not None:
                batch = batch.kept(batch.ratings >= self._filters.min_rating)
        self._counts[-1] += len(batch.items)
        return batch

    def _without_excluded(self, batch: EventBatch) -> EventBatch:
        """Returns the events of users who are not excluded, and notes the others."""
        is_excluded = np.array([user in self._excluded for user in batch.user_ids], bool)
        self._found.update(batch.user_ids[is_excluded])
        return batch.kept(~is_excluded[batch.users])

    def _begin(self, batch: EventBatch, are_dates: bool) -> None:
        self._is_begun = True
        has_times = batch.times is not None
        if has_times:
            told = tell_unit(self._low, self._high, asked=self._time_unit)
            self.unit = DATES if are_dates else told
        is_epoch = self.unit is not None and self.unit.is_epoch
        self._window = window_of(
            self._filters, has_times=has_times, is_epoch=is_epoch, source=self._source
        )
        if self._excluded:
            self._steps.append(("exclude_users", ""))  # its words are known at the end
        if self._filters.min_rating:
            if batch.ratings is None:
                raise no_rating_error(self._source)
            words = f"rating of at least {self._filters.min_rating:g}"
            self._steps.append(("min_rating", words))
        if self._window is not None:
            self._steps.append(("window", self._window.words))
        self._counts = [0] * (len(self._steps) + 1)

    def check_end(self) -> None:
        """Checks what is known once all batches were taken.

        Raises:
            UserError: If nothing is left, or the times are in another unit than they seemed to be.
        """
        for step in self.steps():
            if not step.after["events"]:
                raise refuse_nothing_left(self._source, step.words, step.before["events"])
        if self.unit is None or self.unit == DATES:
            return
        told = tell_unit(self._low, self._high, asked=self._time_unit)
        if told.per_second != self.unit.per_second or (
            self._window is not None and told.is_epoch != self.unit.is_epoch
        ):
            raise UserError(
                f"{self._source}: its times seemed to be {self.unit.words}, but they run from "
                f"{self._low:.15g} to {self._high:.15g}: expected one unit; say which with "
                "--config.data.time_unit=s|ms|us|ns, or mend the file."
            )
        self.unit = told

    def steps(self) -> tuple[FilterStep, ...]:
        """Returns what was done, in numbers of events."""
        steps = []
        for place, (name, words) in enumerate(self._steps):
            before, after = self._counts[place : place + 2]
            if name == "exclude_users":
                words = excluded_words(len(self._excluded), len(self._found), before - after)
            steps.append(FilterStep(name, words, {"events": before}, {"events": after}))
        return tuple(steps)


PARQUET = "parquet"
_ROW_BYTES = 32  # of a text log, about: what a Parquet log of as many rows is taken for
_TABLES = {"inter": typed_table, "csv": csv_table, "jsonl": json_table, "dat": dat_table}


class LogSettings(NamedTuple):
    """How a log is read; see the configuration's section `data`.

    Attributes:
        format: auto, inter, csv, jsonl, dat or parquet.
        columns: The user's own names of the columns.
        repeats: keep or drop.
        titles_path: A table of items, or empty.
        time_unit: Of times that are numbers.
        filters: What the log is reduced to.
    """

    format: str
    columns: Columns
    repeats: str
    titles_path: str
    time_unit: str = AUTO
    filters: Filters = Filters()


class LargeLog:
    """The log that is read, once.

    Args:
        path: A CSV, TSV, .inter or Parquet file, or a folder of Parquet files.
        settings: How it is read.

    Attributes:
        path: As given.
        settings: As given.
        num_bytes: Bytes on the disk.
        size: Bytes that it has as text, about.
        num_events: Events read so far.

    Raises:
        UserError: If it cannot be opened, or a filter needs all of it at once.
    """

    def __init__(self, path: str, settings: LogSettings) -> None:
        self.path = path
        self.settings = settings
        self.num_events = 0
        self._refuse_filters()
        self._filters = StreamedFilters(
            settings.filters, time_unit=settings.time_unit, source=Path(path).name
        )
        self._blocks: LogBlocks | None = None
        self._reader: TextLog | ParquetLog
        if os.path.isdir(path) and (Path(path) / MANIFEST).exists():
            raise UserError(
                f"{path}: is prepared already: expected a log; --data takes it as it is."
            )
        is_told = settings.format == "auto" and (os.path.isdir(path) or is_parquet(path))
        if is_told or settings.format == PARQUET:
            parquet = ParquetLog(
                path,
                columns=settings.columns,
                batch_rows=BATCH_ROWS,
                with_ratings=settings.filters.min_rating != 0,
            )
            self.num_bytes, self.size = parquet.num_bytes, parquet.num_rows() * _ROW_BYTES
            self._reader = self._parquet = parquet
            return
        self._blocks = LogBlocks(path, block_bytes=BLOCK_BYTES)
        self._reader = TextLog(self._blocks, layout=self._layout, columns=settings.columns)
        try:
            self.num_bytes = self.size = os.stat(path).st_size
        except (OSError, ValueError) as error:
            raise read_error(path, error) from None

    def __iter__(self) -> Iterator[EventBatch]:
        """Yields what filters leave of the batches, times in seconds where these are told.

        Raises:
            UserError: As `TextLog`, `ParquetLog` and `StreamedFilters`.
        """
        for batch in self._reader:
            self.num_events += len(batch.items)
            yield self._filters.kept(batch, are_dates=self._reader.are_dates)
        self._filters.check_end()

    @property
    def done(self) -> int:
        """How much of `size` has been read."""
        if self._blocks is not None:
            return self._blocks.num_bytes
        return self.num_events * _ROW_BYTES

    @property
    def asked(self) -> dict[str, Any]:
        """What the user said of the log, fit for JSON."""
        values = self.settings._asdict() | vars(self.settings.columns)
        del values["columns"], values["filters"], values["time_unit"]
        # Only where they say something: folders of before know nothing of them.
        default = LogSettings("", Columns(), "", "")
        if self.settings.time_unit != default.time_unit:
            values["time_unit"] = self.settings.time_unit
        asked, nothing = self.settings.filters.described(), default.filters.described()
        return values | {key: value for key, value in asked.items() if value != nothing[key]}

    @property
    def found(self) -> dict[str, Any]:
        """What the log turned out to be, once the first batch was taken; fit for JSON."""
        unit = self._filters.unit
        reading = LogDescription(
            self._reader.format, self._reader.chosen, steps=self._filters.steps()
        )
        if unit is not None:
            reading = reading._replace(time_unit=unit.words, is_epoch=unit.is_epoch)
        return reading.as_json()

    def sha256(self) -> str:
        """Returns the hash of the log: of text that was read the one of what was read."""
        if self._blocks is None:
            return self._parquet.sha256
        if not self._blocks.num_bytes:
            for _ in self._blocks:
                pass
        return self._blocks.sha256

    def item_table(self, item_ids: list[str]) -> ItemTable | None:
        """Returns what is known of items, or None where there is no table of them."""
        beside = Path(self.path).with_suffix(".item")
        if self.settings.titles_path:
            return read_item_table(self.settings.titles_path, item_ids=set(item_ids))
        is_there = self._reader.format == "inter" and beside.is_file()
        return read_item_table(beside) if is_there else None

    def _refuse_filters(self) -> None:
        filters = self.settings.filters
        check_filters(filters)
        if filters.needs_all:
            raise UserError(
                f"{self.path}: --mode=prepare reads a log once, from its beginning, and takes "
                "--config.data.exclude_users, min_rating, start and end only: k_core, "
                "min_user_events, min_item_events and min_length need all of it. Leave them out, "
                "or train on the log itself."
            )

    def _layout(self, head: TextFile) -> tuple[str, Table]:
        """Returns format and layout by the start of the file."""
        columns, format = self.settings.columns, self.settings.format
        format = detect_format(head, columns) if format == "auto" else format
        if format not in _TABLES:
            raise head.error(
                f"read as {format}, which --mode=prepare does not take: expected Parquet, or one "
                "event a line below a header such as user_id,item_id,timestamp (commas or tabs); "
                "put such a line on top and separate the fields so."
            )
        return format, _TABLES[format](head, columns)
