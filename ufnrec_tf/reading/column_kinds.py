"""Kinds of columns, judged by their first values: times, event types, several items in a cell."""

import datetime
import json
import re
from collections import Counter
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ufnrec_tf.common.text import NULL_WORDS, is_null_word
from ufnrec_tf.data.date_forms import is_date_and_clock
from ufnrec_tf.data.times import TimeTexts, as_numbers, detect_unit, seconds_of

FIRST_ROWS = 1000
"""Rows by which a column is judged."""

_TIME_NAME = re.compile(
    r"timestamp|datetime|epoch|(?<![a-z])(ts|dt|dat|when|moment|utc|unix)(?![a-z])"
    r"|(date|time|day)(?![a-z])|(?<=[a-z])(Date|Time|At)(?![a-z])|[_\s.-]at(?![a-z])"
    r"|(time|date|ts)_?(ms|us|ns|utc|s|millis)$"
)
_ID_NAME = re.compile(
    r"(?<![a-z])(id|ids|no|nr|num|number|code|sku|ean|gtin|upc|isbn|asin|barcode|phone|zip|hash|key"
    r"|order|invoice|price|amount|cost|total|revenue|quantity|qty|count|size|bytes|score|rank"
    r"|budget|views|population)(?![a-z])|(?<=[a-z])(Id|ID|No|Code|Price|Count)$|[a-z]id$"
)
# Dates of a person, of an item or of the file, not of an event.
_OTHER_DATE_NAME = re.compile(
    r"birth|dob|release|publi|expir|sign_?up|regist|join|launch|export|import|ingest|load|deliver"
    r"|return|member_?since|valid|due"
)
_ORDER_NAME = re.compile(
    r"(?<![a-z])(position|pos|steps?|seq|sequence|offset|turn|nth"
    r"|(order|event|row|line|sequence|seq|step|visit)_?(number|num|no|nr|id|index|idx))(?![a-z])"
)
_MOST_EVENT_TYPES = 20
_TIME_OF_DAY = re.compile(r"\s*\d{1,2}:\d\d(:\d\d([.,]\d+)?)?\s*([AaPp][Mm])?\s*")
_PART_NAMES = ("year", "month", "day", "hour", "minute", "second")
_RESOLUTIONS = (86400.0, 60.0, 1.0, 1e-3, 1e-6)
_LIKELY = (788_918_400.0, 2_208_988_800.0)  # 1995 to 2040
_LIST = re.compile(r"\s*(?:\[.*\]|\{.*\})\s*", re.DOTALL)
_PLAIN_LIST = re.compile(
    r"\s*(?:\[\s*[\w.-]+(?:\s*,\s*[\w.-]+)+\s*\]"
    r"|\[\s*-?[\d.]+(?:\s+-?[\d.]+)+\s*\]"
    r"|\{\s*[\w.-]+(?:\s*,\s*[\w.-]+)+\s*\}"
    r"|\(\s*-?[\d.]+(?:\s*,\s*-?[\d.]+)+\s*,?\s*\))\s*"
)
"""[i1, i2]; [28 24], as NumPy prints it; {i1,i2}, as PostgreSQL does; (28, 24)."""


class TimeKind(NamedTuple):
    """A column whose values are moments.

    Attributes:
        seconds: float64 [n], seconds since 1970; NaN where none is given or the form is ambiguous.
        resolution: The largest usual step in seconds of which all are multiples.
        are_dates: True for dates, False for numbers since 1970.
    """

    seconds: np.ndarray
    resolution: float
    are_dates: bool


def is_missing_text(texts: pd.Series) -> np.ndarray:
    """Returns which texts are blank or a null word, bool [n]."""
    return texts.str.strip().str.lower().isin(NULL_WORDS).to_numpy(bool)


