"""Reads files of histories to recommend for: one history a line, or `user,item` rows.

UTF-8, in one of two forms. Rows: CSV with the header `user,item`, or without it where each line
has exactly two CSV fields, neither empty; blank lines are skipped; a user's rows are in order,
oldest first, and need not be neighbours. Histories: everything else; one a line, ids separated
by ASCII white space, the newest last, nothing quoted; a blank line is an empty history. A file
whose every line looks like `a,b` is therefore read as rows.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from ufnrec_tf.errors import UserError

ROWS_HEADER = ["user", "item"]
# As in the readers of training data, other Unicode spaces (no-break, ideographic) are part of an
# id, which str.split would cut there.
_FIELDS = re.compile(r"[^ \t\n\r\x0b\x0c]+")

History = tuple[str, list[str]]
"""A name (the user, or the line's number from 1) and raw item ids, the newest last."""


class Form(NamedTuple):
    """How a file of histories is to be read.

    Attributes:
        is_rows: True for `user,item` rows, False for one history a line.
        has_header: Whether the rows begin with the line `user,item`.
        is_grouped: Whether each user's rows are neighbours.
        odd_line: The first line that is no row where those before it were; 0 for none.
    """

    is_rows: bool
    has_header: bool = False
    is_grouped: bool = True
    odd_line: int = 0


def detect_form(path: Path) -> Form:
    """Reads the file once and tells its form, by the rule above.

    Raises:
        UserError: Where it cannot be read, is empty, or has a header and malformed rows.
    """
    has_header = False
    num_rows = 0
    users: set[str] = set()
    previous: str | None = None
    is_grouped = True
    line = 0
    try:
        for line, row in _csv_rows(path):
            if not num_rows and not has_header and set(row) >= set(ROWS_HEADER):
                _check_header(path, line, row)
                has_header = True
                continue
            num_rows += 1
            if len(row) != 2 or not all(row):
                if has_header:
                    raise UserError(_row_message(path, line, row))
                return Form(is_rows=False, odd_line=line if num_rows > 1 else 0)
            is_grouped = is_grouped and (row[0] == previous or row[0] not in users)
            previous = row[0]
            users.add(previous)
    except csv.Error as error:
        if has_header:
            raise UserError(
                f"{path}, line {line + 1}: not valid CSV: {error}. Mend its quotes."
            ) from error
        return Form(is_rows=False, odd_line=line + 1 if num_rows else 0)
    if not num_rows:
        what = "has a header and no rows" if has_header else "is empty"
        raise UserError(f"{path}: {what}. Expected histories, one a line, or `user,item` rows.")
    return Form(is_rows=True, has_header=has_header, is_grouped=is_grouped)


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


def read_histories(path: Path, form: Form) -> Iterator[History]:
    """Yields the histories of a file whose form is known, users by first appearance.

    Streams, but for rows that are not grouped by user: those are held in memory.

    Raises:
        UserError: Where the file cannot be read or is not UTF-8.
    """
    if not form.is_rows:
        for number, text in enumerate(_lines(path), 1):
            yield str(number), _FIELDS.findall(text)
        return
    rows = (row for _, row in _csv_rows(path))
    if form.has_header:
        next(rows)
    if form.is_grouped:
        for user, group in groupby(rows, key=lambda row: row[0]):
            yield user, [item for _, item in group]
        return
    by_user: dict[str, list[str]] = {}
    shared: dict[str, str] = {}  # one string an item, however many rows have it
    for user, item in rows:
        by_user.setdefault(user, []).append(shared.setdefault(item, item))
    yield from by_user.items()


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
