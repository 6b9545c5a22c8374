"""The plan of a comparison: its arms, seeds, reference, and the folders of its runs."""

from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from ufnrec_tf.common.errors import UserError
from ufnrec_tf.common.files import turn_at
from ufnrec_tf.common.hashes import write_hashed_json
from ufnrec_tf.common.lookup import pick
from ufnrec_tf.data.splits import Split
from ufnrec_tf.evaluation.metrics import check_cutoffs
from ufnrec_tf.reading.sources import Source
from ufnrec_tf.runs.record import COMMON, identity, is_done, run_record
from ufnrec_tf.runs.workdir import Workdir
from ufnrec_tf.training.arms import Arm, configure_arm, of_arm, parse_arms
from ufnrec_tf.training.checks import check_names
from ufnrec_tf.training.settings_checks import check_seeds


class Plan(NamedTuple):
    """The arms, seeds and data of a comparison.

    Attributes:
        path: The comparison's directory.
        config: The settings that the arms share.
        arms: The arms, in the order of the report.
        seeds: The seeds, in the order of training.
        reference: Name of the arm that the others are compared with.
        source: The data.
        split: Its split.
    """

    path: Path
    config: ConfigDict
    arms: tuple[Arm, ...]
    seeds: tuple[int, ...]
    reference: str
    source: Source
    split: Split

    def run_path(self, arm: str, seed: int) -> Path:
        """Returns the work directory of a run."""
        return self.path / "runs" / arm / f"seed_{seed}"

    def run_config(self, arm: str) -> ConfigDict:
        """Returns the configuration of an arm's runs."""
        own = configure_arm(self.config, next(a for a in self.arms if a.name == arm))
        own.comparison.baselines = ()
        own.comparison.run = ""
        return own

    def is_done(self, arm: str, seed: int) -> bool:
        """True if a run has finished."""
        return is_done(self.run_config(arm), self.run_path(arm, seed))

    def run_keys(self) -> list[tuple[str, int]]:
        """Returns (arm, seed) of all runs, seed by seed."""
        return [(arm.name, seed) for seed in self.seeds for arm in self.arms]


def make_plan(config: ConfigDict, source: Source, split: Split, workdir: str) -> Plan:
    """Returns the plan that the configuration asks for.

    Raises:
        UserError: If arms, seeds or the reference are not fit for a comparison.
    """
    settings = config.comparison
    arms = parse_arms(settings.arms)
    if len(arms) < 2:
        raise UserError(
            f"--mode=compare needs at least two arms, `comparison.arms` has {len(arms)}. Give "
            "--config.comparison.arms=base,ufnrec, or --config=configs/compare_confounders.py."
        )
    names = {arm.name: arm for arm in arms}
    reference = settings.reference or arms[0].name
    pick(names, reference, key="comparison.reference")
    seeds = tuple(settings.seeds)
    check_seeds(seeds)
    return Plan(Path(workdir), config, arms, seeds, reference, source, split)


def chosen_run(plan: Plan) -> tuple[str, int]:
    """Returns the arm and the seed of `comparison.run`.

    Raises:
        UserError: If the plan has no such run.
    """
    known = {f"{arm.name}/{seed}": (arm.name, seed) for arm in plan.arms for seed in plan.seeds}
    return pick(known, plan.config.comparison.run, key="comparison.run")


def check_arms(plan: Plan) -> None:
    """Checks the settings of all arms, names in tables included, before anything is written.

    Raises:
        UserError: Naming the arm.
    """
    if plan.config.distribution.strategy == "multi_worker":
        raise UserError(
            "--mode=compare trains each run on one machine, so `distribution.strategy` cannot be "
            "multi_worker. Take mirrored, or share its runs out: --config.comparison.run=ARM/SEED "
            "on each machine, with one --workdir."
        )
    check_cutoffs(plan.config.evaluation.cutoffs, plan.source.interactions.num_items)
    for arm in plan.arms:
        with of_arm(arm.name):
            check_names(plan.run_config(arm.name))


def enter(plan: Plan, record: dict[str, Any]) -> None:
    """Makes the comparison's directory, or checks that it belongs to the same comparison.

    Raises:
        UserError: If data, split, budget or settings differ, here or in one of its runs.
    """
    with turn_at(plan.path):
        Workdir(plan.path).check_same(record["identity"])
        for arm in plan.arms:
            own = plan.run_config(arm.name)
            for seed in plan.seeds:
                there = Workdir(plan.run_path(arm.name, seed))
                there.check_same(identity(own, plan.source, seed))
        if not (plan.path / "config.json").exists():
            write_hashed_json(plan.path / "config.json", record)


def comparison_record(plan: Plan, data_path: str, command: list[str]) -> dict[str, Any]:
    """Returns the contents of the comparison's config.json."""
    record = run_record(plan.config, plan.source, 0, data_path=data_path, command=command)
    identity = {key: value for key, value in record["identity"].items() if key != "seed"}
    values = record["config"]
    for section, keys in COMMON.items():
        identity |= {f"{section}.{key}": values[section][key] for key in keys}
    return {**record, "identity": identity}
