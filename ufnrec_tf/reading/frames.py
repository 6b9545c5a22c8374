"""pandas DataFrames as logs."""

import hashlib
from typing import Any

import numpy as np
import pandas as pd

from ufnrec_tf.common.errors import UserError
from ufnrec_tf.data.times import TimeTexts, seconds_of
from ufnrec_tf.reading.columns import IGNORED, REQUIRED, Columns, RawLog, choose_columns, frame_of
from ufnrec_tf.reading.text_files import TextFile

NAME = "the DataFrame"


def of_frame(
    frame: pd.DataFrame, columns: Columns, *, with_ratings: bool = False
) -> tuple[RawLog, str]:
    """Reads a DataFrame as a log, one event a row; the frame stays as it is.

    Ids of any type become the text that `str` gives: 12 is "12", and 12.0, as pandas has it where
    ids are missing, stays "12.0". Times are numbers, datetime64 or datetimes (UTC where they have
    no zone), or ISO 8601 texts.

    Args:
        frame: The events.
        columns: The columns that the caller named; the usual names are tried for the others.
        with_ratings: Whether to read ratings.

    Returns:
        The log, and a sha256 of what was read of it: of each column in the order user, item, time,
        rating: the role and ";"; of ids the numbers of bytes that each has in UTF-8 (little-endian
        int64), then these bytes; of times (seconds since 1970 of dates, else the numbers as they
        are) and ratings little-endian float64. So it depends on neither index, dtypes nor other
        columns.

    Raises:
        UserError: If a column is not there or a value not as expected, naming the row's index.
    """
    try:
        return _of_frame(frame, columns, with_ratings)
    except UserError as error:
        # Where there is no command line, its keys are the arguments' names.
        raise UserError(str(error).replace("--config.data.", "")) from None


def _of_frame(frame: pd.DataFrame, columns: Columns, with_ratings: bool) -> tuple[RawLog, str]:
    names = [str(name) for name in frame.columns]
    chosen = choose_columns(TextFile(NAME, b"", ""), (None, names), columns)
    if not with_ratings:
        chosen.pop("rating", None)
    if not len(frame):
        raise UserError(f"{NAME}: no events: expected one event a row.")
    values, are_dates = {}, False
    for role, index in chosen.items():
        column = frame.iloc[:, index]
        if role in REQUIRED:
            values[role] = _ids(column, role)
        else:
            values[role], own = _numbers(column, role, names[index])
            are_dates |= own
    own_names = {role: names[index] for role, index in chosen.items()}
    return RawLog(frame_of(values), own_names, are_dates, tuple(names)), _sha256(values)


def _refuse(column: pd.Series, is_wrong: np.ndarray, what: str) -> None:
    """Refuses the first of the rows that are wrong."""
    if is_wrong.any():
        place = int(np.argmax(is_wrong))
        value = column.iloc[place]
        shown = "" if _is_missing(value) else f" {str(value)[:40]!r}"
        raise UserError(
            f"{NAME}, row {column.index[place]!r}: {what.replace('VALUE', shown.strip())} or drop "
            "the row."
        )


def _is_missing(value: Any) -> bool:
    return value is None or value is pd.NA or value is pd.NaT or value != value


def _ids(column: pd.Series, role: str) -> np.ndarray:
    """Returns the ids of a column as texts, object(str) [n]."""
    _refuse(column, column.isna().to_numpy(bool), f"no {role} id: expected any value; fill it in")
    if column.dtype == object:
        # One by one: among objects 1, 1.0 and True are equal, and their texts are not.
        values = column.tolist()
        is_odd = np.array([isinstance(value, bytes | list | dict | set) for value in values])
        what = f"the {role} id VALUE is bytes or a collection: expected text or a number; mend it"
        _refuse(column, is_odd, what)
        known: dict[str, str] = {}
        texts = np.array([known.setdefault(t, t) for t in map(str, values)], dtype=object)
        distinct = list(known)
    else:
        codes, uniques = pd.factorize(column)
        distinct = [str(value) for value in uniques.tolist()]
        texts = np.array(distinct, dtype=object)[codes]
    bad = {text for text in distinct if not text.strip() or not _is_utf8(text)}
    if bad:
        what = f"an empty {role} id, or one that is no UTF-8 text: expected text; mend it"
        _refuse(column, np.array([text in bad for text in texts], bool), what)
    return texts


def _is_utf8(text: str) -> bool:
    return not any(c == "\0" or "\ud800" <= c <= "\udfff" for c in text)


def _numbers(column: pd.Series, role: str, name: str) -> tuple[np.ndarray, bool]:
    """Returns the numbers of a column, float64 [n], and whether they were dates."""
    are_dates = False
    if role == "time" and isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(column.dtype.categories.dtype)
    if role == "time" and (column.dtype == object or pd.api.types.is_string_dtype(column.dtype)):
        values, are_dates = _objects(column)
    elif role == "time" and pd.api.types.is_datetime64_any_dtype(column.dtype):
        values, are_dates = seconds_of(_utc(column)), True
    else:
        values = pd.to_numeric(column, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    expected = "a date" if are_dates else "a finite number"
    expected += " (numbers, ISO 8601 texts and datetimes are read)" * (role == "time")
    what = (
        f"{name} VALUE is not {expected}: mend it, leave the column unread with "
        f"{role}_column={IGNORED!r},"
    )
    _refuse(column, ~np.isfinite(values), what)
    return values, are_dates


def _objects(column: pd.Series) -> tuple[np.ndarray, bool]:
    """Reads a time column of Python objects: datetimes, texts, numbers."""
    first = column.iloc[0]
    if hasattr(first, "isoformat"):
        return seconds_of(pd.to_datetime(column, utc=True, errors="coerce")), True
    reader = TimeTexts()
    texts = column.map(lambda value: "" if _is_missing(value) else str(value)).astype(object)
    values = reader.read(texts)
    return values, bool(reader.are_dates)


def _utc(column: pd.Series) -> pd.Series:
    is_aware = getattr(column.dt, "tz", None) is not None
    return column.dt.tz_convert("UTC") if is_aware else column.dt.tz_localize("UTC")


def _sha256(values: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for role, column in values.items():
        digest.update(f"{role};".encode())
        if role in REQUIRED:
            encoded = [text.encode() for text in column]
            digest.update(np.array([len(text) for text in encoded], "<i8").tobytes())
            digest.update(b"".join(encoded))
        else:
            digest.update(column.astype("<f8").tobytes())
    return digest.hexdigest()
