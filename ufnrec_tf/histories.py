"""Reads files of histories to recommend for: one history a line, or `user,item` rows.

Text in UTF-8, in one of two forms, or Parquet (`history_parquet.py`), which is rows. Rows: CSV
with the header `user,item`, or without it where each line has exactly two CSV fields, neither
empty; blank lines are skipped; a user's rows are in order, oldest first, and need not be
neighbours. Histories: everything else; one a line, ids separated by ASCII white space, the newest
last, nothing quoted; a blank line is an empty history. A file whose every line looks like `a,b`
is therefore read as rows.
"""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from ufnrec_tf.errors import UserError
from ufnrec_tf.history_groups import (
    History,
    Row,
    UserRuns,
    group_neighbours,
    group_scattered,
)
from ufnrec_tf.history_parquet import MAGIC, has_times, parquet_rows

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
