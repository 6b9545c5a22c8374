"""The plan of a sweep: its space, the command line of each trial, and best.py."""

import itertools
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ml_collections import ConfigDict

from ufnrec_tf.common.errors import UserError
from ufnrec_tf.common.files import write_text
from ufnrec_tf.common.hashes import write_hashed_json
from ufnrec_tf.common.lookup import nearest
from ufnrec_tf.config import (
    Option,
    Table,
    as_json,
    check_config,
    check_value,
    current_value,
    default_config,
    option_table,
    parse_value,
)
from ufnrec_tf.reading.sources import Source
from ufnrec_tf.runs.record import COMMON, run_record
from ufnrec_tf.runs.workdir import Workdir
from ufnrec_tf.sweep.trials import import_optuna
from ufnrec_tf.training.arms import ARM_SECTIONS
from ufnrec_tf.training.checks import check_names

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

    Space = dict[str, BaseDistribution]

TRAINING_KEYS = ("batch_size", "draw", "windows")
"""Keys of section `training` that may be searched; the others set how long a trial trains and by
what it is selected."""
OWN_KEYS = ("training.finish", "evaluation.test_every", "comparison.arms")
"""Keys that each trial sets itself, so that it neither scores the test set nor trains baselines."""
EXAMPLE = "--config.sweep.space='optimizer.learning_rate=log:1e-4:1e-2,backbone.dropout=0.1:0.7'"
_FORMS = "LOW:HIGH, LOW:HIGH:STEP, log:LOW:HIGH, or A|B|C"
_SETTING = re.compile(r"[\w.]+=")


def parse_space(texts: Iterable[str]) -> "Space":
    """Returns the space that `sweep.space` names: each key with the distribution of its values.

    Args:
        texts: Each `SECTION.KEY=` and a range or choices.

    Raises:
        UserError: For an unknown key (exit code 2), for a key that a sweep cannot vary, for a
            range that does not fit, or if there is no key at all.
    """
    table, space = option_table(), {}
    for text in texts:
        if not isinstance(text, str) or not _SETTING.match(text):
            raise UserError(
                f"`sweep.space`: expected SECTION.KEY={_FORMS}, by commas. Received: {text!r}."
            )
        key, words = (part.strip() for part in text.split("=", 1))
        if key in space:
            raise UserError(f"`sweep.space` has {key} twice. Leave one out.")
        space[key] = _parse_values(key, words, _searched_option(table, key), table)
    if not space:
        raise UserError(
            f"nothing to search. Give {EXAMPLE}, or --config=configs/sweep_demo.py to try it."
        )
    return space


def _searched_option(table: Table, key: str) -> Option:
    """Returns the option of a key that a sweep may vary."""
    section, _, name = key.partition(".")
    if name not in table.get(section, {}):
        keys = [f"{section}.{name}" for section, options in table.items() for name in options]
        raise UserError(
            f"`sweep.space`: unknown key {key}.{nearest(key, keys)} `--help=all` lists them.",
            exit_code=2,
        )
    if section not in ARM_SECTIONS and not (section == "training" and name in TRAINING_KEYS):
        raise UserError(
            f"`sweep.space` cannot vary {key}: it sets what is trained on, how long, or how that "
            f"is measured. It may vary keys of {', '.join(ARM_SECTIONS)}, and "
            f"{', '.join(f'training.{known}' for known in TRAINING_KEYS)}."
        )
    return table[section][name]


def _parse_values(key: str, words: str, option: Option, table: Table) -> "BaseDistribution":
    """Returns the values that a range or choices name."""
    distributions = import_optuna().distributions
    if "|" in words:
        choices = [_parse_one(table, key, part.strip(), option) for part in words.split("|")]
        if len(set(choices)) < len(choices):
            raise UserError(f"`sweep.space`, {key}: {words!r} has a value twice. Leave one out.")
        return distributions.CategoricalDistribution(choices)
    parts = [part.strip() for part in words.split(":")]
    is_log = parts[0] == "log"
    bounds = parts[is_log:]
    is_number = type(option.default) in (int, float)
    if not is_number or len(bounds) not in ((2,) if is_log else (2, 3)):
        expected = _FORMS if is_number else "A|B|C, at least two"
        raise UserError(f"`sweep.space`, {key}: expected {expected}. Received: {words!r}.")
    low, high = (_parse_one(table, key, text, option) for text in bounds[:2])
    step = parse_value(table, key, bounds[2]) if len(bounds) == 3 else None
    if not low < high or (is_log and low <= 0) or (step is not None and not step > 0):
        raise UserError(
            f"`sweep.space`, {key}: expected LOW below HIGH, above 0 for log, and a STEP above 0. "
            f"Received: {words!r}."
        )
    if isinstance(low, int):
        return distributions.IntDistribution(low, high, log=is_log, step=step or 1)
    return distributions.FloatDistribution(low, high, log=is_log, step=step)


def _parse_one(table: Table, key: str, text: str, option: Option) -> Any:
    """Returns a value of a key that lies within its bounds and choices."""
    value = parse_value(table, key, text)
    check_value(f"`sweep.space`, {key}:", value, option)
    return value


def grid(space: "Space") -> list[dict[str, Any]]:
    """Returns every combination of the values of a space, in their order.

    Raises:
        UserError: If a key has an endless number of values.
    """
    values = [_all_values(key, distribution) for key, distribution in space.items()]
    return [dict(zip(space, chosen, strict=True)) for chosen in itertools.product(*values)]


