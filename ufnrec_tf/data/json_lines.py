"""JSON lines: one object a line, read as the rows of a table whose columns are its keys."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from ufnrec_tf.data.files import TextFile

_TOLD_BY = 1000
_KINDS = {type(None): "null", bool: "true or false", list: "an array"}


def looks_like_json(first_line: str) -> bool:
    """Whether a file that begins with this line holds an object a line."""
    text = first_line.strip()
    try:
        return text.startswith("{") and isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return text.startswith(('{"', '{ "'))  # broken, which its reader tells


def names_of(file: TextFile) -> list[str]:
    """Returns the keys of the first thousand objects, nested values left out.

    Not of the first alone, since a key may be missing in some.

    Raises:
        UserError: If one of these lines is no object.
    """
    names: dict[str, None] = {}
    start = file.data.split(b"\n", _TOLD_BY)[:_TOLD_BY]
    for _, row in objects(file, (line.decode() for line in start)):
        flat = (key for key, value in row.items() if not isinstance(value, list | dict))
        names.update(dict.fromkeys(flat))
    return list(names)


def json_rows(
    file: TextFile, lines: Iterable[str], names: list[str], *, first_line: int
) -> Iterator[tuple[int, list[str]]]:
    """Yields each object's line and the text of its values, "" where a key is missing or nested.

    Numbers keep the file's text: 12.0 is the id "12.0", not "12".

    Raises:
        UserError: If a line is no object, or holds a text that no file of UTF-8 can.
    """
    for line, row in objects(file, lines, first_line=first_line):
        yield line, [as_field(row.get(name)) for name in names]


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
        found = json.loads(text, parse_int=str, parse_float=str, parse_constant=str)
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
    # JSON alone can name these by an escape; no other form of file can hold them.
    if "\\u" in text and any(_is_odd(value) for value in found.values() if isinstance(value, str)):
        raise file.error(
            "a text with a NUL or with half of a surrogate pair (\\u0000, \\ud800 ...): expected "
            "text that UTF-8 can hold; mend or delete the line.",
            line=line,
        )
    return found


def _is_odd(text: str) -> bool:
    return "\0" in text or any("\ud800" <= character <= "\udfff" for character in text)


def as_field(value: Any) -> str:
    """Returns the text of a value; "" for null and for what is nested."""
    if isinstance(value, str):
        return value
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else ""
