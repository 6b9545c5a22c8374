"""What a search consists of: the common configuration, the axes, how a trial is called."""

from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from ufnrec_tf.checks import check_names
from ufnrec_tf.comparison_plan import COMMON
from ufnrec_tf.config import as_json, check_config, default_config, option_table
from ufnrec_tf.data.splits import Split
from ufnrec_tf.errors import UserError
from ufnrec_tf.record import run_record
from ufnrec_tf.sources import Source
from ufnrec_tf.sweep_space import Axis, parse_space
from ufnrec_tf.workdir import Workdir, write_json, write_text

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
            own[section][name] = value
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
