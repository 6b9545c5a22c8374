"""What is searched; a trial's command line; best.py."""

import itertools
import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from ufnrec_tf.common.errors import UserError
from ufnrec_tf.common.files import write_json, write_text
from ufnrec_tf.common.lookup import nearest
from ufnrec_tf.config import (
    Option,
    Table,
    as_json,
    check_config,
    current_value,
    default_config,
    option_table,
    parse_value,
)
from ufnrec_tf.data.splits import Split
from ufnrec_tf.reading.sources import Source
from ufnrec_tf.runs.record import COMMON, run_record
from ufnrec_tf.runs.workdir import Workdir
from ufnrec_tf.training.arms import ARM_SECTIONS
from ufnrec_tf.training.checks import check_names

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


OWN_KEYS = ("training.finish", "evaluation.test_every", "comparison.arms")
"""What a trial sets itself: the test set is not looked at, and nothing else is trained."""


class SweepPlan(NamedTuple):
    """What is searched.

    Attributes:
        path: The search's directory.
        config: What the trials have in common.
        axes: What they differ in.
        seed: Of the search and of each trial.
        metric: Validation metric that is made large.
        data_path: The value of --data.
        config_path: The value of --config.
        overrides: The command line's own settings, section `sweep` left out.
    """

    path: Path
    config: ConfigDict
    axes: tuple[Axis, ...]
    seed: int
    metric: str
    data_path: str
    config_path: str
    overrides: tuple[tuple[str, str], ...]

    def trial_path(self, number: int) -> Path:
        """Returns the work directory of a trial."""
        return self.path / "trials" / f"{number:04}"

    def trial_config(self, settings: dict[str, Any]) -> ConfigDict:
        """Returns the configuration of a trial that is finished, as `best.py` repeats it."""
        own = ConfigDict(self.config.to_dict())
        for key, value in settings.items():
            section, _, name = key.partition(".")
            own[section][name] = current_value(key, value)
        own.comparison.arms = ()
        own.evaluation.test_every = 0
        return own

    def arguments(self, number: int, settings: dict[str, Any], *, finishes: bool) -> list[str]:
        """Returns the command line of a trial's process, without the program."""
        pairs = [(key, text) for key, text in self.overrides if key not in OWN_KEYS]
        pairs += [(key, _text(value)) for key, value in settings.items()]
        pairs += [("comparison.arms", ""), ("evaluation.test_every", "0")]
        return [
            "--mode=train",
            *([f"--config={self.config_path}"] if self.config_path else []),
            *([f"--data={self.data_path}"] if self.data_path else []),
            f"--workdir={self.trial_path(number)}",
            f"--seed={self.seed}",
            *(f"--config.{key}={text}" for key, text in pairs),
            f"--config.training.finish={_text(finishes)}",
        ]


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def make_sweep_plan(
    config: ConfigDict,
    workdir: str,
    *,
    seed: int,
    data_path: str,
    config_path: str,
    overrides: list[tuple[str, str]],
) -> SweepPlan:
    """Returns the plan that the configuration asks for.

    Raises:
        UserError: If something in `sweep` does not fit, or cannot be searched.
    """
    axes = parse_space(config.sweep.space)
    if not config.training.monitor:
        raise UserError(
            "--mode=sweep makes a validation metric large, and `training.monitor` is empty. Set "
            "--config.training.monitor=ndcg@10."
        )
    if config.distribution.strategy == "multi_worker":
        raise UserError(
            "--mode=sweep trains each trial on one machine, so `distribution.strategy` cannot be "
            "multi_worker. Set --config.distribution.strategy=mirrored or one."
        )
    return SweepPlan(
        path=Path(workdir),
        config=config,
        axes=axes,
        seed=seed,
        metric=config.training.monitor,
        data_path=data_path,
        config_path=config_path,
        overrides=tuple(pair for pair in overrides if not pair[0].startswith("sweep.")),
    )


def check_choices(plan: SweepPlan) -> None:
    """Checks the common settings, and names that are searched, against the tables of names.

    Raises:
        UserError: Naming the known names and the nearest.
    """
    own = plan.trial_config({})
    searched = {axis.key for axis in plan.axes}
    if not searched & {"backbone.width", "backbone.num_heads", "memory.policy"}:
        check_names(own)
    for axis in plan.axes:
        for choice in axis.choices:
            if isinstance(choice, str) and axis.key != "memory.policy":
                check_names(plan.trial_config({axis.key: choice}))
    check_config(own, option_table())


def enter(plan: SweepPlan, source: Source, split: Split, command: list[str]) -> dict[str, Any]:
    """Makes the search's directory, or checks that it is of the same search; returns its record.

    Raises:
        UserError: If data, split, budget, seed or space were others.
    """
    record = run_record(plan.config, source, plan.seed, data_path=plan.data_path, command=command)
    identity, values = dict(record["identity"]), record["config"]
    for section, keys in COMMON.items():
        identity |= {f"{section}.{key}": values[section][key] for key in keys}
    identity |= {f"sweep.{key}": values["sweep"][key] for key in ("space", "sampler")}
    directory = Workdir(plan.path)
    directory.check_same(identity)
    if not (plan.path / "config.json").exists():
        write_json(plan.path / "config.json", {**record, "identity": identity})
    return record


def write_best(plan: SweepPlan, number: int, settings: dict[str, Any], value: float) -> None:
    """Writes best.py, a configuration file that trains the best trial again by itself."""
    table = option_table()
    before, now = as_json(default_config(table)), as_json(plan.trial_config(settings))
    lines = []
    for section in table:
        for key, text in now[section].items():
            if section == "sweep" or text == before[section][key]:
                continue
            found = tuple(text) if isinstance(text, list) else text
            mark = "  # searched" if f"{section}.{key}" in settings else ""
            lines.append(f"    config.{section}.{key} = {found!r}{mark}")
    data = f" --data={plan.data_path}" if plan.data_path else ""
    text = (
        f'"""Trial {number} of {plan.path.name}, the best: validation {plan.metric} {value:.4f}.\n'
        f"\n    python main.py --config={plan.path}/best.py{data} --seed={plan.seed}"
        f' --workdir=DIR\n"""\n\nfrom typing import Any\n\n\ndef configure(config: Any) -> None:\n'
        '    """Changes what differs from base.py."""\n' + "\n".join(lines) + "\n"
    )
    write_text(plan.path / "best.py", text)
