"""Readers: a log, a file in one of several forms or a DataFrame -> `Interactions`.

Every way of reading a log begins with `open_log`: its batches of events are collected here, put
into shards by --mode=prepare, and grouped into histories by --mode=recommend.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from ufnrec_tf.common.errors import UserError
from ufnrec_tf.common.lookup import pick
from ufnrec_tf.common.progress import working_on
from ufnrec_tf.data.events import EventBatch, collect
from ufnrec_tf.data.interactions import REPEATS, Interactions, build_interactions
from ufnrec_tf.data.items import ItemTable
from ufnrec_tf.data.log_description import LogDescription, Note
from ufnrec_tf.data.times import AUTO, BatchTimes
from ufnrec_tf.reading.columns import IGNORED, Columns
from ufnrec_tf.reading.compressed import ENDINGS, unpacked_name
from ufnrec_tf.reading.data_files import DataFile
from ufnrec_tf.reading.event_batches import TextLog
from ufnrec_tf.reading.filters import EventFilters, Filters, apply_filters
from ufnrec_tf.reading.folder_log import FolderLog
from ufnrec_tf.reading.folders import FolderFiles, Part, files_of
from ufnrec_tf.reading.formats import READERS
from ufnrec_tf.reading.frames import FrameLog
from ufnrec_tf.reading.id_checks import IdChecks
from ufnrec_tf.reading.item_tables import read_item_table
from ufnrec_tf.reading.parquet import ParquetLog
from ufnrec_tf.reading.parquet_files import is_parquet
from ufnrec_tf.reading.text_files import TextBlocks

PARQUET = "parquet"
FileOrFrame = str | os.PathLike[str] | pd.DataFrame
"""A file or a DataFrame."""


class LogSettings(NamedTuple):
    """The settings by which a log is read; see the configuration's section `data`.

    Attributes:
        format: A key of `READERS`, "parquet", or "auto": the log itself shows which.
        columns: The user's own names of the columns.
        repeats: "keep", or "drop" all but a user's oldest event with an item.
        titles_path: The item table, a file or a DataFrame: see `item_tables.read_item_table`; ""
            takes the .item beside a .inter if there is one.
        time_unit: Of times that are numbers, a key of `TIME_UNITS`; "auto": see `times`.
        filters: The filters that reduce the log.
        title_column: The title column of the item table; see `item_tables.read_item_table`.
    """

    format: str = "auto"
    columns: Columns = Columns()
    repeats: str = "keep"
    titles_path: FileOrFrame = ""
    time_unit: str = AUTO
    filters: Filters = Filters()
    title_column: str = ""


AS_IT_IS = LogSettings()
"""Everything is guessed, nothing left out."""

RawLog = TextLog | FolderLog | ParquetLog | FrameLog
"""A log that is gone through once, batch by batch: values checked, times as the log has them."""


class Log(NamedTuple):
    """A log before it is filtered and numbered.

    Attributes:
        events: All events in file order; times in seconds since 1970 where `reading.is_epoch`.
        reading: How it was read; no filter yet.
        sha256: The hash of the file; of a DataFrame, see `frames.FrameLog`.
        source: The name of the log, for messages.
        items: The item table, or None.
        names: The names of all its columns, the unread ones too.
    """

    events: EventBatch
    reading: LogDescription
    sha256: str
    source: str
    items: ItemTable | None
    names: tuple[str, ...] = ()


def open_log(
    source: FileOrFrame,
    settings: LogSettings,
    *,
    with_ratings: bool | None = None,
    is_streamed: bool = False,
    flag: str = "--data",
) -> RawLog:
    """Returns a log, not read yet.

    Args:
        source: The file, a folder of files, or a DataFrame.
        settings: Format and columns are read.
        with_ratings: True if ratings are needed, None if `settings.filters` says whether.
        is_streamed: True if no file must be held as a whole: only tables are read then.
        flag: The flag by which the user gave the file, for messages.

    Raises:
        UserError: If the format is unknown, or there is no such file.
    """
    format = settings.format
    options = settings.filters.read_options
    if with_ratings is not None:
        options = options._replace(with_ratings=with_ratings)
    pick({name: name for name in ("auto", PARQUET, *READERS)}, format, key="data.format")
    if isinstance(source, pd.DataFrame):
        return FrameLog(source, settings.columns, options)
    file = source if isinstance(source, DataFile) else DataFile(source, flag=flag)
    columns = settings.columns
    files = FolderFiles([Part(file)], is_parquet(file), ())
    if file.is_folder:
        files = files_of(file, is_parquet_asked=format == PARQUET)
    if format == PARQUET or (format == "auto" and files.are_parquet):
        return ParquetLog(files.parts, columns=columns, options=options, notes=files.notes)
    given: dict[str, Any] = {
        "format": format,
        "columns": columns,
        "options": options,
        "is_streamed": is_streamed,
    }
    if file.is_folder:
        return FolderLog(files.parts, **given, notes=files.notes)
    return TextLog(TextBlocks(file, flag=flag), **given)


class EventStream:
    """The events of a log that filters leave, by batches; times in seconds where the unit is known.

    Only the filters of single events are applied.

    Args:
        log: What `open_log` returned; with ratings where `min_rating` needs them.
        settings: Time unit and filters are read.
        source: The name of the log, for messages.

    Raises:
        UserError: If the filters contradict each other, or the unit is unknown.
    """

    def __init__(self, log: RawLog, settings: LogSettings, *, source: str) -> None:
        self._log = log
        self._settings = settings
        self._times = BatchTimes(settings.time_unit, source=source)
        strip = settings.columns.strip
        self._ids = IdChecks(strip=strip)
        self._drops_null = settings.filters.null_ids == "drop"
        self._filters = EventFilters(settings.filters, source=source, strip=strip)

    def __iter__(self) -> Iterator[EventBatch]:
        """Yields the batches.

        Raises:
            UserError: If the log is not as expected, a filter leaves nothing, or the times are in
                another unit than they seemed to be.
        """
        for batch in self._log:
            seconds = self._times.seconds(batch.times, dates=self._log.dates)
            batch = self._ids.checked(batch)._replace(times=seconds)
            yield self._filters.kept(batch, is_epoch=self._times.is_epoch)
        self._filters.steps()
        self._times.check_end(has_window=self._filters.has_window)

    @property
    def reading(self) -> LogDescription:
        """How the log was read, once all of it was."""
        notes = (*self._log.notes, *self._ids.notes(drops_null=self._drops_null))
        return _described(self._log, self._settings, self._times, notes)._replace(
            steps=self._filters.steps()
        )


def _described(
    log: RawLog, settings: LogSettings, times: BatchTimes, notes: tuple[Note, ...]
) -> LogDescription:
    """Returns how a log was read, filters left out."""
    form, unit = settings.columns.time_format, times.unit
    if form and (unit is None or form not in unit.words):
        what = "no time column is read" if unit is None else f"its times are {unit.words}"
        words = f"data.time_format={form} has no effect, {what}"
        notes = (*notes, Note("unused_time_format", words, "leave it out"))
    return LogDescription.of_times(
        log.format,
        log.chosen,
        times.unit,
        separator=log.separator,
        found_by=log.found_by,
        notes=notes,
    )


def read_log(
    source: FileOrFrame, settings: LogSettings = AS_IT_IS, *, with_ratings: bool | None = None
) -> Log:
    """Reads a log as it is, all events in the file's order.

    Args:
        source: The file, or a DataFrame.
        settings: Repeats are not read, and no filter is applied.
        with_ratings: See `open_log`.

    Raises:
        UserError: For anything wrong with the file or the settings, naming file and line.
    """
    name = "DataFrame" if isinstance(source, pd.DataFrame) else Path(source).name
    times = BatchTimes(settings.time_unit, source=name)
    log = open_log(source, settings, with_ratings=with_ratings)
    ids = IdChecks(strip=settings.columns.strip)
    events = collect(map(ids.checked, _shown(log)))
    events = events._replace(times=times.seconds(events.times, dates=log.dates))
    found = ids.notes(drops_null=settings.filters.null_ids == "drop")
    reading = _described(log, settings, times, (*log.notes, *found))
    items = item_table_of(source, settings, reading, set(events.item_ids))
    return Log(events, reading, log.sha256, name, items, log.names)


def _shown(log: RawLog) -> Iterator[EventBatch]:
    """Yields the batches; the screen shows how far reading is where it takes long."""
    with working_on("reading rows", log.size, "bytes") as reading:
        for batch in log:
            reading.advance(log.done - reading.done)
            yield batch


def item_table_of(
    source: FileOrFrame, settings: LogSettings, reading: LogDescription, item_ids: set[str]
) -> ItemTable | None:
    """Returns the table of a log's items, or None if there is none.

    Args:
        source: The log. Beside a .inter, the .item is the table if the user names none.
        settings: `titles_path` and `title_column` are read.
        reading: How the log was read: its form, and the name of its item column.
        item_ids: Raw ids of the log.

    Raises:
        UserError: If the table cannot be read, or is of other items; if there is none and a title
            column is named.
    """
    path, title_column = settings.titles_path, settings.title_column
    if isinstance(path, pd.DataFrame) or path:
        item_column = reading.columns.get("item", "")
        return read_item_table(
            path, item_ids=item_ids, item_column=item_column, title_column=title_column
        )
    if reading.format == "inter" and not isinstance(source, pd.DataFrame):
        plain = Path(unpacked_name(source)).with_suffix(".item")
        paths = [plain, *(Path(f"{plain}{ending}") for ending in ENDINGS)]
        if beside := next((path for path in paths if path.is_file()), None):
            return read_item_table(beside, title_column=title_column)
    check_title_column(title_column)
    return None


def check_title_column(title_column: str) -> None:
    """Refuses a named title column where there is no item table.

    Raises:
        UserError: If one is named.
    """
    if title_column not in ("", IGNORED):
        raise UserError(
            f"--config.data.title_column={title_column} has no effect without an item table. Give "
            "the table as --config.data.titles=FILE, or leave it out."
        )


def read_interactions(
    source: FileOrFrame,
    *,
    format: str = "auto",
    columns: Columns = AS_IT_IS.columns,
    repeats: str = "keep",
    titles_path: FileOrFrame = "",
    time_unit: str = AUTO,
    filters: Filters = AS_IT_IS.filters,
    title_column: str = "",
) -> Interactions:
    """Reads a log, a file or a DataFrame; see `LogSettings` for the arguments.

    Raises:
        UserError: For anything wrong with the file or the settings, naming file and line.
    """
    pick({name: name for name in REPEATS}, repeats, key="data.repeats")
    settings = LogSettings(format, columns, repeats, titles_path, time_unit, filters, title_column)
    log = read_log(source, settings)
    return interactions_of(log, filters, repeats=repeats, strip=columns.strip)


def interactions_of(
    log: Log, filters: Filters, *, repeats: str = "keep", strip: bool = True
) -> Interactions:
    """Returns the interactions that filters leave of a log.

    Raises:
        UserError: If they leave nothing, or need a column that is not there.
    """
    left = apply_filters(
        log.events,
        filters,
        repeats=repeats,
        is_epoch=log.reading.is_epoch,
        source=log.source,
        strip=strip,
    )
    return build_interactions(
        left.events,
        sha256=log.sha256,
        source=log.source,
        repeats=left.repeats,
        items=log.items,
        reading=log.reading._replace(steps=left.steps),
        num_repeats_dropped=left.num_repeats_dropped,
    )
