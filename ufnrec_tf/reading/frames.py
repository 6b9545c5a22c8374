"""pandas DataFrames as logs."""

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from ufnrec_tf.common.errors import UserError
from ufnrec_tf.common.python_terms import in_python
from ufnrec_tf.common.text import is_null_word
from ufnrec_tf.data.events import EventBatch
from ufnrec_tf.data.log_description import Note
from ufnrec_tf.data.times import TYPED_DATES, TimeTexts, TimeUnit, seconds_of
from ufnrec_tf.reading.column_kinds import FIRST_ROWS
from ufnrec_tf.reading.column_names import GUESSES, find_role
from ufnrec_tf.reading.columns import (
    EXPECTED_HEADER,
    IGNORED,
    READ_ALL,
    Columns,
    ReadOptions,
    choose_columns,
    first_fault,
)
from ufnrec_tf.reading.id_checks import spoilt_id
from ufnrec_tf.reading.tables import plain_column, plain_times
from ufnrec_tf.reading.text_files import TextFile

NAME = "the DataFrame"
EXPECTED_COLUMNS = (
    "expected columns such as user_id, item_id, timestamp; name others with "
    "--config.data.user_column=NAME --config.data.item_column=NAME"
)


class FrameLog:
    """A DataFrame as a log, one event a row; the frame stays as it is.

    Ids of any type become the text that `str` gives: 12 is "12", and 12.0, as pandas has it where
    ids are missing, stays "12.0". Times are numbers, datetime64, periods or datetimes (UTC where
    they have no zone), or ISO 8601 texts. A level of the index is read where its name says the
    role, or is named by the caller, and no column has it; so is an index of dates without a name.

    Args:
        frame: The events.
        columns: The columns that the caller named; the usual names are tried for the others.
        options: What the filters need.

    Attributes:
        format: "dataframe".
        size: Number of rows.
        done: How much of `size` has been read.
        chosen: Role -> name of the column that is read, known once the batch was taken.
        names: The names of all columns.
        dates: The unit of times that are dates, known then too; None for numbers.
        sha256: The hash of the values that were read, known then too: of each column in the order
            user, item, time, rating: the role and ";"; of ids the numbers of bytes that each has
            in UTF-8 (little-endian int64), then these bytes; of times (seconds since 1970 of
            dates, else the numbers as they are) and ratings little-endian float64. So it depends
            on neither index, dtypes nor other columns.
    """

    format = "dataframe"
    separator = ""

    def __init__(
        self, frame: pd.DataFrame, columns: Columns, options: ReadOptions = READ_ALL
    ) -> None:
        self.size, self.done = len(frame), 0
        self.chosen: dict[str, str] = {}
        self.dates: TimeUnit | None = None
        self.sha256 = ""
        self._levels = _index_levels(frame, columns)
        self.names = (*(str(name) for name in frame.columns), *self._levels)
        self._frame = frame
        self._columns = columns
        self._options = options
        self.found_by: dict[str, str] = {}
        self.notes: tuple[Note, ...] = ()

    def __iter__(self) -> Iterator[EventBatch]:
        """Yields all events as one batch.

        Raises:
            UserError: If a column is not there or a value not as expected, naming the row's index.
        """
        try:
            yield self._events()
        except UserError as error:
            # A frame comes from Python, and has no header.
            text = str(error).replace(EXPECTED_HEADER, EXPECTED_COLUMNS)
            raise UserError(in_python(text)) from None

    def _events(self) -> EventBatch:
        frame, names = self._frame, list(self.names)
        found = choose_columns(
            TextFile(NAME, b"", ""),
            (None, names),
            self._columns,
            first_rows=[
                plain_times(self._column(place, FIRST_ROWS)) for place in range(len(names))
            ],
            with_ratings=self._options.with_ratings,
            with_events=self._options.with_events,
        )
        chosen = found.places
        self.found_by, self.notes = found.found_by, found.notes
        if not len(frame):
            raise UserError(f"{NAME}: no events: expected one event a row.")
        columns = {role: self._column(index) for role, index in chosen.items()}
        self.chosen = {role: names[index] for role, index in chosen.items()}
        _check_floats(columns["user"], "user")
        _check_floats(columns["item"], "item")
        may_lack = self._options.without_ids
        user_ids, users = _ids(columns["user"], "user", may_lack=may_lack)
        item_ids, items = _ids(columns["item"], "item", may_lack=may_lack)
        times = ratings = types = type_names = None
        if "time" in columns:
            times, self.dates = _times(
                plain_times(columns["time"]),
                self.chosen["time"],
                format=self._columns.time_format,
                may_lack=self._options.without_times,
            )
        if "rating" in columns:
            ratings = _ratings(columns["rating"], self.chosen["rating"])
        if "event" in columns:
            words = (
                columns["event"]
                .astype(object)
                .map(lambda value: "" if _is_missing(value) else str(value).strip())
            )
            types, type_names = pd.factorize(words.to_numpy(object))
            types = types.astype(np.int32)
        events = EventBatch(user_ids, users, item_ids, items, times, ratings, types, type_names)
        self.sha256 = _sha256(events)
        self.done = self.size
        return events

    def _column(self, number: int, count: int | None = None) -> pd.Series:
        """Returns the first values, or all, of one of `names`, in a type of NumPy or pandas."""
        frame = self._frame.iloc[:count]
        if number < frame.shape[1]:
            column = frame.iloc[:, number]
        else:
            level = self._levels[self.names[number]]
            column = pd.Series(frame.index.get_level_values(level), index=frame.index)
        return plain_column(column)


