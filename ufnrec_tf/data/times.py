"""Times of a log: numbers or dates -> seconds since 1970, where the unit is known.

Numbers are taken for seconds, milliseconds, microseconds or nanoseconds since 1970 only where the
whole column lies between 1980 and 2100 in that unit. All others (1, 2, 3, ...; years; 20190131)
stay as they are: they order events, and nothing else is read from them.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ufnrec_tf.common.errors import UserError
from ufnrec_tf.common.lookup import pick
from ufnrec_tf.common.text import is_null_word
from ufnrec_tf.data.date_forms import DateForm, form_of, formats_like, iso_text, looks_like_date

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
_SHORTENED = re.compile(r"\s*\d(?:\.\d{1,5})?[eE]\+?(?:09|9|1\d)\s*")


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

    Args:
        format: The form of all texts, as of strptime; "": ISO 8601, another form of `date_forms`,
            or numbers.

    Attributes:
        are_dates: True if they are dates; None before the first text.
        unit: The unit of dates; None for numbers.
        is_ambiguous: True if the order of day and month is not known; none can be read then.
        is_shortened: True if numbers lack digits, as 1.70026E+12 does; none can be read then.
    """

    def __init__(self, format: str = "") -> None:
        self.are_dates: bool | None = None
        self.unit: TimeUnit | None = None
        self.is_ambiguous = False
        self.is_shortened = False
        self._format = format
        self._form: DateForm | None = None

    def read(self, texts: pd.Series) -> np.ndarray:
        """Returns float64 [n], numbers as they are and dates in seconds; NaN for other texts.

        Args:
            texts: object(str) [n].
        """
        if self.are_dates is None and len(texts):
            self._decide(texts)
        if self.is_shortened:
            return np.full(len(texts), np.nan)
        if not self.are_dates:
            return as_numbers(texts)
        if self._format:
            return _by_distinct(texts, self._formatted)
        if self._form is not None:
            return _by_distinct(texts, self._of_form)
        return as_dates(texts)

    def _decide(self, texts: pd.Series) -> None:
        """Finds what the texts are, by the first one that says something."""
        first = next((text for text in texts if not is_null_word(text)), None)
        if first is None:
            return
        one = pd.Series([first], dtype=object)
        if self._format:
            self._set_unit(f"dates of the form {self._format}")
        elif np.isfinite(as_numbers(one)[0]):
            self.are_dates = False
            self.is_shortened = _are_shortened(texts)
        elif np.isfinite(as_dates(one)[0]):
            self._set_unit("ISO dates")
        else:
            known = [text for text in pd.unique(texts) if not is_null_word(text)]
            self._form = form_of(known)
            self.are_dates = self._form is not None
            if self._form is not None:
                self.is_ambiguous = self._form.is_ambiguous
                self._set_unit(self._form.words)

    def _set_unit(self, words: str) -> None:
        self.are_dates = True
        self.unit = DATES._replace(words=f"{words}, UTC where they name no zone")

    def _of_form(self, texts: pd.Series) -> np.ndarray:
        form = self._form
        assert form is not None
        return as_dates(pd.Series([iso_text(text, form) for text in texts], dtype=object))

    def _formatted(self, texts: pd.Series) -> np.ndarray:
        format = self._format
        return seconds_of(pd.to_datetime(texts, format=format, utc=True, errors="coerce"))

    def fault(self, text: str) -> str:
        """Returns why a text could not be read, as `is not a number: expected ...`."""
        if self._format:
            example = datetime(2024, 1, 31, 18, 30, tzinfo=UTC).strftime(self._format)
            return (
                f"is not a date of the form {self._format!r} (--config.data.time_format): "
                f"expected such as {example!r}"
            )
        if self.is_shortened and _SHORTENED.fullmatch(text):
            return (
                "was shortened to a few digits, as spreadsheets show long numbers, so that "
                "different times became one: expected all digits; write the column as whole numbers"
            )
        if self.is_ambiguous or (not self.are_dates and looks_like_date(text)):
            return self._date_fault(text)
        if self.are_dates:
            like = "an ISO 8601 date as" if self._form is None else "a date as"
            return f"is not a date: expected {like} in the lines above"
        is_number = text.strip().lower().lstrip("+-") in ("nan", "inf", "infinity")
        return (
            f"is not {'finite' if is_number else 'a number'}: expected a finite number, "
            "seconds since 1970, such as 1546300800, or in all lines an ISO 8601 date such as "
            "2019-01-31"
        )

    def _date_fault(self, text: str) -> str:
        """Returns what to do with a date that cannot be read."""
        formats = formats_like(text)
        flags = " or ".join(f"--config.data.time_format='{format}'" for format in formats)
        if self.is_ambiguous and len(formats) > 1:
            return (
                f"is a date whose day and month cannot be told apart, here and in the "
                f"lines that follow: expected one above 12; say which comes first with {flags}"
            )
        if self.are_dates is False and np.isfinite(as_dates(pd.Series([text], dtype=object))[0]):
            return (
                "is a date, and the lines before it hold numbers: expected a number, or "
                "in all lines an ISO 8601 date such as 2019-01-31"
            )
        return (
            "looks like a date of a form that is not known: expected an ISO 8601 date "
            "such as 2019-01-31 or seconds since 1970; say its form as strptime has it with "
            + (flags or "--config.data.time_format='%d %b %Y'")
        )


