"""A name looked up in a table; an unknown name is an error that names the nearest."""

import difflib
from collections.abc import Iterable, Mapping
from typing import TypeVar

from ufnrec_tf.common.errors import UserError

Value = TypeVar("Value")


def nearest(name: str, known: Iterable[str]) -> str:
    """Returns ` Did you mean X?` for the known name closest to `name`, or an empty string."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" Did you mean {close[0]!r}?" if close else ""


def pick(table: Mapping[str, Value], name: str, *, key: str) -> Value:
    """Returns `table[name]`.

    Args:
        table: Name to value.
        name: The name asked for.
        key: The setting that the name came from, for the message.

    Raises:
        UserError: If the table has no such name.
    """
    if name not in table:
        raise UserError(
            f"`{key}` must be one of {', '.join(sorted(table))}. Received: {name!r}."
            + nearest(name, table)
        )
    return table[name]
