"""JSON that is not one object a line, made into such lines: arrays, columns, pretty-printed text.

An array of objects, or objects that are spread over lines, are read as a stream of any length. A
file that is one object is held as a whole, up to 64 MiB: it may have columns, or wrap one list.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

from ufnrec_tf.common.errors import UserError

UNIT = "object"
"""What is counted in such a file, in place of lines."""

_MOST_CHARACTERS = 64 << 20
_MOST_DEPTH = 20
_ARRAY = re.compile(rb"\s*\[\s*(\{|\]\s*$)")
_OBJECT = re.compile(rb'\s*\{\s*("|$)')
_GOES_ON = (b"{", b"[", b",", b":")
_BETWEEN = re.compile(r"[\s,\[\]]*")
_NUMBER = re.compile(r"\d+")
_PLACE = re.compile(r"^\w+$", re.ASCII)
_DECODER = json.JSONDecoder()


def is_document(start: bytes, *, is_all: bool) -> bool:
    """Returns True if a file is JSON that is not one object a line.

    Args:
        start: The beginning of the file, without a byte order mark.
        is_all: True if that is the whole file.
    """
    if _ARRAY.match(start):
        return True
    if not _OBJECT.match(start):
        return False
    line, _, rest = start.lstrip().partition(b"\n")
    try:
        found = json.loads(line)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data" and error.doc[error.pos :].lstrip().startswith("{"):
            return True
        # A broken line is what its reader says; one object over several lines is not broken.
        is_cut = not rest and not is_all
        return is_cut or line.rstrip().endswith(_GOES_ON)
    except (ValueError, RecursionError):
        return False
    is_one = is_all and not rest.strip()
    return is_one and any(isinstance(value, list | dict) for value in found.values())


def document_lines(name: str, texts: Iterator[str], *, argument: str) -> Iterator[str]:
    """Yields the lines of the objects that a document holds, each ended by a line feed.

    Args:
        name: The file, for messages.
        texts: The document in pieces.
        argument: What a command of the shell is given to read it.

    Raises:
        UserError: If it is broken or cut short, or what of it is an event is not plain.
    """
    objects = _objects(name, texts, argument)
    first, in_array = next(objects, ("", False))
    if not first:
        raise UserError(f"{name}: a JSON array without an object: expected one object an event.")
    second, _ = next(objects, ("", False))
    if in_array or second:
        yield _line(first)
        if second:
            yield _line(second)
        yield from (_line(text) for text, _ in objects)
        return
    # Numbers as texts: 12.0 stays the id "12.0".
    whole = json.loads(first, parse_int=str, parse_float=str, parse_constant=str)
    for row in _rows_of_object(name, whole, argument):
        yield json.dumps(row) + "\n"


def _line(text: str) -> str:
    """Returns the text of an object on one line: inside a text JSON has no line end."""
    if "\n" in text or "\r" in text:
        text = text.replace("\r", " ").replace("\n", " ")
    return text + "\n"


def _objects(name: str, texts: Iterator[str], argument: str) -> Iterator[tuple[str, bool]]:
    """Yields the text of each object, and whether it stands in an array."""
    text, place, depth, number, line = "", 0, 0, 0, 1
    while True:
        found = _BETWEEN.match(text, place)
        assert found is not None
        for character in found[0]:
            depth += (character == "[") - (character == "]")
            if depth not in (0, 1):
                raise UserError(
                    f"{name}, after object {number:,}: a {character} too many: expected one array "
                    f"of objects; lines of objects come out of: jq -c '.. | objects' {argument}."
                )
        place = found.end()
        if place == len(text):
            line += text.count("\n")
            text, place = next(texts, ""), 0
            if text:
                continue
            if depth:
                raise UserError(
                    f"{name}: ends after object {number:,} within its array: expected a closing "
                    "]; it is cut short. Copy it again."
                )
            return
        try:
            value, end = _DECODER.raw_decode(text, place)
        except RecursionError:
            raise _broken(name, number + 1, "nested too deep", argument) from None
        except json.JSONDecodeError as error:
            # Perhaps only cut where this piece ends.
            more = next(texts, "") if len(text) - place < _MOST_CHARACTERS else ""
            if not more:
                at = line + text.count("\n", 0, error.pos)
                is_long = len(text) - place >= _MOST_CHARACTERS
                why = "it does not end within 64 MiB" if is_long else f"{error.msg}, line {at:,}"
                raise _broken(name, number + 1, why, argument) from None
            line += text.count("\n", 0, place)
            text, place = text[place:] + more, 0
            continue
        number += 1
        if not isinstance(value, dict):
            raise _broken(name, number, f"it is {json.dumps(value)[:40]}", argument)
        yield text[place:end], depth > 0
        place = end


def _broken(name: str, number: int, why: str, argument: str) -> UserError:
    return UserError(
        f"{name}, object {number:,}: no whole JSON object ({why}): expected objects such as "
        '{"user_id": "u1", "item_id": "i1", "timestamp": 1546300800}, in an array, one a line, or '
        f"one after another; mend it or copy it again. Objects deep inside a large file become "
        f"lines by: jq -c '.KEY[]' {argument}."
    )


def _rows_of_object(name: str, whole: dict[str, Any], argument: str) -> Iterator[dict[str, Any]]:
    """Yields the events of a file that is one object.

    Raises:
        UserError: If they may lie in several places, or lie deeper.
    """
    lists = {key: value for key, value in whole.items() if _is_list_of(value, dict)}
    if len(lists) == 1:
        yield from next(iter(lists.values()))
    elif lists:
        ways = " or ".join(f"jq -c '{jq_path([key])}[]' {argument}" for key in [*lists][:4])
        raise UserError(
            f"{name}: one object with {len(lists)} lists of objects ({_shown(lists)}): expected "
            f"one; choose which are the events: {ways}."
        )
    elif _is_split(whole):
        yield from (dict(zip(whole["columns"], row, strict=True)) for row in whole["data"])
    elif len(whole) > 1 and all(_is_column(value) for value in whole.values()):
        lengths = {key: len(value) for key, value in whole.items()}
        if len(set(lengths.values())) > 1:
            key = next(iter(whole))
            raise UserError(
                f"{name}: one object of lists of different lengths ({_shown(whole)}; "
                f"{key[:40]!r} has {lengths[key]:,}): expected columns of one length, or one "
                "object an event; if each key is a user with a list of items: jq -c 'to_entries[] "
                f"| {{user_id: .key, item_id: .value[]}}' {argument}."
            )
        yield from (dict(zip(whole, row, strict=True)) for row in zip(*whole.values(), strict=True))
    elif len(whole) > 1 and all(_is_numbered_column(value) for value in whole.values()):
        # The columns of pandas.DataFrame.to_json.
        numbers = list(next(iter(whole.values())))
        yield from ({key: whole[key].get(number) for key in whole} for number in numbers)
    elif _is_numbered(whole) and all(isinstance(value, dict) for value in whole.values()):
        yield from whole.values()
    elif path := _path_to_list(whole):
        raise UserError(
            f"{name}: one object whose list of objects lies deeper ({_shown(whole)}): make it one "
            f"object a line first: jq -c '{jq_path(path)}[]' {argument} > log.jsonl."
        )
    else:
        yield whole


def _is_list_of(value: Any, kind: type) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, kind) for one in value)


def _is_column(value: Any) -> bool:
    return isinstance(value, list) and not any(isinstance(one, list | dict) for one in value)


def _is_numbered(value: Any) -> bool:
    return isinstance(value, dict) and bool(value) and all(map(_NUMBER.fullmatch, value))


def _is_numbered_column(value: Any) -> bool:
    return _is_numbered(value) and _is_column(list(value.values()))


def _is_split(whole: dict[str, Any]) -> bool:
    """Returns True for what pandas calls split: names beside rows."""
    names, rows = whole.get("columns"), whole.get("data")
    return (
        _is_list_of(names, str)
        and _is_list_of(rows, list)
        and all(len(row) == len(names) for row in rows)  # type: ignore[arg-type, union-attr]
    )


def _path_to_list(value: dict[str, Any], depth: int = 0) -> list[str]:
    """Returns the keys that lead to the first list of objects, nothing where there is none."""
    if depth > _MOST_DEPTH:
        return []
    for key, inner in value.items():
        if _is_list_of(inner, dict):
            return [key]
        if isinstance(inner, dict) and (path := _path_to_list(inner, depth + 1)):
            return [key, *path]
    return []


def jq_path(keys: list[str]) -> str:
    """Returns the keys as jq takes them: .events, or ."odd key"."""
    return "".join(
        f".{key}" if _PLACE.match(key) and not key[0].isdigit() else f".{json.dumps(key)}"
        for key in keys
    )


def _shown(values: dict[str, Any]) -> str:
    shown = ", ".join(repr(key[:40]) for key in [*values][:8])
    return f"keys {shown}{', ...' if len(values) > 8 else ''}"
