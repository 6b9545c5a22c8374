"""Runs a Python file that the user names as code, and reports its errors in one line."""

import functools
import importlib.util
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from ufnrec_tf.common.errors import UserError, own_words
from ufnrec_tf.common.lookup import nearest


def run_user_file(path: Path, *, kind: str, setting: str = "") -> ModuleType:
    """Runs a Python file and returns its module.

    Args:
        path: The file.
        kind: The kind of the file, such as `config`: part of the module's name.
        setting: The setting that names the file, as an error begins with it.

    Raises:
        UserError: If it is not a Python file, or raises an error.
    """
    spec = importlib.util.spec_from_file_location(f"ufnrec_{kind}_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise UserError(f"{setting}{path}: expected a Python file (.py).")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for their module
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # the user has to mend whatever the file raises
        raise user_code_error(path, error) from error
    return module


def is_path(name: str) -> bool:
    """Returns True if a name means a file rather than an entry of a table."""
    return ":" in name or name.endswith(".py")


def load_named(
    name: str,
    *,
    setting: str,
    form: str,
    kind: str,
    is_one: Callable[[Any], bool],
    promise: str,
) -> tuple[Path, Any]:
    """Returns the file and the object of it that `path/to/file.py:Name` names; runs the file.

    Args:
        name: The text of the user.
        setting: The key that it came from, for messages.
        form: The expected form of the text.
        kind: The kind of object, such as Backbone.
        is_one: Returns True for an object of this kind.
        promise: What an object of this kind is, in a sentence.

    Raises:
        UserError: If the file is not there, does not run, or has no such object.
    """
    path_text, _, wanted = name.rpartition(":")
    path = Path(path_text)
    if path.suffix != ".py" or not wanted:
        raise UserError(f"`{setting}` of a file must be {form}. Received: {name!r}.")
    if not path.is_file():
        raise UserError(f"`{setting}`: {path}: no such file. It must be {form}.")
    module = _run_once(path.resolve(), path.stat().st_mtime_ns)
    known = [
        key
        for key, value in vars(module).items()
        if getattr(value, "__module__", "") == module.__name__ and is_one(value)
    ]
    if wanted not in known:
        raise UserError(
            f"{path}: has no {kind} of the name {wanted!r}; it has: "
            f"{', '.join(known) or 'none'}.{nearest(wanted, known)} {promise}"
        )
    return path, getattr(module, wanted)


@functools.cache
def _run_once(path: Path, changed: int) -> ModuleType:
    """Returns the module of a file, which is run once for each time at which it was changed."""
    return run_user_file(path, kind="user")


def user_code_error(path: Path, error: Exception) -> UserError:
    """Returns the UserError for an exception that a user's file has raised."""
    words = error.msg if isinstance(error, SyntaxError) else own_words(error)
    name = type(error).__name__
    return UserError(f"{raising_line(path, error)}: does not run ({name}: {words}). Mend the file.")


def raising_line(path: Path, error: Exception) -> str:
    """Returns the file and, if known, the line of it that has raised an exception."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if Path(frame.filename) == path.resolve()]
    line = error.lineno if isinstance(error, SyntaxError) else lines[-1] if lines else None
    return f"{path}, line {line}" if line else str(path)
