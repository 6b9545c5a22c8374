"""Columns of JSON lines that a reader cannot take: nested ones, and keys that come late."""

from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd

from ufnrec_tf.common.errors import UserError
from ufnrec_tf.reading.column_kinds import is_named_as_time, time_kind
from ufnrec_tf.reading.column_names import GUESSES, REQUIRED, find_role
from ufnrec_tf.reading.columns import IGNORED, Columns
from ufnrec_tf.reading.json_documents import jq_path
from ufnrec_tf.reading.rows import FIRST_OBJECTS, Table, shown_value
from ufnrec_tf.reading.text_files import TextFile

_IDS = ("id", "_id", "$oid", "value", "key", "$date", "$numberLong")
"""Keys of an object that stand for it, the likeliest first."""


def refuse_nested(
    file: TextFile, table: Table, columns: Columns, *, chosen: dict[str, int] | None
) -> None:
    """Refuses a log whose user, item or time is an object or a list.

    Args:
        file: Named in errors.
        table: The layout of the log.
        columns: The columns that the user named.
        chosen: Role -> index of the columns that are read; None where some could not be chosen.

    Raises:
        UserError: With the line of jq that takes the value out.
    """
    wanted = {
        role: getattr(columns, role)
        for role in (*REQUIRED, "time")
        if getattr(columns, role) != IGNORED and role not in (chosen or {})
    }
    nested = list(table.nested)
    found = {}
    for role, flag in wanted.items():
        index = find_role(nested, role, flag)
        if index is not None and find_role(table.names, role, flag) is None:
            found[role] = nested[index]
    if chosen is not None and "time" in wanted and not wanted["time"] and "time" not in found:
        times = [name for name, value in table.nested.items() if _may_be_time(name, value)]
        if times:
            found["time"] = times[0]
    if found:
        role, name = next(iter(found.items()))
        value = table.nested[name]
        steps = " | ".join(_step(key, table.nested[key]) for key in found.values())
        keys = f" with the keys {', '.join(map(repr, value))}" if isinstance(value, dict) else ""
        raise file.error(
            f"the {role} {name!r} holds {shown_value(value)}{keys}: expected one text or number; "
            f"take it out first: jq -c '{steps}' {file.argument or file.path} > flat.jsonl"
            f"{_or_leave_out(role)}."
        )
    missing = [role for role in REQUIRED if role in wanted]
    if chosen is None and (place := _place_of(table.nested, missing)):
        name, inner = place
        each = "[]" * isinstance(table.nested[name], list)
        path = jq_path([name])
        raise file.error(
            f"{name!r} holds {shown_value(table.nested[name])} with the keys "
            f"{', '.join(map(repr, inner[:8]))}: expected one event a line, its columns side by "
            f"side; flatten it first: jq -c '. + {path}{each} | del({path})' "
            f"{file.argument or file.path} > "
            "flat.jsonl."
        )


def _may_be_time(name: str, value: Any) -> bool:
    """Returns True if a nested value holds a time, by its keys, or by its name and its value."""
    if isinstance(value, list):
        value = value[0] if value else None
    if isinstance(value, dict) and "$date" in value:
        return True
    for key in _keys_in(value):
        value = value[key]
    is_time = isinstance(value, str) and time_kind(pd.Series([value], dtype=object)) is not None
    return is_time and is_named_as_time(name)


def _step(name: str, value: Any) -> str:
    """Returns the step of jq that replaces a value by what it holds."""
    path = jq_path([name])
    if isinstance(value, list):
        inner = value[0] if value else None
        # Several values are several events.
        return f"{path} = {path}[]{jq_path(list(_keys_in(inner)))}"
    return f"{path} |= {jq_path(list(_keys_in(value)))}"


def _keys_in(value: Any) -> Iterator[str]:
    """Yields the keys that lead from an object to a plain value."""
    while isinstance(value, dict) and value:
        key = next((key for key in _IDS if key in value), next(iter(value)))
        yield key
        value = value[key]


def _or_leave_out(role: str) -> str:
    flag = f"; or leave it unread with --config.data.{role}_column={IGNORED}"
    return flag * (role not in REQUIRED)


def _place_of(nested: dict[str, Any], roles: list[str]) -> tuple[str, list[str]] | None:
    """Returns the nested key under which a missing column may lie, and the keys in it."""
    for name, value in nested.items():
        inner = value[0] if isinstance(value, list) and value else value
        if isinstance(inner, dict) and any(
            find_role(list(inner), role) is not None for role in roles
        ):
            return name, list(inner)
    lists = [name for name, value in nested.items() if _is_of_objects(value)]
    return (lists[0], list(nested[lists[0]][0])) if len(lists) == 1 else None


def _is_of_objects(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def late_key_check(
    file: TextFile, columns: Columns, chosen: dict[str, int]
) -> Callable[[int, str], None]:
    """Returns the check of keys that no object before them had, called with line and key.

    It raises a UserError for one that would be read, had it come earlier.
    """
    roles = [
        role
        for role in GUESSES
        if role not in (*chosen, "rating", "event") and getattr(columns, role) != IGNORED
    ]

    def check(line: int, key: str) -> None:
        for role in roles:
            is_time = role == "time" and is_named_as_time(key)
            if is_time or find_role([key], role) is not None:
                raise UserError(
                    f"{file.path}, {file.unit} {line}: the key {key!r} looks like a {role} and "
                    f"is in none of the first {FIRST_OBJECTS:,} objects: expected it in all; give "
                    "it to the others, or leave it unread with "
                    f"--config.data.{role}_column={IGNORED}."
                )

    return check
