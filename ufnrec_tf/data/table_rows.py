"""Rows of tables (.inter, CSV, TSV, .dat, JSON lines): fields, and the line where each begins."""

import csv
import io
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ufnrec_tf.data.files import TextFile
from ufnrec_tf.data.json_lines import json_rows
from ufnrec_tf.phases import phase

_AT_A_TIME = 10_000
Row = tuple[int, list[str]]
"""Number of a row's first line, and its fields."""
Header = tuple[int | None, list[str]]
"""Likewise; None where the names do not stand in a line."""


@dataclass(frozen=True)
class Table:
    """A table's layout.

    Attributes:
        names: Of the columns, types and outer spaces removed.
        separator: One character; two of a .dat file; "" of JSON lines.
        is_quoted: True where "..." may hold separators and line ends, as in CSV.
        has_header: Whether the first row is the names.
        is_json: Whether a line is an object whose keys are the names.
    """

    names: list[str]
    separator: str
    is_quoted: bool
    has_header: bool = True
    is_json: bool = False


def rows(file: TextFile, table: Table) -> Iterator[Row]:
    """Yields the rows of a whole file; see `rows_of`."""
    found = rows_of(file, split_lines(file.data, table), table)
    with phase("reading rows", file.data.count(b"\n"), "rows") as read:
        while some := list(itertools.islice(found, _AT_A_TIME)):
            yield from some
            read.advance(len(some))


def split_lines(data: bytes, table: Table) -> Iterable[str]:
    """Returns the lines of UTF-8 text as `rows_of` takes them, to be gone through once."""
    if not table.is_quoted:
        return data.decode().split("\n")
    # Each keeps its end, which may be a lone carriage return.
    return io.StringIO(data.decode(), newline="")


def rows_of(
    file: TextFile, lines: Iterable[str], table: Table, *, first_line: int = 1
) -> Iterator[Row]:
    """Yields each row's first line number and its fields, header included, blank rows left out.

    Args:
        file: Named in errors.
        lines: Of `split_lines`; one is asked for only when the row needs it.
        table: The layout.
        first_line: Number of the first of the lines.

    Raises:
        UserError: If a quote is not closed, with the line where its row begins; of JSON lines,
            see `json_rows`.
    """
    if table.is_json:
        yield from json_rows(file, lines, table.names, first_line=first_line)
        return
    if not table.is_quoted:
        for line, plain in enumerate(lines, start=first_line):
            if plain.strip():
                yield line, plain.removesuffix("\r").split(table.separator)
        return
    reader = csv.reader(lines, delimiter=table.separator, strict=True)
    line = first_line
    try:
        for row in reader:
            if not _is_blank(row, table.separator):
                yield line, row
            line = first_line + reader.line_num
    except csv.Error as error:
        raise file.error(
            f"the row that begins here is not readable as a table ({error}): expected a quoted "
            'field to end before the next separator, quotes inside it doubled (""); mend its '
            "quotes.",
            line=line,
        ) from None


def header_line(file: TextFile, found: Iterator[Row]) -> int:
    """Takes the header from some rows and returns its line.

    Raises:
        UserError: If there is none: a first line of Unicode spaces is a header and a blank row.
    """
    header = next(found, None)
    if header is None:
        raise file.error("nothing but spaces: expected a header and rows.")
    return header[0]


def _is_blank(row: list[str], separator: str) -> bool:
    """Whether a row's line is white space only, as `TextFile.first_line` sees it."""
    return (len(row) < 2 or separator.isspace()) and not any(map(str.strip, row))
