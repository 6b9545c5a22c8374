"""The sources of UFNRec's gain: seven arms that differ in one thing each, three seeds.

    python main.py --mode=compare --config=configs/compare_confounders.py --data=FILE

ema: plain SASRec with averaged weights, as in all arms below. It is the reference.
base: the same without them.
replay: hard negatives are remembered and shown again.
remove: suspects are left out of the step.
flip: they get label 1 instead.
ufnrec: they get label 1, softened by the teacher.
random: as many labels are flipped, but of random negatives.

These are 21 runs, which take some hours on two cores on a log of Amazon Beauty's size. If it is
stopped, the same command continues the comparison.
"""

from typing import Any


def configure(config: Any) -> None:
    """Changes the keys that differ from base.py."""
    config.evaluation.every = 2
    config.comparison.arms = ("ema", "base", "replay", "remove", "flip", "ufnrec", "random")
    config.comparison.seeds = (0, 1, 2)
