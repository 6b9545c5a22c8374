"""Messages in the terms of Python: a flag of the command line becomes an argument or a setting.

Messages name flags, as most of them are read on the command line. The functions of the Python API
translate them here.
"""

import functools
import re
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

from ufnrec_tf.common.errors import UserError

_PACKAGE = str(Path(__file__).parents[1])

_FUNCTIONS = {mode: f"ufnrec_tf.{mode}" for mode in ("inspect", "train", "compare")} | {
    mode: f"Run.{mode}" for mode in ("evaluate", "report", "recommend")
}
"""Modes of the command line that Python has as functions."""

_ARGUMENTS = {"split": "part"} | {
    name: name
    for name in ("data", "workdir", "config", "seed", "output", "histories", "users", "top_k")
}
"""Flags that Python has as arguments."""

_VALUE = r"""(?:='[^']*'|=[^\s,;()"'`]*[^\s.,:;()"'`])"""
_SETTING = rf"--config\.[a-z0-9_*]+\.[a-z0-9_*]+{_VALUE}"
_SETTINGS = re.compile(rf"{_SETTING}(?: {_SETTING})*")
_KEY = re.compile(r"--config\.([a-z0-9_*]+(?:\.[a-z0-9_*]+)*)=?")
_FLAG = re.compile(rf"(?<![\w-])--({'|'.join(_ARGUMENTS)})\b")
_VERIFY = re.compile(r"(?<!command line's )--verify=false")
_MODE = re.compile(r"(?<![\w-])(?<!command line's )--mode=(\w+)")

Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")


def in_python(message: str) -> str:
    """Returns a message that names flags as one that names arguments and settings.

    `--config.data.k_core=5` becomes `settings={"data.k_core": 5}`, `--workdir` becomes `workdir`.
    """
    text = message.replace("unknown flag --config.", "unknown key --config.")
    text = re.sub(r"\b(S|s)et (?=--config\.)", lambda m: "Give " if m[1] == "S" else "give ", text)
    text = _SETTINGS.sub(lambda found: _as_settings(found[0]), text)
    text = _KEY.sub(r'settings["\1"]', text)
    text = _MODE.sub(lambda m: _FUNCTIONS.get(m[1], f"the command line's {m[0]}"), text)
    text = _FLAG.sub(lambda found: _ARGUMENTS[found[1]], text)
    text = _VERIFY.sub("The command line's --verify=false", text)
    text = text.replace("he same command", "he same call")
    return text.replace("`--help", "`python main.py --help")


def _as_settings(flags: str) -> str:
    pairs = (flag.removeprefix("--config.").partition("=") for flag in flags.split())
    return "settings={" + ", ".join(f'"{key}": {_literal(v)}' for key, _, v in pairs) + "}"


def _literal(value: str) -> str:
    """Returns a value as Python writes it."""
    value = value.strip("'")
    if value in ("true", "false"):
        return value.capitalize()
    return value if re.fullmatch(r"-?\d+(\.\d+)?", value) else f'"{value}"'


def speaks_python(function: Callable[Arguments, Answer]) -> Callable[Arguments, Answer]:
    """Decorates a function of the Python API: its errors are in the terms of Python."""

    @functools.wraps(function)
    def call(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Answer:
        try:
            return function(*args, **kwargs)
        except UserError as error:
            raise UserError(in_python(str(error)), exit_code=error.exit_code) from None

    return call


def warn(message: str) -> None:
    """Issues a Python warning that names the line of the user's program."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        level, frame = level + 1, frame.f_back
    warnings.warn(in_python(message), stacklevel=level)