def time_kind(values: pd.Series, *, time_format: str = "") -> TimeKind | None:
    """Returns how the values of a column are moments, or None if they are not all.

    Args:
        values: The first values; texts of a text file, of any type otherwise.
        time_format: See `TimeTexts`.
    """
    values = _plain_values(values[~values.isna().to_numpy(bool)])
    if time_format and pd.api.types.is_integer_dtype(values.dtype):
        values = values.astype(str)  # 20240131
    is_text = values.dtype != object and pd.api.types.is_string_dtype(values.dtype)
    if is_text or _are(values, str):
        texts = values.astype(object)
        texts = texts[~is_missing_text(texts)]
        numbers = as_numbers(texts)
        if not np.isfinite(numbers).all() or (time_format and len(texts)):
            reader = TimeTexts(time_format)
            seconds = reader.read(texts)
            is_read = bool(reader.are_dates) and np.isfinite(seconds).all()
            return _dates(seconds) if is_read or reader.is_ambiguous else None
        return _epochs(numbers)
    if pd.api.types.is_datetime64_any_dtype(values.dtype) or _are(values, datetime.date):
        return _dates(seconds_of(pd.to_datetime(values, utc=True, errors="coerce")))
    if pd.api.types.is_bool_dtype(values.dtype) or not pd.api.types.is_numeric_dtype(values.dtype):
        return None
    return _epochs(values.to_numpy(np.float64, na_value=np.nan))


def _plain_values(values: pd.Series) -> pd.Series:
    """Returns values whose type says what they are: no categories, no dates of Arrow."""
    kind = values.dtype
    if isinstance(kind, pd.CategoricalDtype):
        return values.astype(kind.categories.dtype)
    if isinstance(kind, pd.ArrowDtype) and kind.kind not in "iufMOU":
        return values.astype(object)
    return values.astype(object) if str(kind).startswith("date") and kind.kind == "O" else values


def _are(values: pd.Series, kind: type) -> bool:
    is_object = values.dtype == object and len(values) > 0
    return is_object and all(isinstance(value, kind) for value in values)


def _dates(seconds: np.ndarray) -> TimeKind | None:
    return TimeKind(seconds, _resolution(seconds), are_dates=True) if len(seconds) else None


def _epochs(numbers: np.ndarray) -> TimeKind | None:
    if not len(numbers) or not np.isfinite(numbers).all():
        return None
    unit = detect_unit(float(numbers.min()), float(numbers.max()))
    if not unit.is_epoch:
        return None
    seconds = numbers / unit.per_second
    # Milliseconds that all end in 000 are no finer than seconds.
    return TimeKind(seconds, _resolution(seconds), are_dates=False)


def _resolution(seconds: np.ndarray) -> float:
    known = seconds[np.isfinite(seconds)]
    if not len(known):
        return _RESOLUTIONS[0]
    rest = (known / step for step in _RESOLUTIONS)
    is_whole = (bool((np.abs(part - np.round(part)) < 1e-9 * np.abs(part)).all()) for part in rest)
    return next((s for s, whole in zip(_RESOLUTIONS, is_whole, strict=True) if whole), 0.0)


def is_named_as_time(name: str) -> bool:
    """Returns True if a column's name says that it holds times."""
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.strip()).lower()
    return bool(_TIME_NAME.search(snake)) and not _ID_NAME.search(snake)


def is_named_as_part(name: str) -> bool:
    """Returns True if a column's name says that it holds a part of a time: a year, an hour."""
    return name.strip().lower() in _PART_NAMES


def may_be_event_time(name: str, kind: TimeKind, *, items: pd.Series) -> bool:
    """Returns True if a column of moments may be taken for the time of the events by its values.

    Args:
        name: Its name.
        kind: Its values.
        items: The item of each row: a moment that is the same for all events of an item is the
            item's own.
    """
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.strip()).lower()
    if _OTHER_DATE_NAME.search(snake):
        return False
    if not kind.are_dates and not is_named_as_time(name):
        if _ID_NAME.search(snake):
            return False
        if not ((kind.seconds >= _LIKELY[0]) & (kind.seconds < _LIKELY[1])).all():
            return False
    if len(kind.seconds) != len(items) or not np.isfinite(kind.seconds).all():
        return True
    distinct = len(np.unique(kind.seconds))
    if distinct == 1:
        return len(items) == 1 or is_named_as_time(name)
    steps = np.diff(kind.seconds)
    if (steps >= 0).all() or (steps <= 0).all():
        return True  # in the order of the file, in which an item's events may be neighbours
    rows = pd.DataFrame({"item": items.astype(str).to_numpy(), "time": kind.seconds})
    num_repeats = int(rows["item"].duplicated().sum())
    return num_repeats < 3 or int(rows.groupby("item")["time"].nunique().max()) > 1


