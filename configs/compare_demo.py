"""A comparison within five minutes: three arms, three seeds, on the embedded data set.

    python main.py --mode=compare --config=configs/compare_demo.py --workdir=runs/compare_demo

The arms are SASRec with averaged weights, the reference; the same without them; and the same with
ufnrec_safe on top. The 9 runs take about 25 seconds each on two cores. Such short training shows
how a comparison works, and says nothing about the accuracy that the method can reach.
"""

from typing import Any


def configure(config: Any) -> None:
    """Changes the keys that differ from base.py."""
    config.data.name = "planted"
    config.backbone.num_blocks = 1
    config.backbone.dropout = 0.2
    config.backbone.variant = "corrected"
    config.optimizer.learning_rate = 0.005
    config.training.num_epochs = 24
    config.evaluation.every = 3
    # A longer average would lag behind in such short training.
    config.teacher.decay = 0.9
    config.gate.kind = "epochs"
    config.gate.epochs = 12
    config.comparison.arms = ("ema", "plain", "ufnrec_safe")
    config.comparison.seeds = (0, 1, 2)
