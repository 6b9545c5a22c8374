"""Times of a log: numbers or ISO 8601 dates -> seconds since 1970, where the unit is known.

Numbers are taken for seconds, milliseconds, microseconds or nanoseconds since 1970 only where the
whole column lies between 1980 and 2100 in that unit. All others (1, 2, 3, ...; years; 20190131)
stay as they are: they order events, and nothing else is read from them.
"""

from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np
import pandas as pd

from ufnrec_tf.common.errors import UserError
from ufnrec_tf.common.lookup import pick

TIME_UNITS = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}
"""Name of a unit -> how many of it a second has."""

AUTO = "auto"
_WORDS = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
_EARLIEST = 315_532_800.0  # 1980
_LATEST = 4_102_444_800.0  # 2100
_ISO = (
    r"\s*\d{4}-\d\d-\d\d"
    r"(?:[Tt ]\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?\s?(?:[Zz]|UTC|[+-]\d\d(?::?\d\d)?)?)?\s*"
)


class TimeUnit(NamedTuple):
    """The unit of the numbers of a time column.

    Attributes:
        per_second: The number of units in a second.
        words: For people: "milliseconds", "ISO dates, UTC where they name no zone", ...
        is_epoch: True if they are seconds since 1970 then; else only their order means something.
    """

    per_second: float
    words: str
    is_epoch: bool


DATES = TimeUnit(1.0, "ISO dates, UTC where they name no zone", True)
"""Of a column that was read as dates: these are seconds already."""

TYPED_DATES = TimeUnit(1.0, "dates, UTC where they name no zone", True)
"""Of a column of dates in Parquet or a DataFrame."""

ORDER_ONLY = TimeUnit(1.0, "numbers of no known unit, for their order alone", False)


class TimeTexts:
    """Reads the texts of one column, all numbers or all dates, as the first of them says.

    Attributes:
        are_dates: True if they are dates; None before the first text.
    """

    def __init__(self) -> None:
        self.are_dates: bool | None = None

    def read(self, texts: pd.Series) -> np.ndarray:
        """Returns float64 [n], numbers as they are and dates in seconds; NaN for other texts.

        Args:
            texts: object(str) [n].
        """
        if self.are_dates is None and len(texts):
            first = texts.iloc[:1]
            is_number = np.isfinite(as_numbers(first)[0])
            self.are_dates = not is_number and bool(np.isfinite(as_dates(first)[0]))
        return as_dates(texts) if self.are_dates else as_numbers(texts)


def as_numbers(texts: pd.Series) -> np.ndarray:
    """Returns the texts as float64 [n], NaN for those that are no number."""
    return pd.to_numeric(texts, errors="coerce").to_numpy(np.float64)


def as_dates(texts: pd.Series) -> np.ndarray:
    """Returns the seconds since 1970 of ISO 8601 texts, float64 [n], NaN for other texts.

    A date without a time is its first moment. UTC where no zone is named.
    """
    # By the distinct ones, since dates without a time of day repeat.
    codes, distinct = pd.factorize(texts)
    known = pd.Series(distinct, dtype=object)
    is_iso = known.str.fullmatch(_ISO).astype(bool)
    bare = known.where(is_iso, "").str.strip().str.upper().str.removesuffix("UTC").str.strip()
    seconds = seconds_of(pd.to_datetime(bare, format="ISO8601", utc=True, errors="coerce"))
    return np.append(seconds, np.nan)[codes]


def seconds_of(dates: pd.Series) -> np.ndarray:
    """Returns the seconds since 1970 of datetime64, with a zone or in UTC, float64; NaN for NaT."""
    micros = dates.dt.as_unit("us").astype("int64").to_numpy()
    return np.where(dates.isna().to_numpy(), np.nan, micros / 1e6)


def detect_unit(low: float, high: float, *, asked: str = AUTO) -> TimeUnit:
    """Returns the unit of numbers.

    Args:
        low: The smallest of them.
        high: The largest.
        asked: A key of `TIME_UNITS`, or "auto" for the rule at the top of this module.
    """
    if asked != AUTO:
        return TimeUnit(TIME_UNITS[asked], f"{_WORDS[asked]} since 1970", True)
    for name, per_second in TIME_UNITS.items():
        if low / per_second >= _EARLIEST and high / per_second <= _LATEST:
            return TimeUnit(per_second, f"{_WORDS[name]} since 1970", True)
    return ORDER_ONLY