def is_time_of_day(values: pd.Series) -> bool:
    """Returns True if all values are times of day, such as 10:30:00, without a date."""
    values = values[~values.isna().to_numpy(bool)]
    if _are(values, datetime.time):
        return True
    return _are(values, str) and all(map(_TIME_OF_DAY.fullmatch, values))


def is_unknown_date(values: pd.Series) -> bool:
    """Returns True if all texts seem to be dates with a time of day, in whatever form."""
    values = values[~values.isna().to_numpy(bool)]
    return _are(values, str) and all(map(is_date_and_clock, values))


def is_order(name: str, values: pd.Series, users: pd.Series) -> bool:
    """Returns True if a column's name and values say an order of events that is not the file's.

    Args:
        name: Its name, such as position, step, order_number.
        values: The first values.
        users: The user of each row.
    """
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.strip()).lower()
    if not _ORDER_NAME.search(snake) or not len(values):
        return False
    numbers = as_numbers(values.astype(object))
    is_whole = np.isfinite(numbers).all() and (numbers == np.round(numbers)).all()
    if not is_whole or len(numbers) != len(users):
        return False
    codes = pd.factorize(users.astype(str))[0]
    order = np.argsort(codes, kind="stable")
    is_same = np.diff(codes[order]) == 0
    return bool((is_same & (np.diff(numbers[order]) < 0)).any())


def event_types(values: pd.Series, *, is_named: bool) -> dict[str, int]:
    """Returns the counts of a column's values, the most frequent first, if they are few words.

    Args:
        values: The first values.
        is_named: True if the column's name is usual for event types: they may be numbers then.

    Returns:
        Nothing where the values are many, all the same, or no words.
    """
    texts = [str(value).strip() for value in values[~values.isna().to_numpy(bool)]]
    counts = Counter(text for text in texts if not is_null_word(text))
    if not 2 <= len(counts) <= _MOST_EVENT_TYPES or len(texts) < 2 * len(counts):
        return {}
    are_words = all(len(text) <= 40 and re.search(r"[^\W\d_]", text) for text in counts)
    return dict(counts.most_common()) if are_words or is_named else {}


def is_list_cell(value: Any) -> bool:
    """Returns True if a value is a list, or the text of one: `[28, 24]`, `['a', 'b']`."""
    if isinstance(value, list | tuple | set | dict | np.ndarray):
        return True
    if not isinstance(value, str):
        return False
    if not _LIST.fullmatch(value) or _PLAIN_LIST.fullmatch(value):
        return bool(_PLAIN_LIST.fullmatch(value))
    as_list = f"[{value.strip()[1:-1]}]"  # {'a', 'b'}, a set
    for text in (value, value.replace("'", '"'), as_list.replace("'", '"')):  # of JSON, of Python
        with suppress(ValueError, RecursionError):
            return bool(json.loads(text))
    return False


def separator_in_cells(values: pd.Series) -> str:
    """Returns the character between the several items of most cells, or "" if they hold one each.

    An id may itself hold a bar, a comma or a space. So most cells must have it, and their parts
    must be found alone in a cell or in any place of others, as items are and parts of an id
    (`shoes|red`) are not.
    """
    texts = [value for value in values if isinstance(value, str) and value.strip()]
    for separator in "|;\n\x01\x02,/>+& ":
        cells = [[part.strip() for part in text.strip().split(separator)] for text in texts]
        many = [parts for parts in cells if len(parts) > 1 and all(parts)]
        if len(many) < 3 or len(many) * 2 < len(cells):
            continue
        first = {parts[0] for parts in many}
        other = {part for parts in many for part in parts[1:]}
        alone = {parts[0] for parts in cells if len(parts) == 1}
        all_parts = first | other
        if separator in ",/>+& " and not all(re.search(r"\d", part) for part in all_parts):
            continue  # words: a title, a name
        shared = len((first & other) | (all_parts & alone))
        if 2 * shared >= len(all_parts):
            return separator
    return ""
