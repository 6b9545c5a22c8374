"""The figures to reach: the measured settings and shapes, and the cost of others."""

from typing import NamedTuple

Settings = dict[str, object]

WORKING: Settings = {
    "gate.kind": "epochs",
    "gate.epochs": 0,
    "training.draw": "permutation",
}
"""The gate opens at the first step, so that every epoch is a visit of each user since then."""


class Row(NamedTuple):
    """One line of the training table; CPU seconds per 1,000 users.

    Attributes:
        label: The name of the row.
        data: File name of the log.
        num_steps: N; training is timed over as many steps after the first N.
        visits: Epochs trained before, with the gate open, in a directory that the timed runs
            start from.
        elsewhere: What it costs elsewhere, and where (two cores of an AMD EPYC).
        reach: Figure to reach.
        stretch: Figure to hope for.
        settings: Configuration, beside the shape.
        config: Configuration file; empty: the defaults.
    """

    label: str
    data: str
    num_steps: int
    visits: int
    elsewhere: str
    reach: float
    stretch: float
    settings: Settings
    config: str = ""


SHAPE: Settings = {
    "training.batch_size": 128,
    "training.num_epochs": 30,
    "backbone.max_length": 50,
    "backbone.width": 50,
    "backbone.num_blocks": 2,
    "backbone.num_heads": 1,
    "negatives.count": 100,
    "training.recipe": "base",
}
FAITHFUL = "configs/paper.py"
LONG: Settings = {"backbone.max_length": 200, "training.num_epochs": 200}
PLAIN: Settings = {"memory.policy": "plain"}

BEAUTY, ML_100K = "beauty.txt", "ml-100k.inter"

ROWS = {
    "ufnrec": Row(
        "UFNRec, default settings", BEAUTY, 350, 8, "11.5 (authors)", 0.24, 0.20, WORKING
    ),
    "faithful": Row(
        "UFNRec, faithful mode, 128 slots",
        BEAUTY,
        350,
        8,
        "11.5 (authors)",
        0.90,
        0.50,
        {**WORKING, "memory.slots": 128},
        FAITHFUL,
    ),
    "paper": Row(
        "UFNRec, faithful mode, 2,048 slots",
        BEAUTY,
        350,
        8,
        "11.5 (authors)",
        0.60,
        0.45,
        WORKING,
        FAITHFUL,
    ),
    "plain": Row(
        "plain BCE, 100 negatives", BEAUTY, 700, 0, "6.2 to 7.3 (authors)", 0.52, 0.32, PLAIN
    ),
    "one_negative": Row(
        "plain BCE, 1 negative",
        BEAUTY,
        2100,
        0,
        "0.73 (keras-rs)",
        0.30,
        0.15,
        {**PLAIN, "negatives.count": 1},
    ),
    "cross_entropy": Row(
        "full cross-entropy, 12,101 items",
        BEAUTY,
        700,
        0,
        "6.2 (RecBole)",
        0.9,
        0.7,
        {**PLAIN, "loss.name": "cross_entropy"},
    ),
    "long": Row(
        "UFNRec, ml-100k, max length 200",
        ML_100K,
        48,
        8,
        "85 (authors)",
        2.0,
        1.2,
        {**WORKING, **LONG},
    ),
    "long_faithful": Row(
        "UFNRec, ml-100k, max length 200, faithful, 1,682 slots",
        ML_100K,
        48,
        8,
        "85 (authors)",
        4.0,
        2.5,
        {**WORKING, **LONG, "memory.slots": 2048},
        FAITHFUL,
    ),
}
