"""The effect of UFNRec's own settings: one changed at a time, three seeds.

    python main.py --mode=compare --config=configs/compare_sensitivity.py --data=FILE

m: how often a negative is shown before it is a suspect.
alpha: weight of the consistency term.
d: decay of the teacher's average.
N: negatives for each position.

These are 27 runs. The arm `default` is the reference.
"""

from typing import Any


def configure(config: Any) -> None:
    """Changes the keys that differ from base.py."""
    config.evaluation.every = 2
    config.memory.policy = "ufnrec"
    config.teacher.always = True
    config.comparison.arms = (
        "default:",
        "m2:memory.patience=2",
        "m10:memory.patience=10",
        "alpha0.1:teacher.weight=0.1",
        "alpha1:teacher.weight=1",
        "d0.99:teacher.decay=0.99",
        "d0.9995:teacher.decay=0.9995",
        "N20:negatives.count=20",
        "N300:negatives.count=300",
    )
    config.comparison.seeds = (0, 1, 2)