def _index_levels(frame: pd.DataFrame, columns: Columns) -> dict[str, int]:
    """Returns the levels of the index that are read as columns: name -> number."""
    names, index = [str(name) for name in frame.columns], frame.index
    is_dated = isinstance(index, pd.DatetimeIndex | pd.PeriodIndex)
    levels = {str(name): n for n, name in enumerate(index.names) if name is not None}
    if is_dated and not levels:
        levels = {"time": 0}
    asked = {role: getattr(columns, role) for role in GUESSES}
    open_roles = [r for r in GUESSES if not asked[r] and find_role(names, r) is None]
    return {
        name: number
        for name, number in levels.items()
        if name not in names
        and (
            name in asked.values()
            or any(find_role([name], role) is not None for role in open_roles)
        )
    }


def _refuse(column: pd.Series, is_wrong: np.ndarray, what: str) -> None:
    """Refuses the first of the rows that are wrong."""
    if is_wrong.any():
        place = int(np.argmax(is_wrong))
        value, row = column.iloc[place], column.index[place]
        shown = "" if _is_missing(value) else f" {str(value)[:40]!r}"
        row = row.item() if isinstance(row, np.generic) else row
        raise UserError(
            f"{NAME}, row {row!r}: {what.replace('VALUE', shown.strip())} or drop the row."
        )


def _is_missing(value: Any) -> bool:
    return pd.api.types.is_scalar(value) and bool(pd.isna(value))


def _ids(column: pd.Series, role: str, *, may_lack: bool) -> tuple[np.ndarray, np.ndarray]:
    """Returns the distinct ids of a column as texts, object(str), and int32 [n] places in them.

    Args:
        column: The ids.
        role: "user" or "item".
        may_lack: True if missing ids become "".
    """
    is_none = column.isna().to_numpy(bool)
    drop = "leave such rows out with --config.data.null_ids=drop,"
    if not may_lack:
        _refuse(column, is_none, f"no {role} id: expected any value; fill it in, {drop}")
    elif is_none.any():
        column = column.astype(object).where(~is_none, "")
    if column.dtype == object:
        # One by one: among objects 1, 1.0 and True are equal, and their texts are not.
        values = column.tolist()
        odd = bytes | list | tuple | dict | set | np.ndarray
        is_odd = np.array([isinstance(value, odd) for value in values])
        what = (
            f"the {role} id VALUE is bytes or a collection: expected text or a number, one event a "
            f"row; make a row of each (frame.explode({column.name!r})), mend it"
        )
        _refuse(column, is_odd, what)
        what = f"the {role} id VALUE has no text of its own: expected text or a number; mend it"
        _refuse(column, np.array(list(map(_has_no_text, values))), what)
        texts = np.array([str(value) for value in values], dtype=object)
    else:
        codes, uniques = pd.factorize(column)
        texts = np.array([str(value) for value in uniques.tolist()], dtype=object)[codes]
    codes, distinct = pd.factorize(texts)
    if spoilt := spoilt_id(distinct.tolist(), role):
        _refuse(column, (distinct == spoilt[0])[codes], spoilt[1])
    is_bad = np.array(
        [not (may_lack or text.strip()) or not _is_utf8(text) for text in distinct], bool
    )
    what = f"an empty {role} id, or one that is no UTF-8 text: expected text; mend it"
    _refuse(column, is_bad[codes], what)
    return distinct, codes.astype(np.int32)


def _has_no_text(value: Any) -> bool:
    """Returns True for an object whose text is its address."""
    kind = type(value)
    return kind.__str__ is object.__str__ and kind.__repr__ is object.__repr__


