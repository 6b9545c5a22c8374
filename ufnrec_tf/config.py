"""The configuration: keys with defaults, an experiment's file, overrides of the command line."""

import difflib
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

import ml_collections
from ml_collections import FieldReference

from ufnrec_tf.common.errors import UserError, own_words
from ufnrec_tf.common.lookup import nearest
from ufnrec_tf.common.paths import expanded
from ufnrec_tf.common.user_code import is_path as names_code
from ufnrec_tf.common.user_code import raising_line, run_user_file, user_code_error

COMPARE_CONFIG = "configs/compare_confounders.py"
DEMO_CONFIG = "configs/demo.py"
DEMO_WORKDIR = "runs/demo"
RECORD = "config.json"
"""The file of a work directory that has its settings."""


@dataclass(frozen=True)
class Option:
    """One key of the configuration, or one flag of the command line.

    Attributes:
        default: Default value; its type is the type of the values.
        help: What it does, in sentences: the first one is also shown by itself. The last one may
            be the paper's symbol, as `Paper: m.`
        minimum: Smallest allowed number.
        maximum: Largest allowed number. A whole number without one is at most `MOST`.
        choices: Allowed values; empty if any is allowed.
        takes_code: True if FILE.py:NAME, code of the user's own, is allowed beside the choices.
        or_text: True if a text, such as a date, may stand for the number.
        is_path: True if a `~` at the start of the text stands for a home folder.
        parts: The option of each part of a list; None for a list of texts.
    """

    default: Any
    help: str
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    takes_code: bool = False
    or_text: bool = False
    is_path: bool = False
    parts: "Option | None" = None


Table = dict[str, dict[str, Option]]


@dataclass(frozen=True)
class AllBut:
    """A condition on a key: any value but these.

    Attributes:
        values: The values.
    """

    values: tuple[Any, ...]


Condition = Mapping[str, tuple[Any, ...] | AllBut]
"""Key to the values that it has to have; all keys of it have to."""
Values = Mapping[str, Mapping[str, Any]]
"""Section to key to value, as `config.json` has them."""

MOST = 2**31 - 1
"""Largest whole number of a key that states none: counts beyond it overflow somewhere."""

OLDER_VALUES = {"memory.policy": {"keep": "plain"}}
"""Key to the older names of its values, each with its present name."""

_LOCKED = re.compile(r"\W*(?:Key \W+)?(\w+)\W+(?:does not exist|n?Did you mean|$)")
"""What ml_collections says of a key that does not exist, quoted once or twice."""


def configs_folder() -> Path:
    """Returns the folder of the shipped configurations, in a checkout or an installation."""
    package = Path(__file__).resolve().parent
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


def _config_error(path: Path, error: Exception) -> UserError:
    """Returns the UserError for an exception that a configuration file has raised."""
    unknown = _LOCKED.match(str(error)) if isinstance(error, AttributeError | KeyError) else None
    if not unknown:
        return user_code_error(path, error)
    options = option_table()
    known = [*options, *(key for section in options.values() for key in section)]
    return UserError(
        f"{raising_line(path, error)}: unknown key {unknown[1]!r}.{nearest(unknown[1], known)} "
        "`--help=all` lists the keys.",
        exit_code=2,
    )


@cache
def _base_file() -> Any:
    """Returns the module of configs/base.py."""
    return run_user_file(configs_folder() / "base.py", kind="config")


def option_table() -> Table:
    """Returns the options of configs/base.py: section to key to Option."""
    return _base_file().OPTIONS


def conditions() -> dict[str, tuple[Condition, ...]]:
    """Returns the conditions of configs/base.py under which keys are read, by key or pattern."""
    return _base_file().USED_IF


def unmet_condition(config: ml_collections.ConfigDict, key: str) -> str:
    """Returns why nothing reads a key, such as `memory.policy is plain`; "" if it is read.

    A value `FILE:CLASS` meets each condition: a class of the user's own may read any setting.

    Args:
        config: The configuration.
        key: The key.
    """
    reasons = []
    for pattern, alternatives in conditions().items():
        if fnmatchcase(key, pattern):
            reasons += [_unmet(config, condition) for condition in alternatives]
    return reasons[0] if reasons and all(reasons) else ""


