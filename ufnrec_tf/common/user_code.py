"""Runs a Python file that the user names as code, and reports its errors in one line."""

import importlib.util
import sys
import traceback
from pathlib import Path
from types import ModuleType

from ufnrec_tf.common.errors import UserError, own_words


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
