"""Checks of the arguments of Python functions."""

import operator
import os
import reprlib
from typing import Any

from ufnrec_tf.common.errors import UserError
from ufnrec_tf.common.paths import expanded


def whole_number(value: Any, name: str, *, minimum: int, maximum: int | None = None) -> int:
    """Returns a whole number as an int, whatever library it comes from; 3.0 is 3.

    Raises:
        UserError: If it is anything else, or out of bounds.
    """
    bounds = f"of {minimum} or more" if maximum is None else f"from {minimum} to {maximum}"
    error = UserError(f"`{name}` must be a whole number {bounds}. Received: {shown(value)}.")
    if isinstance(value, bool) or str(getattr(value, "dtype", "")) == "bool":
        raise error
    try:
        number = operator.index(value)
    except (TypeError, AttributeError):  # TensorFlow's texts raise the latter
        if not getattr(value, "is_integer", bool)():
            raise error from None
        number = int(value)
    if number < minimum or (maximum is not None and number > maximum):
        raise error
    return number


def true_or_false(value: Any, name: str) -> bool:
    """Returns a bool, NumPy's too.

    Raises:
        UserError: If it is anything else.
    """
    if isinstance(value, bool) or type(value).__name__ == "bool":  # NumPy's
        return bool(value)
    raise UserError(f"`{name}` must be True or False. Received: {shown(value)}.")


def path_text(value: Any, name: str) -> str:
    """Returns a path as text, `~` expanded.

    Raises:
        UserError: If it is neither a text nor a path, or is empty.
    """
    if isinstance(value, str | os.PathLike):
        text = os.fspath(value)
        if isinstance(text, str) and text:
            return expanded(text)
    raise UserError(f"`{name}` must be a path, such as 'runs/mine'. Received: {shown(value)}.")


def shown(value: Any) -> str:
    """Returns the type of a value and the start of what it looks like, for a message."""
    kind = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
    is_plain = isinstance(value, str | bytes | int | float | list | tuple | dict | None)
    return f"{reprlib.repr(value)} ({kind})" if is_plain else kind