def _unmet(config: ml_collections.ConfigDict, condition: Condition) -> str:
    for key, allowed in condition.items():
        section, _, name = key.partition(".")
        value = config[section][name]
        is_met = value not in allowed.values if isinstance(allowed, AllBut) else value in allowed
        if not is_met and ":" not in str(value):
            shown = f"{value:g}" if isinstance(value, float) else str(value)
            return f"{key} is {(shown.lower() if isinstance(value, bool) else shown) or 'empty'}"
    return ""


def named_settings() -> dict[str, list[str]]:
    """Returns the words that name settings, each with its keys, or its flag with the hyphens."""
    base = _base_file()
    named: dict[str, list[str]] = {}
    for section, options in base.OPTIONS.items():
        for key in options:
            named.setdefault(key, []).append(f"{section}.{key}")
    return named | {word: [name] for word, name in base.WORDS.items()}


def likely_names(name: str) -> list[str]:
    """Returns the keys, or flags with their hyphens, that an unknown key probably means.

    Args:
        name: `SECTION.KEY`, or a word such as `epochs`.

    Returns:
        The most likely one; several where a key's name stands in several sections; or none.
    """
    base = _base_file()
    section, _, word = name.lower().replace("-", "_").rpartition(".")
    close = difflib.get_close_matches(word, base.OPTIONS.get(section, ()), n=1, cutoff=0.75)
    if close:
        return [f"{section}.{close[0]}"]
    named = named_settings()
    for near in (word, *difflib.get_close_matches(word, named, n=1, cutoff=0.8)):
        if near in named:
            return named[near]
    keys = [f"{s}.{key}" for s, options in base.OPTIONS.items() for key in options]
    return difflib.get_close_matches(name, keys, n=1, cutoff=0.5) if section else []


def did_you_mean(names: Iterable[str]) -> str:
    """Returns ` Did you mean 'X'?`, ` Did you mean 'X', 'Y' or 'Z'?`, or an empty text."""
    shown = [repr(name) for name in names]
    if not shown:
        return ""
    *others, last = shown
    return f" Did you mean {', '.join(others)}{' or ' if others else ''}{last}?"


def default_config(table: Table) -> ml_collections.ConfigDict:
    """Returns a locked ConfigDict that holds the default of every key."""
    return ml_collections.ConfigDict(
        {
            section: {key: _first_value(option) for key, option in options.items()}
            for section, options in table.items()
        }
    ).lock()


def _first_value(option: Option) -> Any:
    """Returns the first value of a key; a ConfigDict accepts only its type from then on."""
    return FieldReference(option.default, field_type=object) if option.or_text else option.default


def _find_config(path: str) -> Path:
    given = Path(path)
    if given.is_file():
        return given
    if given.is_dir():
        if (given / RECORD).is_file():
            return given / RECORD
        raise UserError(
            f"--config={path}: is a folder without {RECORD}. Expected the work directory of a run, "
            f"its {RECORD}, or a Python file."
        )
    shipped = configs_folder() / given.name
    if shipped.is_file():
        return shipped
    known = sorted(p.stem for p in configs_folder().glob("*.py") if p.stem != "base")
    hint = nearest(given.stem, known)
    key, is_setting, _ = path.partition("=")
    if is_setting and likely_names(key)[:1] == [key]:
        hint = did_you_mean([f"--config.{path}"])
    raise UserError(
        f"--config={path}: no such file. Shipped configurations: "
        f"{', '.join(f'configs/{name}.py' for name in known)}.{hint}"
    )


