"""Graphs of functions, without AutoGraph where they are ours."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

_PACKAGE = __name__.partition(".")[0]


def graph_function(function: Callable, *parts: Any, **options: Any) -> Callable:
    """Returns a function as `tf.function`.

    AutoGraph rewrites Python's `if` and `for` over tensors. This package has none of them, and the
    rewriting takes seconds before the first step. A user's own part may have them.

    Args:
        function: The function.
        parts: The objects that it calls and that may be of a user's class.
        options: Further options of `tf.function`.
    """
    return tf.function(function, autograph=not all(map(is_ours, parts)), **options)


def is_ours(part: Any) -> bool:
    """True if an object's class belongs to this package, False for a user's class."""
    return type(part).__module__.partition(".")[0] == _PACKAGE
