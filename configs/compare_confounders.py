"""What of UFNRec's gain comes from what: seven arms that differ in one thing each, three seeds.

    python main.py --mode=compare --config=configs/compare_confounders.py --data=FILE

base: plain SASRec; ema: its weights averaged, as in all that follow; replay: hard negatives shown
again; remove: those that keep coming back left out; flip: called positives; ufnrec: that, softened
by the teacher; random: as many labels flipped, at random. 21 runs: on a log of Amazon Beauty's size
some hours on two cores. Stopped at any time, the same command goes on.
"""

from typing import Any


def configure(config: Any) -> None:
    """Changes what differs from base.py."""
    config.evaluation.every = 2
    config.comparison.arms = ("base", "ema", "replay", "remove", "flip", "ufnrec", "random")
    config.comparison.seeds = (0, 1, 2)