def load_config(
    path: str, overrides: Iterable[tuple[str, str]], *, inherited: Values | None = None
) -> ml_collections.ConfigDict:
    """Returns the configuration: base.py, changed by a file, changed by overrides; checked, locked.

    Args:
        path: A file with a function `configure(config)` that changes some keys, a work directory
            or its config.json, whose settings are taken; "" for none.
        overrides: Pairs ("section.key", text).
        inherited: Settings of an older run, which take the place of those of base.py. Keys that
            are no longer there are left out.

    Raises:
        UserError: If the file is missing or broken (exit code 1), a key is unknown (exit code
            2), or a value has the wrong type or is out of range (exit code 1).
    """
    table = option_table()
    config = default_config(table)
    set_values(config, inherited or {}, source=f"{RECORD} of the run")
    if path:
        _apply_file(path, config, table)
    for key, text in overrides:
        section, _, name = key.partition(".")
        config[section][name] = parse_value(table, key, text)
    check_config(config, table)
    return config


def set_values(config: ml_collections.ConfigDict, values: Values, *, source: str) -> list[str]:
    """Sets keys to recorded values; returns the keys that the configuration does not have.

    Args:
        config: The configuration, which is changed.
        values: Section to key to value.
        source: What has recorded them, for the message.

    Raises:
        UserError: If a value has the wrong type.
    """
    unknown = []
    for section, keys in values.items():
        for key, value in keys.items() if isinstance(keys, Mapping) else [("", keys)]:
            if section not in config or key not in config[section]:
                unknown.append(f"{section}.{key}" if key else section)
                continue
            try:
                value = tuple(value) if isinstance(value, list) else value
                config[section][key] = current_value(f"{section}.{key}", value)
            except TypeError as error:
                raise UserError(
                    f"{source}: `{section}.{key}` must be of type "
                    f"{type(config[section][key]).__name__}. Received: {value!r}."
                ) from error
    return unknown


def current_value(key: str, value: Any) -> Any:
    """Returns a key's value under its present name; see `OLDER_VALUES`."""
    return OLDER_VALUES.get(key, {}).get(value, value) if isinstance(value, str) else value


def _apply_file(path: str, config: ml_collections.ConfigDict, table: Table) -> None:
    """Lets a configuration file, or a run's record, change a configuration; checks the result."""
    file = _find_config(path)
    if file.suffix == ".json":
        _apply_record(path, file, config)
    else:
        _apply_python(path, file, config)
    try:
        check_config(config, table)
        _expand_paths(config, table)
    except UserError as error:
        raise UserError(f"--config={path}: {error}") from error


def _apply_record(path: str, file: Path, config: ml_collections.ConfigDict) -> None:
    """Sets the settings that a run has recorded; what else its config.json holds is left out."""
    expected = f"Expected the {RECORD} of a run, its work directory, or a Python file."
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(
            f"--config={path}: cannot be read as JSON ({own_words(error)}). {expected}"
        ) from error
    values = record.get("config") if isinstance(record, dict) else None
    if not isinstance(values, dict) or not all(isinstance(v, dict) for v in values.values()):
        raise UserError(f"--config={path}: has no settings of a run (`config`). {expected}")
    for key in set_values(config, values, source=f"--config={path}"):
        raise UserError(
            f"--config={path}: unknown key {key!r}.{did_you_mean(likely_names(key))} "
            "`--help=all` lists the keys.",
            exit_code=2,
        )


def _apply_python(path: str, file: Path, config: ml_collections.ConfigDict) -> None:
    """Runs the `configure` of a Python file."""
    configure = getattr(run_user_file(file, kind="config", setting="--config="), "configure", None)
    if configure is None:
        raise UserError(
            f"--config={path}: expected a function `configure(config)` in it. "
            "Add one that changes the keys of your experiment, as configs/demo.py does."
        )
    try:
        configure(config)
    except Exception as error:  # the user has to mend whatever the function raises
        raise _config_error(file, error) from error
    for key in OLDER_VALUES:
        section, _, name = key.partition(".")
        config[section][name] = current_value(key, config[section][name])


def _expand_paths(config: ml_collections.ConfigDict, table: Table) -> None:
    for section, options in table.items():
        for name, option in options.items():
            if option.is_path:
                config[section][name] = expanded(config[section][name])


