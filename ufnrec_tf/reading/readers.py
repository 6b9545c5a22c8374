"""Readers: a log, a file in one of several forms or a DataFrame -> `Interactions`."""

import os
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from ufnrec_tf.common.errors import UserError
from ufnrec_tf.common.lookup import pick
from ufnrec_tf.data.interactions import REPEATS, Interactions, build_interactions
from ufnrec_tf.data.items import ItemTable
from ufnrec_tf.data.log_description import LogDescription
from ufnrec_tf.data.times import AUTO, DATES, TIME_UNITS, TYPED_DATES, tell_unit
from ufnrec_tf.reading.columns import Columns, RawLog
from ufnrec_tf.reading.filters import Filters, apply_filters
from ufnrec_tf.reading.formats import READERS, detect_format
from ufnrec_tf.reading.frames import of_frame
from ufnrec_tf.reading.item_tables import read_item_table
from ufnrec_tf.reading.parquet import ParquetLog, is_parquet, read_raw
from ufnrec_tf.reading.text_files import load_text

PARQUET, FRAME = "parquet", "dataframe"


class Log(NamedTuple):
    """A log before it is filtered and numbered.

    Attributes:
        frame: See `RawLog.frame`; times in seconds since 1970 where `reading.is_epoch`.
        reading: How it was read; no filter yet.
        sha256: Of the file's bytes; of a DataFrame, see `frames.of_frame`.
        source: What to call it.
        items: The item table, or None.
        names: Of all its columns, the unread ones too.
    """

    frame: pd.DataFrame
    reading: LogDescription
    sha256: str
    source: str
    items: ItemTable | None
    names: tuple[str, ...] = ()


def read_log(
    path: str | os.PathLike[str] | pd.DataFrame,
    *,
    format: str = "auto",
    user_column: str = "",
    item_column: str = "",
    time_column: str = "",
    rating_column: str = "",
    separator: str = "",
    titles_path: str | os.PathLike[str] | pd.DataFrame = "",
    time_unit: str = AUTO,
    with_ratings: bool = False,
) -> Log:
    """Reads a log as it is, all events in the file's order; see `read_interactions`.

    Args:
        path: The file, or a DataFrame.
        format: See `read_interactions`, as all others.
        user_column: Name of a column.
        item_column: Likewise.
        time_column: Likewise.
        rating_column: Likewise.
        separator: Between fields.
        titles_path: The item table.
        time_unit: Of the time column.
        with_ratings: Whether ratings are needed; text always has them checked.

    Raises:
        UserError: For anything wrong with the file or the settings, naming file and line.
    """
    pick({name: name for name in ("auto", PARQUET, *READERS)}, format, key="data.format")
    pick({AUTO: AUTO, **dict.fromkeys(TIME_UNITS, "")}, time_unit, key="data.time_unit")
    columns = Columns(user_column, item_column, time_column, rating_column, separator_of(separator))
    beside = Path()
    if isinstance(path, pd.DataFrame):
        raw, sha256 = of_frame(path, columns, with_ratings=with_ratings)
        format, source = FRAME, "DataFrame"
    else:
        raw, format, sha256 = _read_file(path, format, columns, with_ratings=with_ratings)
        source, beside = Path(path).name, Path(path).with_suffix(".item")
    items = None
    if isinstance(titles_path, pd.DataFrame) or titles_path:
        items = read_item_table(titles_path, item_ids=set(raw.frame["item"]))
    elif format == "inter" and beside.is_file():
        items = read_item_table(beside)
    frame, reading = _in_seconds(raw, format, time_unit)
    return Log(frame, reading, sha256, source, items, raw.names)


def _read_file(
    path: str | os.PathLike[str], format: str, columns: Columns, *, with_ratings: bool
) -> tuple[RawLog, str, str]:
    """Returns what a file holds, its form and the hash of its bytes."""
    if format == PARQUET or (format == "auto" and is_parquet(path)):
        log = ParquetLog(path, columns=columns, with_ratings=with_ratings)
        return read_raw(log), PARQUET, log.sha256
    file = load_text(path)
    format = detect_format(file, columns) if format == "auto" else format
    return READERS[format](file, columns), format, file.sha256


