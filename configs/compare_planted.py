"""The gain of ufnrec_safe where the false negatives are known: planted data, five seeds.

    python main.py --mode=compare --config=configs/compare_planted.py \
        --config.data.planted_false_negative_rate=0.1 --workdir=runs/compare_planted_10

The loss is full cross-entropy, the strongest plain one, and training stops when validation no
longer rises. The reference has averaged weights, as ufnrec_safe does. The 15 runs take about a
minute each.
"""

from typing import Any


def configure(config: Any) -> None:
    """Changes the keys that differ from base.py."""
    config.data.name = "planted"
    config.backbone.variant = "corrected"
    config.backbone.dropout = 0.3
    config.loss.name = "cross_entropy"
    config.optimizer.learning_rate = 0.002
    config.training.num_epochs = 120
    config.training.patience = 6
    config.evaluation.every = 3
    config.evaluation.weights = "better"
    config.comparison.arms = ("ema", "base", "ufnrec_safe")
    config.comparison.seeds = (0, 1, 2, 3, 4)
