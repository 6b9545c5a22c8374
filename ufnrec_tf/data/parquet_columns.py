"""Columns of Parquet as ids, times and ratings, checked."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ufnrec_tf.data.columns import IGNORED
from ufnrec_tf.data.times import TimeTexts
from ufnrec_tf.errors import UserError


class EventColumns:
    """A batch's columns, checked; errors name file and row."""

    def __init__(self, path: Path, batch: pa.RecordBatch, first_row: int, texts: TimeTexts) -> None:
        self.are_dates = False
        self._texts = texts
        self._path = path
        self._batch = batch
        self._first_row = first_row

    def ids(self, role: str, name: str) -> pa.DictionaryArray:
        """Returns the raw ids of a column as a dictionary of strings."""
        column = self._batch.column(name)
        kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        if not (_is_text(kind) or pa.types.is_integer(kind)):
            raise UserError(
                f"{self._path}: the {role} column {name!r} holds {column.type}: expected text or "
                "whole numbers; convert it, or name another with "
                f"--config.data.{role}_column=NAME."
            )
        self._refuse_first(pc.is_null(column), f"no {role} id: expected any text; fill it in")
        codes = column.cast(pa.string()).dictionary_encode()
        ids = codes.dictionary.to_pylist()
        for is_wrong, what in (
            ([not id.strip() for id in ids], f"an empty {role} id: expected any text; fill it in"),
            (["\0" in id for id in ids], f"a {role} id with a NUL: expected text; mend it"),
        ):
            if any(is_wrong):
                where = pa.array(np.array(is_wrong)[codes.indices.to_numpy()])
                self._refuse_first(where, what)
        return codes

    def times(self, name: str) -> np.ndarray:
        """Returns the times of a column, float64; of dates the seconds since 1970."""
        column = self._batch.column(name)
        kind = column.type
        if pa.types.is_dictionary(kind):
            column = column.dictionary_decode()
            kind = column.type
        if _is_text(kind):
            return self._iso(column, name)
        if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
            self.are_dates = True
            seconds = column.cast(pa.timestamp("us", getattr(kind, "tz", None)), safe=False)
            values = seconds.cast(pa.int64()).to_numpy(zero_copy_only=False) / 1e6
        elif _is_number(kind):
            values = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        else:
            raise UserError(
                f"{self._path}: the time column {name!r} holds {kind}: expected numbers or dates; "
                f"convert it, or leave it unread with --config.data.time_column={IGNORED}."
            )
        self._refuse_first(
            pa.array(~np.isfinite(values)), "no finite time: expected a number; mend it"
        )
        return values.astype(np.float64)

    def _iso(self, column: pa.Array, name: str) -> np.ndarray:
        """Returns the times of a column of texts."""
        texts = pd.Series(column.to_numpy(zero_copy_only=False), dtype=object).fillna("")
        values = self._texts.read(texts)
        self.are_dates = bool(self._texts.are_dates)
        if not np.isfinite(values).all():
            at = int(np.argmin(np.isfinite(values)))
            raise UserError(
                f"{self._path}, row {self._first_row + at}: the time column {name!r} holds "
                f"{texts[at][:40]!r}: expected numbers, dates or ISO 8601 texts such as "
                f"2019-01-31; mend it, or leave it unread with "
                f"--config.data.time_column={IGNORED}."
            )
        return values

    def ratings(self, name: str) -> np.ndarray:
        """Returns the ratings of a column, float64."""
        column = self._batch.column(name)
        if not _is_number(column.type):
            raise UserError(
                f"{self._path}: the rating column {name!r} holds {column.type}: expected numbers; "
                "convert it, or name another with --config.data.rating_column=NAME."
            )
        values = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        what = "no finite rating: expected a number; mend it"
        self._refuse_first(pa.array(~np.isfinite(values)), what)
        return values

    def _refuse_first(self, is_wrong: pa.Array, what: str) -> None:
        if pc.any(is_wrong).as_py():
            row = self._first_row + is_wrong.index(True).as_py()
            raise UserError(f"{self._path}, row {row}: {what} or delete the row.")


def _is_text(kind: pa.DataType) -> bool:
    return any(
        is_kind(kind)
        for is_kind in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    )


def _is_number(kind: pa.DataType) -> bool:
    return any(
        is_kind(kind)
        for is_kind in (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal)
    )