def parse_value(table: Table, key: str, text: str) -> Any:
    """Returns a text as a value of a key's type.

    Raises:
        UserError: If the key is unknown (exit code 2) or the text does not fit (exit code 1).
    """
    section, _, name = key.partition(".")
    if section not in table or name not in table[section]:
        known = [f"{section}.{k}" for k in table.get(section, ())] or list(table)
        topic = section if section in table else "all"
        raise UserError(
            f"unknown flag --config.{key}.{did_you_mean(likely_names(key))} "
            f"Known: {', '.join(known)} (`--help={topic}` explains them).",
            exit_code=2,
        )
    option = table[section][name]
    if option.is_path:
        return expanded(text)
    try:
        return current_value(key, parse_text(f"--config.{key}", text, option.default))
    except UserError:
        if option.or_text:
            return text
        raise


def parse_text(name: str, text: str, default: Any) -> Any:
    """Returns a text as a value of the default's type.

    Args:
        name: The flag, with its hyphens.
        text: The text.
        default: A value of that type.

    Raises:
        UserError: If the text does not fit.
    """
    kind = type(default)
    if kind is bool:
        lowered = text.lower()
        if lowered in ("true", "1", "yes"):
            return True
        if lowered in ("false", "0", "no"):
            return False
        raise UserError(f"{name} must be true or false. Received: {text!r}.")
    if kind is tuple:
        parts = [part.strip() for part in text.strip("()[] ").split(",") if part.strip()]
        return tuple(parse_text(name, part, default[0]) if default else part for part in parts)
    try:
        return kind(text)
    except ValueError as error:
        noun = {int: "a whole number", float: "a number"}[kind]
        raise UserError(f"{name} must be {noun}. Received: {text!r}.") from error


def check_config(config: ml_collections.ConfigDict, table: Table) -> None:
    """Checks every value against its Option.

    Raises:
        UserError: Naming the key, what is allowed, and what was received.
    """
    for section, options in table.items():
        for name, option in options.items():
            check_value(f"`{section}.{name}`", config[section][name], option)


def check_value(name: str, value: Any, option: Option) -> None:
    """Checks the value of a key or flag against its Option.

    Raises:
        UserError: Naming the key or flag, what is allowed, and what was received.
    """
    if value is None:
        raise UserError(f"{name} must be of type {type(option.default).__name__}, not None.")
    # A ConfigDict accepts only one type for every other key.
    if option.or_text and type(value) not in (int, float, str):
        raise UserError(f"{name} must be a number or a text. Received: {value!r}.")
    is_code = option.takes_code and isinstance(value, str) and names_code(value)
    if option.choices and value not in option.choices and not is_code:
        own = ", or FILE.py:NAME of your own" if option.takes_code else ""
        raise UserError(
            f"{name} must be one of {', '.join(option.choices)}{own}. Received: {value!r}."
            + nearest(str(value), option.choices)
        )
    if isinstance(value, tuple):
        kind = type(option.parts.default) if option.parts else str
        for part in value:
            if type(part) is not kind:
                noun = "texts" if kind is str else "whole numbers, as in 0,1,2"
                raise UserError(f"{name} must hold {noun}. Received: {part!r}.")
            if option.parts:
                check_value(name, part, option.parts)
    elif isinstance(value, int | float):
        _check_number(name, value, option)


def _check_number(name: str, number: float, option: Option) -> None:
    """Checks a number, NaN and infinity among them, against the bounds of its Option."""
    if isinstance(number, float) and not math.isfinite(number):
        raise UserError(f"{name} must be finite{_bounds(option)}. Received: {number}.")
    if option.minimum is not None and number < option.minimum:
        raise UserError(f"{name} must be at least {option.minimum}. Received: {number}.")
    most = MOST if option.maximum is None and isinstance(number, int) else option.maximum
    if most is not None and number > most:
        raise UserError(f"{name} must be at most {most}. Received: {number}.")


def _bounds(option: Option) -> str:
    """Returns the bounds of a number in words, such as `, at least 0 and at most 1`."""
    bounds = {"at least": option.minimum, "at most": option.maximum}
    words = [f"{word} {bound}" for word, bound in bounds.items() if bound is not None]
    return ", " + " and ".join(words) if words else ""


def as_json(config: ml_collections.ConfigDict) -> dict[str, Any]:
    """Returns the configuration as plain dicts, lists and scalars."""
    return json.loads(config.to_json_best_effort())
