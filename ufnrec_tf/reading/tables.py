"""Tables of other libraries, and of plain Python, as DataFrames."""

import dataclasses
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from ufnrec_tf.common.arguments import shown
from ufnrec_tf.common.errors import UserError, own_words

_CONVERTERS = ("to_pandas", "toPandas", "to_arrow", "to_table")
"""Methods by which tables of other libraries become DataFrames or Arrow tables."""

_HINTS = {
    "collect": "Call its .collect() first",
    "obj": "Give the frame that was grouped",
    "read": "Give the path of the file",
    "reset_index": "Give a frame, such as by its .reset_index()",
    "__next__": "Collect its rows into a DataFrame",
}
"""Attributes of what is no table, and how to make a table of it; the first that is there holds."""


def as_frame(table: Any, *, name: str) -> pd.DataFrame:
    """Returns a table as a DataFrame; a DataFrame as it is.

    Tables with Arrow's C interface (polars, pyarrow, DuckDB), or with a `to_pandas`, `toPandas`,
    `to_arrow` or `to_table`, are converted by it. A dict is column -> values. A list has dicts,
    named tuples or dataclasses, one a row. An array of NumPy has named fields.

    Args:
        table: The table.
        name: The name of the argument, for messages.

    Raises:
        UserError: If it is no table, or has columns of several levels.
    """
    try:
        frame = _converted(table)
    # Whatever the other library raises is about the user's table.
    except Exception as error:
        raise UserError(
            f"`{name}`, {shown(table)}: cannot be read as a table ({own_words(error)[:200]}). "
            "Give a DataFrame with one event or one item a row."
        ) from error
    if frame is None:
        raise UserError(
            f"`{name}` must be a table with named columns (a DataFrame, a polars or Arrow table, a "
            "dict of column -> values, a list of dicts) or the path of a file. Received: "
            f"{shown(table)}. {_hint(table)}."
        )
    if frame.columns.nlevels > 1:
        raise UserError(
            f"`{name}`: its columns have {frame.columns.nlevels} levels, such as "
            f"{tuple(map(str, frame.columns[0]))}: expected one name a column. Join them: "
            'frame.columns = ["_".join(map(str, names)) for names in frame.columns].'
        )
    return frame


def _converted(table: Any) -> pd.DataFrame | None:
    """Returns a table as a DataFrame, or None if it is no table."""
    if isinstance(table, pd.DataFrame):
        return table
    if isinstance(table, pd.Series | pd.Index | str | bytes):
        return None
    if hasattr(table, "__arrow_c_stream__") or hasattr(table, "__arrow_c_array__"):
        # The columns keep their types: a whole number beside a missing one stays whole.
        return pa.table(table).to_pandas(types_mapper=pd.ArrowDtype, ignore_metadata=True)
    for method in _CONVERTERS:
        if callable(getattr(table, method, None)):
            return _converted(getattr(table, method)())
    if isinstance(table, Mapping):
        return pd.DataFrame(dict(table))
    if isinstance(table, np.ndarray):
        return pd.DataFrame(table) if table.dtype.names and table.ndim == 1 else None
    has_rows = isinstance(table, list | tuple) and table and all(map(_is_row, table))
    return pd.DataFrame(list(table)) if has_rows else None


def _is_row(row: Any) -> bool:
    is_named = hasattr(row, "_fields") or dataclasses.is_dataclass(row)
    return isinstance(row, Mapping) or (is_named and not isinstance(row, type))


def _hint(table: Any) -> str:
    """Returns the way to a table from what is none."""
    for attribute, hint in _HINTS.items():
        if hasattr(table, attribute):
            return hint
    return 'Name the columns: pd.DataFrame(rows, columns=["user", "item", "time"])'


def plain_column(column: pd.Series) -> pd.Series:
    """Returns a column in a plain type: without Arrow's, sparse and foreign-endian values.

    Objects stand for themselves, not as categories.
    """
    if isinstance(column.dtype, pd.ArrowDtype):
        values = pa.chunked_array(pa.array(column.array))
        try:
            plain = values.to_pandas(date_as_object=False)
        except pa.ArrowNotImplementedError:  # such as for lists of polars' texts
            plain = pd.Series(values.to_pylist(), dtype=object)
        return plain.set_axis(column.index).rename(column.name)
    if isinstance(column.dtype, pd.SparseDtype):
        return pd.Series(np.asarray(column.array), index=column.index)
    if isinstance(column.dtype, pd.CategoricalDtype) and column.dtype.categories.dtype == object:
        return column.astype(object)
    if isinstance(column.dtype, np.dtype) and not column.dtype.isnative:
        return column.astype(column.dtype.newbyteorder("="))
    return column


def plain_times(column: pd.Series) -> pd.Series:
    """Returns a column of times as numbers, datetime64, datetimes or texts.

    Periods become their first moment. What is of another type becomes its text, which no reader
    of times takes.
    """
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(column.dtype.categories.dtype)
    if isinstance(column.dtype, pd.PeriodDtype):
        return column.dt.to_timestamp()
    is_date = pd.api.types.is_datetime64_any_dtype(column.dtype)
    is_number = pd.api.types.is_any_real_numeric_dtype(column.dtype)
    is_text = pd.api.types.is_string_dtype(column.dtype) and column.dtype != object
    if is_date or is_number or is_text:
        return column
    return pd.Series([_plain_time(value) for value in column], column.index, dtype=object)


def _plain_time(value: Any) -> Any:
    if isinstance(value, pd.Period):
        return value.start_time
    is_missing = pd.api.types.is_scalar(value) and pd.isna(value)
    is_time = isinstance(value, date | Decimal | int | float | np.datetime64 | np.number)
    if is_missing or (is_time and not isinstance(value, bool)):
        return value
    return str(value).encode(errors="backslashreplace").decode()  # halves of surrogate pairs


def python_values(frame: pd.DataFrame) -> pd.DataFrame:
    """Returns a frame whose cells are Python's and NumPy's values, None where one is missing."""

    def values(column: pd.Series) -> list[Any]:
        if isinstance(column.dtype, pd.ArrowDtype):
            return pa.chunked_array(pa.array(column.array)).to_pylist()
        return column.astype(object).where(column.notna(), None).tolist()

    columns = [values(frame.iloc[:, number]) for number in range(frame.shape[1])]
    made = pd.DataFrame(dict(enumerate(columns)), dtype=object)
    return made.set_axis(frame.columns, axis=1)
