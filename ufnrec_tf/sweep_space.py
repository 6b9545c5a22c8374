"""What a search varies: `sweep.space` read and held against the table of keys."""

import itertools
import math
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from ufnrec_tf.arms import ARM_SECTIONS
from ufnrec_tf.config import Option, Table, option_table, parse_value
from ufnrec_tf.errors import UserError
from ufnrec_tf.names import nearest

TRAINING_KEYS = ("batch_size", "draw", "windows")
"""Of section `training`; the others say how long is trained and by what is selected."""
EXAMPLE = "--config.sweep.space='optimizer.learning_rate=log:1e-4:1e-2,backbone.dropout=0.1:0.7'"
_FORMS = "LOW:HIGH, LOW:HIGH:STEP, log:LOW:HIGH, or A|B|C"
_SETTING = re.compile(r"[\w.]+=")


class Axis(NamedTuple):
    """One key that is searched.

    Attributes:
        key: "section.key".
        low: Least value of a range.
        high: Greatest value of a range.
        step: Distance of a range's values; 0 for all of them, of whole numbers 1.
        is_log: Whether a range is searched by its logarithm.
        choices: The values, where they are listed; then there is no range.
    """

    key: str
    low: Any = None
    high: Any = None
    step: Any = 0
    is_log: bool = False
    choices: tuple[Any, ...] = ()

    @property
    def is_whole(self) -> bool:
        """Whether a range has whole numbers only."""
        return isinstance(self.low, int)

    def values(self) -> tuple[Any, ...]:
        """Returns all values, or none where there is no end of them."""
        if self.choices or not self.step or self.is_log:
            return self.choices
        count = math.floor((self.high - self.low) / self.step + 1e-9) + 1
        return tuple(self.low + place * self.step for place in range(count))


def parse_space(texts: Iterable[str]) -> tuple[Axis, ...]:
    """Returns the axes that `sweep.space` names.

    Args:
        texts: Each `SECTION.KEY=` and a range or choices.

    Raises:
        UserError: For an unknown key (exit code 2), or one that a search cannot vary, a range
            that does not fit, or no axis at all.
    """
    table, axes = option_table(), []
    for text in texts:
        if not isinstance(text, str) or not _SETTING.match(text):
            raise UserError(
                f"`sweep.space`: expected SECTION.KEY={_FORMS}, by commas. Received: {text!r}."
            )
        key, _, words = text.partition("=")
        axes.append(_parse_axis(table, key.strip(), words.strip()))
    keys = [axis.key for axis in axes]
    for key in keys:
        if keys.count(key) > 1:
            raise UserError(f"`sweep.space` has {key} twice. Leave one out.")
    if not axes:
        raise UserError(
            f"nothing to search. Give {EXAMPLE}, or --config=configs/sweep_demo.py to try it."
        )
    return tuple(axes)


def grid(axes: Iterable[Axis]) -> list[dict[str, Any]]:
    """Returns every combination of the axes' values, in their order.

    Raises:
        UserError: If an axis has no end of values.
    """
    axes = tuple(axes)
    for axis in axes:
        if not axis.values():
            raise UserError(
                f"`sweep.sampler` is grid, but {axis.key} has no end of values. List them "
                f"({axis.key}=A|B|C), give a step (LOW:HIGH:STEP), or --config.sweep.sampler=tpe."
            )
    keys = [axis.key for axis in axes]
    return [
        dict(zip(keys, values, strict=True))
        for values in itertools.product(*(axis.values() for axis in axes))
    ]


def _parse_axis(table: Table, key: str, words: str) -> Axis:
    section, _, name = key.partition(".")
    try:
        parse_value(table, key, "1")
    except UserError as error:
        if error.exit_code == 2:
            _refuse_unknown(table, key)
    if section not in (*ARM_SECTIONS, "training") or (
        section == "training" and name not in TRAINING_KEYS
    ):
        raise UserError(
            f"`sweep.space` cannot vary {key}: it says what is trained on, how long, or how that "
            f"is measured. It may vary keys of {', '.join(ARM_SECTIONS)}, and "
            f"{', '.join(f'training.{known}' for known in TRAINING_KEYS)}."
        )
    option = table[section][name]
    if "|" in words:
        choices = tuple(_value(table, key, part.strip(), option) for part in words.split("|"))
        if len(set(choices)) < len(choices):
            raise UserError(f"`sweep.space`, {key}: {words!r} has a value twice. Leave one out.")
        return Axis(key, choices=choices)
    return _parse_range(table, key, words, option)


def _refuse_unknown(table: Table, key: str) -> None:
    keys = [f"{section}.{name}" for section, options in table.items() for name in options]
    raise UserError(
        f"`sweep.space`: unknown key {key}.{nearest(key, keys)} `--help=all` lists them.",
        exit_code=2,
    )


def _parse_range(table: Table, key: str, words: str, option: Option) -> Axis:
    parts = [part.strip() for part in words.split(":")]
    is_log = parts[0] == "log"
    bounds = parts[is_log:]
    is_number = type(option.default) in (int, float)
    if not is_number or len(bounds) not in ((2,) if is_log else (2, 3)):
        expected = _FORMS if is_number else "A|B|C, at least two"
        raise UserError(f"`sweep.space`, {key}: expected {expected}. Received: {words!r}.")
    low, high = (_value(table, key, text, option) for text in bounds[:2])
    step = parse_value(table, key, bounds[2]) if len(bounds) == 3 else int(type(low) is int)
    if not low < high or (is_log and low <= 0) or (len(bounds) == 3 and not step > 0):
        raise UserError(
            f"`sweep.space`, {key}: expected LOW below HIGH, above 0 for log, and a STEP above 0. "
            f"Received: {words!r}."
        )
    return Axis(key, low, high, 0 if is_log else step, is_log)


def _value(table: Table, key: str, text: str, option: Option) -> Any:
    """Returns a value of a key, within the key's own bounds and choices."""
    value = parse_value(table, key, text)
    low, high = option.minimum, option.maximum
    is_number = type(value) in (int, float)
    if option.choices and value not in option.choices:
        hint = nearest(text, option.choices)
        known = f"one of {', '.join(option.choices)}"
        raise UserError(f"`sweep.space`, {key}: must be {known}. Received: {text!r}.{hint}")
    if is_number and (
        not math.isfinite(value)
        or (low is not None and value < low)
        or (high is not None and value > high)
    ):
        least = f" at least {low}" if low is not None else ""
        most = f" at most {high}" if high is not None else ""
        raise UserError(f"`sweep.space`, {key}: must be{least}{most}. Received: {text}.")
    return value