def _check_floats(column: pd.Series, role: str) -> None:
    """Refuses ids that are floats too large to tell whole numbers apart."""
    kind = getattr(column.dtype, "categories", column).dtype
    if pd.api.types.is_object_dtype(kind):
        limit, values = 1 << 53, column.map(lambda v: v if isinstance(v, float) else 0.0)
    elif pd.api.types.is_float_dtype(kind):
        name = str(kind).lower()
        limit, values = {"float16": 1 << 11, "float32": 1 << 24}.get(name, 1 << 53), column
    else:
        return
    what = (
        f"the {role} id VALUE went through a float, which cannot hold all whole numbers of this "
        "size, so that several ids may have become one: read the column as text (dtype=str)"
    )
    _refuse(column, (values.astype(np.float64).abs() >= limit).to_numpy(bool), what)


def _is_utf8(text: str) -> bool:
    return not any(c == "\0" or "\ud800" <= c <= "\udfff" for c in text)


def _ratings(column: pd.Series, name: str) -> np.ndarray:
    """Returns the ratings of a column, float64 [n]."""
    values = pd.to_numeric(column, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    what = (
        f"{name} VALUE is not a finite number, and min_rating needs one: mend it, leave "
        "--config.data.min_rating out,"
    )
    _refuse(column, ~np.isfinite(values), what)
    return values


def _times(
    column: pd.Series, name: str, *, format: str, may_lack: bool
) -> tuple[np.ndarray, TimeUnit | None]:
    """Returns the times of a column, float64 [n], and their unit if they are dates.

    Args:
        column: The times.
        name: Its name, for messages.
        format: See `TimeTexts`.
        may_lack: True if missing times become NaN.
    """
    dates: TimeUnit | None = None
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(column.dtype.categories.dtype)
    is_numeric = pd.api.types.is_numeric_dtype(column.dtype)
    fault = ""
    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        values, dates = seconds_of(_utc(column)), TYPED_DATES
    elif is_numeric and not format:
        values = pd.to_numeric(column, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    elif hasattr(next((value for value in column if not _is_missing(value)), None), "isoformat"):
        values = seconds_of(pd.to_datetime(column, utc=True, errors="coerce"))
        dates = TYPED_DATES
    else:
        reader = TimeTexts(format)
        texts = column.map(lambda value: "" if _is_missing(value) else str(value)).astype(object)
        values = reader.read(texts)
        dates = reader.unit
        at = first_fault(texts, values, is_missing_allowed=may_lack)
        fault = "" if at is None else f"{texts.iloc[at][:40]!r} {reader.fault(texts.iloc[at])}"
    is_wrong = ~np.isfinite(values)
    if may_lack:
        is_null = column.map(lambda value: _is_missing(value) or is_null_word(str(value)))
        is_wrong &= ~is_null.to_numpy(bool)
    expected = "a date" if dates else "a finite number"
    what = (
        f"{name} VALUE is not {expected} (numbers, dates as texts and datetimes are read): mend "
        f"it, leave the column unread with --config.data.time_column={IGNORED},"
    )
    if fault and not is_numeric:
        what = (
            f"{name} {fault}; mend it, leave the column unread with "
            f"--config.data.time_column={IGNORED},"
        )
    if column.isna().any() and not may_lack:
        what = what.removesuffix(",") + ", leave such rows out with --config.data.null_times=drop,"
    _refuse(column, is_wrong, what)
    return values, dates


def _utc(column: pd.Series) -> pd.Series:
    if str(column.dtype).startswith("date"):  # days of Arrow
        column = pd.to_datetime(column.astype(object), errors="coerce")
    is_aware = getattr(column.dt, "tz", None) is not None
    return column.dt.tz_convert("UTC") if is_aware else column.dt.tz_localize("UTC")


def _sha256(events: EventBatch) -> str:
    """Returns the hash that `FrameLog.sha256` describes."""
    digest = hashlib.sha256()
    for role, ids, codes in (
        ("user", events.user_ids, events.users),
        ("item", events.item_ids, events.items),
    ):
        encoded = [text.encode() for text in ids]
        lengths = np.array([len(text) for text in encoded], "<i8")
        digest.update(f"{role};".encode() + lengths[codes].tobytes())
        digest.update(b"".join([encoded[code] for code in codes.tolist()]))
    for role, numbers in (("time", events.times), ("rating", events.ratings)):
        if numbers is not None:
            digest.update(f"{role};".encode() + numbers.astype("<f8").tobytes())
    if events.types is not None and events.type_names is not None:
        names = "\n".join(events.type_names[events.types])
        digest.update(f"event;{names}".encode())
    return digest.hexdigest()
