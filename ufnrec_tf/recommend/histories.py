"""Files of histories: text, rows, Parquet."""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ufnrec_tf.common.errors import UserError, own_words
from ufnrec_tf.recommend.history_groups import (
    History,
    Row,
    UserRuns,
    group_neighbours,
    group_scattered,
)

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


ROWS_HEADER = ["user", "item"]
# As in the readers of training data, other Unicode spaces (no-break, ideographic) are part of an
# id, which str.split would cut there.
_FIELDS = re.compile(r"[^ \t\n\r\x0b\x0c]+")


class Form(NamedTuple):
    """How a file of histories is to be read.

    Attributes:
        is_rows: True for `user,item` rows, False for one history a line.
        has_header: Whether the rows begin with the line `user,item`.
        is_grouped: Whether each user's rows are neighbours.
        odd_line: The first line that is no row where those before it were; 0 for none.
        is_parquet: Whether the rows are those of a Parquet file.
    """

    is_rows: bool
    has_header: bool = False
    is_grouped: bool = True
    odd_line: int = 0
    is_parquet: bool = False


class Histories(NamedTuple):
    """What to recommend for.

    Attributes:
        name: Where they come from, for messages.
        kind: "histories" (one a line), "rows", or "train", the data of a run.
        column: "user", or "row" where a history's name is the number of its line.
        total: How many, for progress; where hashes of users meet, one less.
        sha256: Of what they are read from.
        odd_line: See `Form`.
        read: Given an empty folder for what memory should not hold, yields the histories.
    """

    name: str
    kind: str
    column: str
    total: int
    sha256: str
    odd_line: int
    read: Callable[[Path], Iterator[History]]


def open_histories(path: Path) -> Histories:
    """Reads a file through and returns its histories, not read yet.

    Raises:
        UserError: Where it cannot be read, is empty, or has a header and malformed rows.
    """
    form, runs = _detect(path)
    sha256, num_lines = _hash_and_lines(path)
    num_rows = runs.num_rows
    return Histories(
        name=str(path),
        kind="rows" if form.is_rows else "histories",
        column="user" if form.is_rows else "row",
        total=runs.num_users if form.is_rows else num_lines,
        sha256=sha256,
        odd_line=form.odd_line,
        read=lambda folder: read_histories(path, form, num_rows=num_rows, folder=folder),
    )


def detect_form(path: Path) -> Form:
    """Reads the file once and tells its form, by the rule above.

    Raises:
        UserError: Where it cannot be read, is empty, or has a header and malformed rows.
    """
    return _detect(path)[0]


def _detect(path: Path) -> tuple[Form, UserRuns]:
    """Returns a file's form and, of rows, what is known of their users."""
    runs = UserRuns()
    if _is_parquet(path):
        has_times(path)
        for user, _, _ in parquet_rows(path):
            runs.add(user)
        return Form(is_rows=True, is_grouped=runs.is_grouped, is_parquet=True), runs
    has_header = False
    line = 0
    try:
        for line, row in _csv_rows(path):
            if not runs.num_rows and not has_header and set(row) >= set(ROWS_HEADER):
                _check_header(path, line, row)
                has_header = True
                continue
            if len(row) != 2 or not all(row):
                if has_header:
                    raise UserError(_row_message(path, line, row))
                return Form(is_rows=False, odd_line=line if runs.num_rows else 0), runs
            runs.add(row[0])
    except csv.Error as error:
        if has_header:
            raise UserError(
                f"{path}, line {line + 1}: not valid CSV: {error}. Mend its quotes."
            ) from error
        return Form(is_rows=False, odd_line=line + 1 if runs.num_rows else 0), runs
    if not runs.num_rows:
        what = "has a header and no rows" if has_header else "is empty"
        raise UserError(f"{path}: {what}. Expected histories, one a line, or `user,item` rows.")
    return Form(is_rows=True, has_header=has_header, is_grouped=runs.is_grouped), runs


def _check_header(path: Path, line: int, row: list[str]) -> None:
    """Raises UserError where a header has other columns, or another order."""
    if row != ROWS_HEADER:
        raise UserError(
            f"{path}, line {line}: the header is `{','.join(row)}`; expected `user,item`. "
            "Keep these two columns, in this order."
        )


def _row_message(path: Path, line: int, row: list[str]) -> str:
    """Says what is wrong with a row of a file that has a header."""
    found = f"{len(row)} fields" if len(row) != 2 else "an empty field"
    return f"{path}, line {line}: expected `user,item`, found {found}. Mend the line."


def read_histories(
    path: Path, form: Form, *, num_rows: int = 0, folder: Path | None = None
) -> Iterator[History]:
    """Yields the histories of a file whose form is known, users by first appearance.

    Streams, but for rows that are not grouped by user; see `group_scattered`.

    Args:
        path: The file.
        form: What `detect_form` returned.
        num_rows: Rows of the file, where `folder` is given.
        folder: An empty folder for what memory should not hold; None holds it.

    Raises:
        UserError: Where the file cannot be read or is not UTF-8.
    """
    if not form.is_rows:
        for number, text in enumerate(_lines(path), 1):
            yield str(number), _FIELDS.findall(text)
    elif form.is_grouped:
        yield from group_neighbours(_rows(path, form))
    else:
        yield from group_scattered(_rows(path, form), num_rows=num_rows, folder=folder)


def _rows(path: Path, form: Form) -> Iterator[Row]:
    """Yields the rows of a file of rows."""
    if form.is_parquet:
        yield from parquet_rows(path)
        return
    rows = (row for _, row in _csv_rows(path))
    if form.has_header:
        next(rows)
    for user, item in rows:
        yield user, item, 0


def _is_parquet(path: Path) -> bool:
    try:
        if not path.is_file():  # told below, in `_lines`
            return False
        with open(path, "rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}.") from error


def _hash_and_lines(path: Path) -> tuple[str, int]:
    """Returns the SHA-256 of a file and the number of its lines."""
    digest, num_lines, last = hashlib.sha256(), 0, b"\n"
    try:
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
                num_lines += block.count(b"\n")
                last = block[-1:]
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}.") from error
    return digest.hexdigest(), num_lines + (last != b"\n")


def _csv_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yields (number of its last line, fields) of each row; blank lines are skipped."""
    reader = csv.reader(_lines(path), strict=True)
    for row in reader:
        if len(row) > 1 or (row and row[0].strip()):
            yield reader.line_num, row


def _lines(path: Path) -> Iterator[str]:
    """Yields decoded lines with their ends; raises UserError where that is not possible."""
    try:
        if not path.is_file():
            what = "is not a regular file" if path.exists() else "does not exist"
            raise UserError(f"{path}: {what}. Give --histories a text file.")
        with open(path, "rb") as file:
            for number, raw in enumerate(file, 1):
                if number == 1 and raw.startswith((b"\x1f\x8b", b"PK\x03\x04")):
                    raise UserError(f"{path}: is compressed. Unpack it first.")
                text = raw.decode("utf-8-sig" if number == 1 else "utf-8")
                if "\0" in text:
                    raise UserError(f"{path}, line {number}: has a zero byte. Save it as UTF-8.")
                if "\r" in text.removesuffix("\n").removesuffix("\r"):
                    raise UserError(
                        f"{path}, line {number}: has a carriage return inside. End each line "
                        "with a line feed."
                    )
                yield text
    except UnicodeDecodeError as error:
        raise UserError(f"{path}, line {number}: is not UTF-8. Save it as UTF-8.") from error
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read: {error.strerror or error}. Check --histories."
        ) from error