def _all_values(key: str, distribution: Any) -> Iterable[Any]:
    if hasattr(distribution, "choices"):
        return distribution.choices
    if distribution.log or not distribution.step:
        raise UserError(
            f"`sweep.sampler` is grid, but {key} has no end of values. List them ({key}=A|B|C), "
            "give a step (LOW:HIGH:STEP), or --config.sweep.sampler=tpe."
        )
    low, step = distribution.low, distribution.step
    return [low + n * step for n in range(round((distribution.high - low) / step) + 1)]


class SweepPlan(NamedTuple):
    """The plan of a sweep: its directory, its space, and the command line of its trials.

    Attributes:
        path: The directory of the sweep.
        config: The configuration that the trials have in common.
        space: Key to the distribution of its values.
        seed: Seed of the search and of each trial.
        metric: Validation metric that is maximised.
        data_path: The value of --data.
        config_path: The value of --config.
        overrides: The settings of the command line without those of section `sweep`.
    """

    path: Path
    config: ConfigDict
    space: "Space"
    seed: int
    metric: str
    data_path: str
    config_path: str
    overrides: tuple[tuple[str, str], ...]

    def trial_path(self, number: int) -> Path:
        """Returns the work directory of a trial."""
        return self.path / "trials" / f"{number:04}"

    def trial_config(self, settings: dict[str, Any]) -> ConfigDict:
        """Returns the configuration of a trial, as `best.py` repeats it."""
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
        pairs += [(key, _flag_text(value)) for key, value in settings.items()]
        pairs += [("comparison.arms", ""), ("evaluation.test_every", "0")]
        return [
            "--mode=train",
            *([f"--config={self.config_path}"] if self.config_path else []),
            *([f"--data={self.data_path}"] if self.data_path else []),
            f"--workdir={self.trial_path(number)}",
            f"--seed={self.seed}",
            *(f"--config.{key}={text}" for key, text in pairs),
            f"--config.training.finish={_flag_text(finishes)}",
        ]


def _flag_text(value: Any) -> str:
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
    """Returns the plan of the sweep that a configuration describes.

    Raises:
        UserError: If `sweep` has a wrong setting or a key that cannot be searched.
    """
    space = parse_space(config.sweep.space)
    if not config.training.monitor:
        raise UserError(
            "--mode=sweep maximises a validation metric, and `training.monitor` is empty. Set "
            "--config.training.monitor=ndcg@10."
        )
    if config.sweep.sampler == "grid":
        for key, distribution in space.items():
            _all_values(key, distribution)
    if config.distribution.strategy == "multi_worker":
        raise UserError(
            "--mode=sweep trains each trial on one machine, so `distribution.strategy` cannot be "
            "multi_worker. Set --config.distribution.strategy=mirrored or one."
        )
    return SweepPlan(
        path=Path(workdir),
        config=config,
        space=space,
        seed=seed,
        metric=config.training.monitor,
        data_path=data_path,
        config_path=config_path,
        overrides=tuple(pair for pair in overrides if not pair[0].startswith("sweep.")),
    )


def check_choices(plan: SweepPlan) -> None:
    """Checks the names in the common settings and in the space against the tables of names.

    Raises:
        UserError: Naming the known names and the nearest one.
    """
    own = plan.trial_config({})
    if not set(plan.space) & {"backbone.width", "backbone.num_heads", "memory.policy"}:
        check_names(own)
    for key, distribution in plan.space.items():
        for choice in getattr(distribution, "choices", ()):
            if isinstance(choice, str) and key != "memory.policy":
                check_names(plan.trial_config({key: choice}))
    check_config(own, option_table())


def enter(plan: SweepPlan, source: Source, command: list[str]) -> dict[str, Any]:
    """Makes the directory of a sweep, or checks that it holds the same one; returns its record.

    Raises:
        UserError: If the directory's sweep has other data, split, budget, seed or space.
    """
    record = run_record(plan.config, source, plan.seed, data_path=plan.data_path, command=command)
    identity, values = dict(record["identity"]), record["config"]
    for section, keys in COMMON.items():
        identity |= {f"{section}.{key}": values[section][key] for key in keys}
    identity |= {f"sweep.{key}": values["sweep"][key] for key in ("space", "sampler")}
    directory = Workdir(plan.path)
    directory.check_same(identity)
    if not (plan.path / "config.json").exists():
        write_hashed_json(plan.path / "config.json", {**record, "identity": identity})
    return record


def write_best(plan: SweepPlan, number: int, settings: dict[str, Any], value: float) -> None:
    """Writes best.py, a configuration file that repeats the best trial."""
    table = option_table()
    default, best = as_json(default_config(table)), as_json(plan.trial_config(settings))
    lines = []
    for section in table:
        for key, setting in best[section].items():
            if section == "sweep" or setting == default[section][key]:
                continue
            shown = tuple(setting) if isinstance(setting, list) else setting
            mark = "  # searched" if f"{section}.{key}" in settings else ""
            lines.append(f"    config.{section}.{key} = {shown!r}{mark}")
    data = f" --data={plan.data_path}" if plan.data_path else ""
    text = (
        f'"""Trial {number} of {plan.path.name}, the best: validation {plan.metric} {value:.4f}.\n'
        f"\n    python main.py --config={plan.path}/best.py{data} --seed={plan.seed}"
        f' --workdir=DIR\n"""\n\nfrom typing import Any\n\n\ndef configure(config: Any) -> None:\n'
        '    """Changes the keys that differ from base.py."""\n' + "\n".join(lines) + "\n"
    )
    write_text(plan.path / "best.py", text)
