"""Rows of a table: CSV, .inter, .dat, JSON lines."""

from __future__ import annotations

import ast
import csv
import io
import itertools
import json
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from ufnrec_tf.common.progress import working_on
from ufnrec_tf.reading.text_files import TextFile

FIRST_OBJECTS = 1000
"""Objects whose keys are the columns of JSON lines."""
_KINDS = {type(None): "null", bool: "true or false", list: "an array"}
# Made once: `json.loads` makes one for each line.
_DECODER = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=str)


def looks_like_json(first_line: str) -> bool:
    """Returns True if a file that begins with this line holds an object a line."""
    text = first_line.strip()
    try:
        return text.startswith("{") and isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return text.startswith(('{"', '{ "'))  # broken: its reader says how


def looks_like_array(first_line: str) -> bool:
    """Returns True if a line is a JSON array, or begins one that goes on over lines."""
    text = first_line.strip()
    try:
        return text == "[" or (text.startswith("[") and isinstance(json.loads(text), list))
    except (ValueError, RecursionError):
        return text.startswith(('["', '[["'))


def python_literal(text: str) -> Any:
    """Returns the value of a text as Python writes it, such as {'asin': 'i1'}.

    Python's warnings about odd text (`1or`) are not shown: the reader says what is wrong.

    Raises:
        ValueError, SyntaxError, RecursionError, MemoryError: If it is none.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)
        return ast.literal_eval(text)


def keys_of(file: TextFile) -> tuple[list[str], dict[str, Any]]:
    """Returns the keys of plain values in the first thousand objects, and those of nested ones.

    Not only of the first object, since a key may be missing in some.

    Returns:
        The names, and key -> an example of the others, whose values are all nested.

    Raises:
        UserError: If one of these lines is no object.
    """
    names: dict[str, None] = {}
    nested: dict[str, Any] = {}
    start = file.data.split(b"\n", FIRST_OBJECTS)[:FIRST_OBJECTS]
    for _, row in objects(file, (line.decode() for line in start)):
        for key, value in row.items():
            if isinstance(value, list | dict):
                nested.setdefault(key, value)
            else:
                names[key] = None
    return list(names), {key: value for key, value in nested.items() if key not in names}


def json_rows(
    file: TextFile, lines: Iterable[str], table: Table, *, first_line: int
) -> Iterator[tuple[int, list[str]]]:
    """Yields each object's line and the text of its values, "" where a key is missing or unread.

    Numbers keep the file's text: 12.0 is the id "12.0", not "12".

    Raises:
        UserError: If a line is no object, holds a text that no file of UTF-8 can, or a nested
            value where a plain one is read.
    """
    known = {*table.names, *table.nested}
    read = [(index, table.names[index]) for index in table.read if index < len(table.names)]
    for line, row in objects(file, lines, first_line=first_line):
        if not known.issuperset(row):
            for key in row.keys() - known:
                known.add(key)
                table.check_new_key(line, key)
        fields = [""] * len(table.names)
        for index, name in read:
            value = row.get(name)
            if value.__class__ is str:
                fields[index] = value
                continue
            if isinstance(value, list | dict):
                raise file.error(
                    f"{name!r} holds {shown_value(value)}: expected one text or number, as in "
                    "the other lines; mend or delete the line.",
                    line=line,
                )
            fields[index] = as_field(value)
        yield line, fields


def objects(
    file: TextFile, lines: Iterable[str], *, first_line: int = 1
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields each object and its line; see `json_rows`. Numbers are texts."""
    # Line by line, since a caller hands on what a row needs, and no more.
    for line, text in enumerate(lines, start=first_line):
        if text.strip(" \t\r\n\x0b\x0c"):
            yield line, _object(file, text, line)


def _object(file: TextFile, text: str, line: int) -> dict[str, Any]:
    try:
        found = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        found, reason = None, f"{error.msg}, character {error.pos + 1}"
    except RecursionError:
        found, reason = None, "nested too deep"
    else:
        reason = f"it holds {_KINDS.get(type(found), 'a text or a number')}"
    if not isinstance(found, dict):
        raise file.error(
            f"no JSON object ({reason}): expected one event a line such as "
            '{"user_id": "u1", "item_id": "i1", "timestamp": 1546300800}; mend or delete the '
            "line (an array of objects becomes such lines by: jq -c '.[]' FILE).",
            line=line,
        )
    # Only JSON can name these, by an escape; no other form of file can hold them.
    if "\\u" in text and any(is_no_text(value) for value in found.values()):
        raise file.error(
            "a text with a NUL or with half of a surrogate pair (\\u0000, \\ud800 ...): expected "
            "text that UTF-8 can hold; mend or delete the line.",
            line=line,
        )
    return found


def is_no_text(value: object) -> bool:
    """True for a text with a NUL or with half of a surrogate pair, which only JSON can name."""
    if not isinstance(value, str):
        return False
    return "\0" in value or any("\ud800" <= character <= "\udfff" for character in value)


def shown_value(value: Any) -> str:
    """Returns what a nested value is, and its beginning, for messages."""
    text = json.dumps(value)
    what = "a list" if isinstance(value, list) else "an object"
    return f"{what}, {text[:60]}{'...' * (len(text) > 60)}"


def as_field(value: Any) -> str:
    """Returns the text of a value; "" for null and for what is nested."""
    if isinstance(value, str):
        return value
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else ""


_AT_A_TIME = 10_000
Row = tuple[int, list[str]]
"""Number of a row's first line, and its fields."""
Header = tuple[int | None, list[str]]
"""Number of the header's line, None where the names do not stand in a line; and the names."""


@dataclass(frozen=True)
class Table:
    """A table's layout.

    Attributes:
        names: The names of the columns, types and outer spaces removed.
        separator: One character; two of a .dat file; "" of JSON lines.
        is_quoted: True where "..." may hold separators and line ends, as in CSV.
        has_header: True if the first row is the names.
        is_json: True if a line is an object whose keys are the names.
        nested: Of JSON, the keys whose values are no plain ones, each with an example.
        read: Of JSON, the indices of the columns that are read.
        check_new_key: Of JSON, called with line and key for a key that is not yet known.
        skips_space: True where a quoted field may stand after a space: a, "b".
    """

    names: list[str]
    separator: str
    is_quoted: bool
    has_header: bool = True
    is_json: bool = False
    nested: dict[str, Any] = field(default_factory=dict)
    read: tuple[int, ...] = ()
    check_new_key: Callable[[int, str], None] = lambda line, key: None
    skips_space: bool = False


def rows(file: TextFile, table: Table) -> Iterator[Row]:
    """Yields the rows of a whole file; see `rows_of`."""
    found = rows_of(file, split_lines(file.data, table), table)
    with working_on("reading rows", file.data.count(b"\n"), "rows") as read:
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
        yield from json_rows(file, lines, table, first_line=first_line)
        return
    if not table.is_quoted:
        for line, plain in enumerate(lines, start=first_line):
            if plain.strip():
                yield line, plain.removesuffix("\r").split(table.separator)
        return
    reader = csv.reader(
        lines, delimiter=table.separator, strict=True, skipinitialspace=table.skips_space
    )
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
    """Returns True if a row's line is white space only, as `TextFile.first_line` sees it."""
    return (len(row) < 2 or separator.isspace()) and not any(map(str.strip, row))
