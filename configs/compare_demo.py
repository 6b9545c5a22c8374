"""A comparison within five minutes: three arms, three seeds, on the embedded data set.

    python main.py --mode=compare --config=configs/compare_demo.py --workdir=runs/compare_demo

Plain SASRec, with averaged weights, and with ufnrec_safe on top; 9 runs of about 25 seconds on two
cores. So short a training shows how a comparison works, not what the method can do.
"""

from typing import Any


def configure(config: Any) -> None:
    """Changes what differs from base.py."""
    config.data.name = "planted"
    config.backbone.num_blocks = 1
    config.backbone.dropout = 0.2
    config.backbone.variant = "corrected"
    config.optimizer.learning_rate = 0.005
    config.training.num_epochs = 24
    config.evaluation.every = 3
    # A longer average would lag behind in so short a training.
    config.teacher.decay = 0.9
    config.gate.kind = "epochs"
    config.gate.epochs = 12
    config.comparison.arms = ("plain", "ema", "ufnrec_safe")
    config.comparison.seeds = (0, 1, 2)
