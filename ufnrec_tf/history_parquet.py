"""Reads Parquet files of `user`, `item` and, where there is one, `timestamp` to recommend for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ufnrec_tf.errors import UserError, own_words
from ufnrec_tf.history_groups import Row

MAGIC = b"PAR1"
TIME = "timestamp"
_BATCH_ROWS = 1 << 16


def has_times(path: Path) -> bool:
    """Checks the columns, and tells whether there is one of times.

    Raises:
        UserError: If it is no Parquet file, or has no such columns.
    """
    with _open(path) as file:
        names = file.schema_arrow.names
        num_rows = file.metadata.num_rows
    missing = [name for name in ("user", "item") if name not in names]
    if missing:
        raise UserError(
            f"{path}: has no column `{missing[0]}`; found: {', '.join(map(repr, names))}. Rename "
            f"the columns to `user`, `item` and, to sort by it, `{TIME}`."
        )
    if not num_rows:
        raise UserError(f"{path}: has no rows. Expected one event a row.")
    return TIME in names


def parquet_rows(path: Path) -> Iterator[Row]:
    """Yields user, item and time of each row; the time is 0 where there is none.

    Ids may be text or whole numbers; times numbers or dates.

    Raises:
        UserError: If a value is missing or of another type, naming file and row.
    """
    columns = ["user", "item", *([TIME] if has_times(path) else [])]
    first_row = 1
    with _open(path) as file:
        try:
            for batch in file.iter_batches(_BATCH_ROWS, columns=columns, use_threads=False):
                batch.validate(full=True)  # that texts are UTF-8, which reading does not check
                users, items = (_ids(path, batch, name, first_row) for name in columns[:2])
                times = _times(path, batch, first_row) if len(columns) == 3 else [0] * len(users)
                yield from zip(users, items, times, strict=True)
                first_row += batch.num_rows
        except (pa.ArrowException, OSError) as error:
            raise _damaged(path, error) from error


def _open(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> UserError:
    return UserError(
        f"{path}: cannot be read as Parquet ({own_words(error)}). Write or copy it again."
    )


def _ids(path: Path, batch: pa.RecordBatch, name: str, first_row: int) -> list[str]:
    column = batch.column(batch.schema.get_field_index(name))
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    is_text = any(
        test(kind)
        for test in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    )
    if not is_text and not pa.types.is_integer(kind):
        raise UserError(
            f"{path}: the column `{name}` holds {column.type}: expected text or whole numbers. "
            "Convert it to text."
        )
    texts = column.cast(pa.string())
    bad = pc.or_kleene(pc.is_null(texts), pc.equal(texts, ""))
    _refuse(path, bad, first_row, f"no `{name}`")
    _refuse(path, pc.match_substring(texts, "\0"), first_row, f"a NUL in `{name}`")
    return texts.to_pylist()


def _times(path: Path, batch: pa.RecordBatch, first_row: int) -> list[int | float]:
    column = batch.column(batch.schema.get_field_index(TIME))
    _refuse(path, pc.is_null(column), first_row, f"no `{TIME}`")
    if pa.types.is_date32(column.type):
        return column.cast(pa.int32()).to_pylist()
    if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        return column.cast(pa.int64()).to_pylist()
    if pa.types.is_integer(column.type):
        return column.to_pylist()
    if not pa.types.is_floating(column.type) and not pa.types.is_decimal(column.type):
        raise UserError(
            f"{path}: the column `{TIME}` holds {column.type}: expected numbers or dates. "
            "Convert it, or leave it out where the rows are in order."
        )
    values = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
    _refuse(path, pa.array(~np.isfinite(values)), first_row, f"no finite `{TIME}`")
    return values.tolist()


def _refuse(path: Path, is_bad: pa.Array, first_row: int, what: str) -> None:
    """Raises UserError at the first row where `is_bad`."""
    place = pc.index(is_bad, True).as_py()
    if place >= 0:
        raise UserError(f"{path}, row {first_row + place}: {what}. Fill it in, or drop the row.")
