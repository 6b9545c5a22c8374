"""Settings: the table of keys, an experiment's file, `--config.SECTION.KEY=VALUE` overrides."""

import importlib.util
import json
import re
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import ml_collections
from ml_collections import FieldReference

from ufnrec_tf.common.errors import UserError
from ufnrec_tf.common.lookup import nearest

COMPARE_CONFIG = "configs/compare_confounders.py"
DEMO_CONFIG = "configs/demo.py"
DEMO_WORKDIR = "runs/demo"


@dataclass(frozen=True)
class Option:
    """One key of the configuration.

    Attributes:
        default: Default value; its type is the key's type.
        help: What it does, its unit, the paper's symbol.
        minimum: Least value allowed, for numbers.
        maximum: Greatest value allowed, for numbers.
        choices: Allowed values, or empty.
        or_text: Whether the number may be a text instead, such as a date.
    """

    default: Any
    help: str
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    or_text: bool = False


Table = dict[str, dict[str, Option]]

OLDER_VALUES = {"memory.policy": {"keep": "plain"}}
"""Key to the names that its values once had and the names that they have now."""

_LOCKED = re.compile(r"\W*(?:Key \W+)?(\w+)\W+(?:does not exist|n?Did you mean|$)")
"""ml_collections' words, quoted once or twice, of a key that is not there."""


def configs_folder() -> Path:
    """Returns the folder of the shipped configurations, of a checkout or of an installation."""
    package = Path(__file__).resolve().parent
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


def _load_module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"ufnrec_config_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise UserError(f"--config={path}: expected a Python file (.py).")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever a user's file raises is the user's to mend
        raise _does_not_run(path, error) from error
    return module


def _does_not_run(path: Path, error: Exception) -> UserError:
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if Path(frame.filename) == path.resolve()]
    line = error.lineno if isinstance(error, SyntaxError) else lines[-1] if lines else None
    where = f"{path}, line {line}" if line else str(path)
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    unknown = _LOCKED.match(text) if isinstance(error, AttributeError | KeyError) else None
    if unknown:
        options = option_table()
        known = [*options, *(key for section in options.values() for key in section)]
        hint = nearest(unknown[1], known)
        return UserError(
            f"{where}: unknown key {unknown[1]!r}.{hint} `--help=all` lists the keys.", exit_code=2
        )
    return UserError(f"{where}: does not run ({type(error).__name__}: {text}). Mend the file.")


def option_table() -> Table:
    """Returns section -> key -> Option, as configs/base.py lists them."""
    return _load_module(configs_folder() / "base.py").OPTIONS


def default_config(table: Table) -> ml_collections.ConfigDict:
    """Returns a locked ConfigDict with every default."""
    return ml_collections.ConfigDict(
        {
            section: {key: _field(option) for key, option in options.items()}
            for section, options in table.items()
        }
    ).lock()


def _field(option: Option) -> Any:
    """Returns what a ConfigDict begins a key with, of the type that it holds the key to."""
    return FieldReference(option.default, field_type=object) if option.or_text else option.default


def _find_config(path: str) -> Path:
    given = Path(path)
    if given.is_file():
        return given
    shipped = configs_folder() / given.name
    if shipped.is_file():
        return shipped
    known = sorted(p.stem for p in configs_folder().glob("*.py") if p.stem != "base")
    hint = nearest(given.stem, known)
    raise UserError(
        f"--config={path}: no such file. Shipped configurations: "
        f"{', '.join(f'configs/{name}.py' for name in known)}.{hint}"
    )


def load_config(path: str, overrides: Iterable[tuple[str, str]]) -> ml_collections.ConfigDict:
    """Returns base.py < the configuration file < overrides, checked and locked.

    Args:
        path: A file with a function `configure(config)` that changes what differs; "" for none.
        overrides: Pairs ("section.key", text).

    Raises:
        UserError: If the file is missing or broken (exit code 1), a key is unknown (exit code
            2), or a value has the wrong type or is out of range (exit code 1).
    """
    table = option_table()
    config = default_config(table)
    if path:
        configure: Callable[[Any], None] | None
        file = _find_config(path)
        configure = getattr(_load_module(file), "configure", None)
        if configure is None:
            raise UserError(
                f"--config={path}: expected a function `configure(config)` in it. "
                "Add one that changes what differs, as configs/demo.py does."
            )
        try:
            configure(config)
        except Exception as error:  # as in `_load_module`
            raise _does_not_run(file, error) from error
        try:
            check_config(config, table)
        except UserError as error:
            raise UserError(f"--config={path}: {error}") from error
    for key, text in overrides:
        section, _, name = key.partition(".")
        value = parse_value(table, key, text)
        config[section][name] = value
    for key in OLDER_VALUES:
        section, _, name = key.partition(".")
        config[section][name] = current_value(key, config[section][name])
    check_config(config, table)
    return config


