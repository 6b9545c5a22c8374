"""What a comparison trains: arms, reference and seeds, checked without data and TensorFlow."""

from collections.abc import Sequence
from typing import NamedTuple

from ml_collections import ConfigDict

from ufnrec_tf.common.errors import UserError
from ufnrec_tf.common.lookup import pick
from ufnrec_tf.training.arms import Arm, parse_arms
from ufnrec_tf.training.settings_checks import check_seeds


class ArmsAndSeeds(NamedTuple):
    """The runs of a comparison.

    Attributes:
        arms: The arms, in the order of the report.
        seeds: The seeds, in the order of training.
        reference: Name of the arm that the others are compared with.
    """

    arms: tuple[Arm, ...]
    seeds: tuple[int, ...]
    reference: str


def arms_and_seeds(config: ConfigDict) -> ArmsAndSeeds:
    """Returns what a comparison trains.

    Raises:
        UserError: If arms, seeds, the reference, the chosen run or the devices are not fit for one.
    """
    settings = config.comparison
    arms = parse_arms(settings.arms)
    if len(arms) < 2:
        raise UserError(
            f"--mode=compare needs at least two arms, `comparison.arms` has {len(arms)}. Give "
            "--config.comparison.arms=base,ufnrec, or --config=configs/compare_confounders.py."
        )
    reference = settings.reference or arms[0].name
    pick({arm.name: arm for arm in arms}, reference, key="comparison.reference")
    seeds = tuple(settings.seeds)
    check_seeds(seeds)
    if settings.run:
        chosen_run(arms, seeds, settings.run)
    if config.distribution.strategy == "multi_worker":
        raise UserError(
            "--mode=compare trains each run on one machine, so `distribution.strategy` cannot be "
            "multi_worker. Take mirrored, or share its runs out: --config.comparison.run=ARM/SEED "
            "on each machine, with one --workdir."
        )
    return ArmsAndSeeds(arms, seeds, reference)


def chosen_run(arms: Sequence[Arm], seeds: Sequence[int], name: str) -> tuple[str, int]:
    """Returns the arm and the seed of a `comparison.run`.

    Raises:
        UserError: If the comparison has no such run.
    """
    known = {f"{arm.name}/{seed}": (arm.name, seed) for arm in arms for seed in seeds}
    return pick(known, name, key="comparison.run")