def _are_shortened(texts: pd.Series) -> bool:
    """Returns True if all numbers have an exponent of nine or more and at most six digits."""
    known = [text for text in pd.unique(texts) if not is_null_word(text)]
    return all(map(_SHORTENED.fullmatch, known))


def _by_distinct(texts: pd.Series, read: Callable[[pd.Series], np.ndarray]) -> np.ndarray:
    """Returns what `read` makes of texts, float64 [n], given only the distinct ones."""
    codes, distinct = pd.factorize(texts)
    return np.append(read(pd.Series(distinct, dtype=object)), np.nan)[codes]


def as_numbers(texts: pd.Series) -> np.ndarray:
    """Returns the texts as float64 [n], NaN for those that are no number."""
    try:
        whole = pa.array(texts, pa.string())
        if pc.all(pc.ascii_is_decimal(whole), skip_nulls=False).as_py():
            # Half the time of the general way, and the times of most logs.
            return whole.cast(pa.int64()).to_numpy().astype(np.float64)
    except pa.ArrowException:
        pass  # other objects than texts, or numbers of more than 64 bits
    return pd.to_numeric(texts, errors="coerce").to_numpy(np.float64)


def as_dates(texts: pd.Series) -> np.ndarray:
    """Returns the seconds since 1970 of ISO 8601 texts, float64 [n], NaN for other texts.

    A date without a time is its first moment. UTC where no zone is named.
    """
    # By the distinct ones, since dates without a time of day repeat.
    return _by_distinct(texts, _iso_seconds)


def _iso_seconds(texts: pd.Series) -> np.ndarray:
    is_iso = texts.str.fullmatch(_ISO).astype(bool)
    bare = texts.where(is_iso, "").str.strip().str.upper().str.removesuffix("UTC").str.strip()
    return seconds_of(pd.to_datetime(bare, format="ISO8601", utc=True, errors="coerce"))


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
        self._are_dates = False
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
        # NaN is the time of a row that a filter leaves out.
        self._low = min(self._low, float(np.fmin.reduce(times, initial=np.inf)))
        self._high = max(self._high, float(np.fmax.reduce(times, initial=-np.inf)))
        self._are_dates |= dates is not None
        self.unit = self.unit or dates or detect_unit(self._low, self._high, asked=self._asked)
        return times if self.unit.per_second == 1 else times / self.unit.per_second

    def check_end(self, *, has_window: bool) -> None:
        """Checks that all batches have the unit of the first one.

        Args:
            has_window: True if events were kept by their dates.

        Raises:
            UserError: If one has another.
        """
        if self.unit is None or self._are_dates:
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
    one = pd.Series([text], dtype=object)
    number, date = float(as_numbers(one)[0]), float(as_dates(one)[0])
    is_date = not np.isfinite(number)
    value = date if is_date else number
    if not np.isfinite(value):
        raise UserError(
            f"`{key}` must be an ISO 8601 date such as 2019-01-31 or 2019-01-31T12:00:00Z, or a "
            f"number (seconds since 1970; the file's own where its times are no dates). Received: "
            f"{text!r}."
        )
    return Moment(value, is_date, text)


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
