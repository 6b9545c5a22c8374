"""The gain of SASRec on Amazon Beauty from handling false negatives, beyond averaged weights.

    python main.py --mode=compare --config=configs/compare_beauty.py --data=beauty.txt \
        --config.loss.name=cross_entropy --workdir=runs/compare_beauty_ce

It is set up like compare_ml100k.py, with one comparison for each loss. A run takes 8 to 20 minutes
on two cores.
"""

from typing import Any


def configure(config: Any) -> None:
    """Changes the keys that differ from base.py."""
    config.backbone.variant = "corrected"
    config.backbone.width = 64
    config.backbone.dropout = 0.6
    config.loss.name = "cross_entropy"
    config.training.batch_size = 256
    config.training.num_epochs = 70
    config.training.patience = 5
    config.gate.patience = 3
    config.evaluation.every = 4
    config.evaluation.weights = "better"
    config.comparison.arms = ("ema", "ufnrec_safe")
    config.comparison.seeds = (0, 1)
