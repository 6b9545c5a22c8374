"""The plan of a comparison: its arms, seeds, reference, and the folders of its runs."""

from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from ufnrec_tf.common.errors import UserError
from ufnrec_tf.common.files import read_json, turn_at
from ufnrec_tf.common.hashes import hash_of_json, write_hashed_json
from ufnrec_tf.comparison.arms_and_seeds import arms_and_seeds
from ufnrec_tf.data.splits import Split
from ufnrec_tf.evaluation.metrics import check_cutoffs
from ufnrec_tf.reading.sources import Source
from ufnrec_tf.runs.record import COMMON, identity, is_done, run_record
from ufnrec_tf.runs.workdir import TIMES_UNREAD, Workdir
from ufnrec_tf.training.arms import Arm, configure_arm, of_arm
from ufnrec_tf.training.build import has_average, num_weight_sets, scored_weights
from ufnrec_tf.training.checks import check_names
from ufnrec_tf.training.hindsight_training import teacher_config, teacher_identity
from ufnrec_tf.training.teacher_phase import has_stored_labels


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
        scores_both: True if student and average of every arm that has both are scored.
    """

    path: Path
    config: ConfigDict
    arms: tuple[Arm, ...]
    seeds: tuple[int, ...]
    reference: str
    source: Source
    split: Split
    scores_both: bool = False

    def run_path(self, arm: str, seed: int) -> Path:
        """Returns the work directory of a run."""
        return self.path / "runs" / arm / f"seed_{seed}"

    def run_config(self, arm: str) -> ConfigDict:
        """Returns the configuration of an arm's runs.

        With `evaluation.weights=auto` one rule holds for all arms with an average: if one of them
        has the better of student and average, all do. The better of two is better by chance, too.

        Arms of one teacher share it over all seeds, in a folder of its own below `teachers/` unless
        `teacher.folder` is given; its seed is 0 unless one is.
        """
        own = configure_arm(self.config, next(a for a in self.arms if a.name == arm))
        if self.scores_both and has_average(own):
            own.evaluation.weights = "better"
        own.comparison.baselines = ()
        own.comparison.run = ""
        if has_stored_labels(own):
            own.teacher.seed = max(own.teacher.seed, 0)
            if not own.teacher.folder:
                folder = hash_of_json(_teacher_of(own, self.source))[:12]
                own.teacher.folder = str(self.path / "teachers" / folder)
        return own

    def is_done(self, arm: str, seed: int) -> bool:
        """True if a run has finished."""
        return is_done(self.run_config(arm), self.run_path(arm, seed))

    def weights_notes(self) -> list[str]:
        """Returns lines on the scored weights that differ between the reference and an arm."""
        base = self.run_config(self.reference)
        others = {a.name: self.run_config(a.name) for a in self.arms if a.name != self.reference}
        more = [n for n, own in others.items() if num_weight_sets(own) > num_weight_sets(base)]
        fewer = [n for n, own in others.items() if num_weight_sets(own) < num_weight_sets(base)]
        one, two = "one set of weights", "the better of student and average on validation"
        way_out = "Set --config.evaluation.weights=student to score every arm alike."
        notes = []
        for names, of_reference, of_arms in ((more, one, two), (fewer, two, one)):
            if names:
                notes.append(
                    f"{self.reference}, the reference, is scored by {of_reference}, "
                    f"{', '.join(names)} by {of_arms}: a part of the difference is that choice. "
                    + way_out
                )
        averaged = [n for n, own in others.items() if _reports_average(own) and n not in more]
        if averaged and not has_average(base):
            notes.append(
                f"{self.reference}, the reference, has no averaged weights, {', '.join(averaged)} "
                "has: a part of the difference is the average. Take a reference with an average, "
                "such as the arm ema."
            )
        return notes

    def run_keys(self) -> list[tuple[str, int]]:
        """Returns (arm, seed) of all runs, seed by seed."""
        return [(arm.name, seed) for seed in self.seeds for arm in self.arms]


def make_plan(config: ConfigDict, source: Source, split: Split, workdir: str) -> Plan:
    """Returns the plan that the configuration asks for.

    Raises:
        UserError: If arms, seeds or the reference are not fit for a comparison.
    """
    arms, seeds, reference = arms_and_seeds(config)
    both = config.evaluation.weights == "auto" and any(
        num_weight_sets(configure_arm(config, arm)) > 1 for arm in arms
    )
    return Plan(Path(workdir), config, arms, seeds, reference, source, split, both)


def _teacher_of(config: ConfigDict, source: Source) -> dict[str, Any]:
    """Returns what identifies the teacher of a configuration whose soft labels are stored."""
    settings = config.teacher
    if settings.labels == "later":
        return {"labels": settings.labels}
    if settings.kind == "runs":
        return {"runs": [str(Path(run).resolve()) for run in settings.runs]}
    known = teacher_identity(teacher_config(config), source, settings.seed)
    # Without what older versions did not record, so that their folders keep their names.
    unread = TIMES_UNREAD.items()
    return {label: value for label, value in known.items() if (label, value) not in unread}


def _reports_average(config: ConfigDict) -> bool:
    """True if the reported weights of a run are, or may be, an average."""
    return has_average(config) and scored_weights(config) != "student"


def check_arms(plan: Plan) -> None:
    """Checks the settings of all arms, names in tables included, before anything is written.

    Raises:
        UserError: Naming the arm.
    """
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
                _check_same_weights(own, plan.run_path(arm.name, seed))
        if not (plan.path / "config.json").exists():
            write_hashed_json(plan.path / "config.json", record)


def _check_same_weights(config: ConfigDict, path: Path) -> None:
    """Checks that a run that is there was scored by the weights that this comparison scores.

    Raises:
        UserError: If not, as in directories of older versions.
    """
    if not (path / "config.json").exists():
        return
    before = read_json(path / "config.json").get("config", {}).get("evaluation", {}).get("weights")
    older = ConfigDict(config.to_dict())
    older.evaluation.weights = before or config.evaluation.weights
    if num_weight_sets(older) != num_weight_sets(config):
        raise UserError(
            f"{path}: was scored by {num_weight_sets(older)} set of weights, this comparison "
            f"scores {num_weight_sets(config)} in every arm with an average. Give another "
            "--workdir, or remove this folder to train the run again."
        )


def comparison_record(plan: Plan, data_path: str, command: list[str]) -> dict[str, Any]:
    """Returns the contents of the comparison's config.json."""
    record = run_record(plan.config, plan.source, 0, data_path=data_path, command=command)
    identity = {key: value for key, value in record["identity"].items() if key != "seed"}
    values = record["config"]
    for section, keys in COMMON.items():
        identity |= {f"{section}.{key}": values[section][key] for key in keys}
    return {**record, "identity": identity}