class BatchTimes:
    """The times of one batch after another in seconds; the first batch shows their unit.

    `check_end` checks that it is the unit of all batches.

    Args:
        asked: See `detect_unit`.
        source: The name of the log, for messages.

    Raises:
        UserError: If no such unit is known.

    Attributes:
        unit: The unit, once the first batch was taken; None if there are no times.
    """

    def __init__(self, asked: str, *, source: str) -> None:
        pick({AUTO: AUTO, **dict.fromkeys(TIME_UNITS, "")}, asked, key="data.time_unit")
        self.unit: TimeUnit | None = None
        self._asked = asked
        self._source = source
        self._low, self._high = np.inf, -np.inf

    @property
    def is_epoch(self) -> bool:
        """True if the times are seconds since 1970."""
        return self.unit is not None and self.unit.is_epoch

    def seconds(self, times: np.ndarray | None, *, dates: TimeUnit | None) -> np.ndarray | None:
        """Returns the times of the next batch, float64 [n], in seconds where the unit is known.

        Args:
            times: The numbers of the log; None where it has no times.
            dates: The unit of times that were dates and are seconds already; None for numbers.
        """
        if times is None:
            return None
        self._low = min(self._low, float(times.min(initial=np.inf)))
        self._high = max(self._high, float(times.max(initial=-np.inf)))
        self.unit = self.unit or dates or detect_unit(self._low, self._high, asked=self._asked)
        return times if self.unit.per_second == 1 else times / self.unit.per_second

    def check_end(self, *, has_window: bool) -> None:
        """Checks that all batches have the unit of the first one.

        Args:
            has_window: True if events were kept by their dates.

        Raises:
            UserError: If one has another.
        """
        if self.unit is None or self.unit in (DATES, TYPED_DATES):
            return
        found = detect_unit(self._low, self._high, asked=self._asked)
        if found.per_second != self.unit.per_second or (
            has_window and found.is_epoch != self.unit.is_epoch
        ):
            raise UserError(
                f"{self._source}: its times seemed to be {self.unit.words}, but they run from "
                f"{self._low:.15g} to {self._high:.15g}: expected one unit; say which with "
                "--config.data.time_unit=s|ms|us|ns, or mend the file."
            )
        self.unit = found


def lie_in(times: np.ndarray, unit: TimeUnit) -> np.ndarray:
    """Returns which times, in a unit, lie between 1980 and 2100, bool [n]."""
    seconds = times / unit.per_second
    return (seconds >= _EARLIEST) & (seconds <= _LATEST)


class Moment(NamedTuple):
    """A moment that a setting names.

    Attributes:
        value: Seconds since 1970, or a number in the log's own unit.
        is_date: True if it was written as a date.
        text: The moment as the user wrote it.
    """

    value: float
    is_date: bool
    text: str


def moment_among(text: str, *, key: str, is_epoch: bool, source: str) -> float:
    """Returns the moment of a setting as a number among a log's times.

    Args:
        text: An ISO 8601 date, or a number: seconds since 1970 where `is_epoch`.
        key: The setting's name, for messages.
        is_epoch: True if the log's times are seconds since 1970, else the file's own numbers.
        source: The name of the log, for messages.

    Raises:
        UserError: If it is neither, or the log's times do not allow it.
    """
    return moment_in(parse_moment(text, key=key), key=key, is_epoch=is_epoch, source=source)


def parse_moment(text: str, *, key: str) -> Moment:
    """Returns the moment that an ISO 8601 date or a number names.

    Args:
        text: The setting.
        key: The name of the setting, for the message.

    Raises:
        UserError: If it is neither.
    """
    reader = TimeTexts()
    value = float(reader.read(pd.Series([text], dtype=object))[0])
    if not np.isfinite(value):
        raise UserError(
            f"`{key}` must be an ISO 8601 date such as 2019-01-31 or 2019-01-31T12:00:00Z, or a "
            f"number (seconds since 1970; the file's own where its times are no dates). Received: "
            f"{text!r}."
        )
    return Moment(value, bool(reader.are_dates), text)


def moment_in(moment: Moment, *, key: str, is_epoch: bool, source: str) -> float:
    """Returns a moment as a number among a log's times.

    Raises:
        UserError: If the log's times are no dates and the moment is one, or it seems to be a year.
    """
    if moment.is_date and not is_epoch:
        raise UserError(
            f"{source}: its times are {ORDER_ONLY.words}, so that `{key}` cannot be a date "
            f"({moment.text}): give a number of the file's own, or say what the numbers are with "
            "--config.data.time_unit=s|ms|us|ns."
        )
    if is_epoch and not moment.is_date and 1900 <= moment.value < 2200:
        raise UserError(
            f"`{key}`={moment.text} would be {moment.text} seconds after 1970 began: write a year "
            f"as a date, --config.{key}={moment.value:.0f}-01-01."
        )
    return moment.value


def as_text(seconds: float) -> str:
    """Returns a moment as text, such as 2019-01-31T12:00:00Z; a number if it is no date."""
    try:
        moment = datetime.fromtimestamp(round(seconds), UTC)
    except (OverflowError, ValueError, OSError):
        return f"{seconds:.15g}"
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def moment_text(time: float, *, is_epoch: bool) -> str:
    """Returns one of a log's times as text: a date if it is one, else the number."""
    return as_text(time) if is_epoch else f"{time:.15g}"