def _in_seconds(raw: RawLog, format: str, time_unit: str) -> tuple[pd.DataFrame, LogDescription]:
    """Returns the events with times in seconds since 1970 where these are told, and how so."""
    if "time" not in raw.frame:
        return raw.frame, LogDescription(format, raw.columns)
    times = raw.frame["time"].to_numpy()
    if raw.are_dates:
        unit = TYPED_DATES if format in (PARQUET, FRAME) else DATES
    else:
        unit = tell_unit(times.min(), times.max(), asked=time_unit)
    frame = raw.frame
    if unit.per_second != 1:
        frame = frame.assign(time=times / unit.per_second)
    return frame, LogDescription(format, raw.columns, unit.words, unit.is_epoch)


def read_interactions(
    path: str | os.PathLike[str] | pd.DataFrame,
    *,
    format: str = "auto",
    user_column: str = "",
    item_column: str = "",
    time_column: str = "",
    rating_column: str = "",
    separator: str = "",
    repeats: str = "keep",
    titles_path: str | os.PathLike[str] | pd.DataFrame = "",
    time_unit: str = AUTO,
    filters: Filters | None = None,
) -> Interactions:
    """Reads a log, a file or a DataFrame.

    Args:
        path: The file, or a pandas DataFrame: see `frames.of_frame`.
        format: A key of `READERS`, "parquet", or "auto": see `text_forms`.
        user_column: Name of the user column of a table; "" tries the usual names.
        item_column: Name of the item column.
        time_column: Name of the time column, numbers or ISO 8601 dates; "none": there may be one,
            do not read it.
        rating_column: Name of the rating column, numbers, used by a filter alone; "none" as above.
        separator: The character between a table's fields, or "tab"; "" detects.
        repeats: "keep" or "drop" all but a user's oldest event with an item.
        titles_path: The item table, a file or a DataFrame: see `item_table.read_item_table`; ""
            takes the .item beside a .inter where there is one.
        time_unit: Of times that are numbers, a key of `TIME_UNITS`; "auto": see `times`.
        filters: What the log is reduced to.

    Raises:
        UserError: For anything wrong with the file or the settings, naming file and line.
    """
    pick({name: name for name in REPEATS}, repeats, key="data.repeats")
    filters = filters or Filters()
    log = read_log(
        path,
        format=format,
        user_column=user_column,
        item_column=item_column,
        time_column=time_column,
        rating_column=rating_column,
        separator=separator,
        titles_path=titles_path,
        time_unit=time_unit,
        with_ratings=filters.min_rating != 0,
    )
    return interactions_of(log, filters, repeats=repeats)


def interactions_of(log: Log, filters: Filters, *, repeats: str = "keep") -> Interactions:
    """Returns the interactions that filters leave of a log.

    Raises:
        UserError: If they leave nothing, or need a column that is not there.
    """
    left = apply_filters(
        log.frame,
        filters,
        repeats=repeats,
        is_epoch=log.reading.is_epoch,
        source=log.source,
    )
    return build_interactions(
        left.frame,
        sha256=log.sha256,
        source=log.source,
        repeats=left.repeats,
        items=log.items,
        reading=log.reading._replace(steps=left.steps),
        num_repeats_dropped=left.num_repeats_dropped,
    )


def separator_of(text: str) -> str:
    """Returns the character that `data.separator` names.

    Raises:
        UserError: If it is none.
    """
    character = {"tab": "\t", "\\t": "\t"}.get(text, text)
    if len(character) > 1 or character in ('"', "\n", "\r"):
        raise UserError(
            "`data.separator` must be one character other than a quote, or tab. "
            f"Received: {text!r}."
        )
    return character