def current_value(key: str, value: Any) -> Any:
    """Returns a key's value under its present name; see `OLDER_VALUES`."""
    return OLDER_VALUES.get(key, {}).get(value, value) if isinstance(value, str) else value


def parse_value(table: Table, key: str, text: str) -> Any:
    """Returns the value that a text gives a key, of the key's type.

    Raises:
        UserError: If the key is unknown (exit code 2) or the text does not fit (exit code 1).
    """
    section, _, name = key.partition(".")
    keys = [f"{s}.{k}" for s, options in table.items() for k in options]
    if section not in table or name not in table[section]:
        known = [k for k in keys if k.startswith(f"{section}.")] or list(table)
        topic = section if section in table else "all"
        raise UserError(
            f"unknown flag --config.{key}.{nearest(key, keys)} "
            f"Known: {', '.join(known)} (`--help={topic}` explains them).",
            exit_code=2,
        )
    option = table[section][name]
    try:
        return _parse(key, text, option.default)
    except UserError:
        if option.or_text:
            return text
        raise


def _parse(key: str, text: str, default: Any) -> Any:
    kind = type(default)
    if kind is bool:
        lowered = text.lower()
        if lowered in ("true", "1", "yes"):
            return True
        if lowered in ("false", "0", "no"):
            return False
        raise UserError(f"--config.{key} must be true or false. Received: {text!r}.")
    if kind is tuple:
        parts = [part.strip() for part in text.strip("()[]").split(",") if part.strip()]
        return tuple(_parse(key, part, default[0]) if default else part for part in parts)
    try:
        return kind(text)
    except ValueError as error:
        noun = {"int": "a whole number", "float": "a number"}[kind.__name__]
        raise UserError(f"--config.{key} must be {noun}. Received: {text!r}.") from error


def check_config(config: ml_collections.ConfigDict, table: Table) -> None:
    """Checks every value against its Option.

    Raises:
        UserError: Naming the key, what is allowed, and what was received.
    """
    for section, options in table.items():
        for name, option in options.items():
            value = config[section][name]
            key = f"`{section}.{name}`"
            if value is None:
                raise UserError(f"{key} must be of type {type(option.default).__name__}, not None.")
            # A ConfigDict holds all others to their type.
            if option.or_text and type(value) not in (int, float, str):
                raise UserError(f"{key} must be a number or a text. Received: {value!r}.")
            if option.choices and value not in option.choices:
                raise UserError(
                    f"{key} must be one of {', '.join(option.choices)}. Received: {value!r}."
                    + nearest(str(value), option.choices)
                )
            low, high = option.minimum, option.maximum
            is_number = isinstance(value, int | float)
            if low is not None and is_number and not value >= low:
                raise UserError(f"{key} must be at least {low}. Received: {value}.")
            if high is not None and is_number and not value <= high:
                raise UserError(f"{key} must be at most {high}. Received: {value}.")


def as_json(config: ml_collections.ConfigDict) -> dict[str, Any]:
    """Returns the configuration as plain dicts, lists and scalars."""
    return json.loads(config.to_json_best_effort())


def help_lines(table: Table) -> list[str]:
    """Returns a line a key: `--config.section.key=default  help`."""
    lines = []
    for section, options in table.items():
        lines.append(f"\n  {section}")
        for name, option in options.items():
            default = option.default
            if type(default) is tuple:
                default = ",".join(map(str, default))
            choices = f" [{'|'.join(option.choices)}]" if option.choices else ""
            lines.append(f"    --config.{section}.{name}={default}\n        {option.help}{choices}")
    return lines
