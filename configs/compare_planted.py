"""What ufnrec_safe adds where the truth is known: planted data, five seeds of training.

    python main.py --mode=compare --config=configs/compare_planted.py \
        --config.data.planted_false_negative_rate=0.1 --workdir=runs/compare_planted_10

Full cross-entropy, the strongest plain loss, trained until validation stops rising. 15 runs of
about a minute.
"""

from typing import Any


def configure(config: Any) -> None:
    """Changes what differs from base.py."""
    config.data.name = "planted"
    config.backbone.variant = "corrected"
    config.backbone.dropout = 0.3
    config.loss.name = "cross_entropy"
    config.optimizer.learning_rate = 0.002
    config.training.num_epochs = 120
    config.training.patience = 6
    config.evaluation.every = 3
    config.evaluation.weights = "better"
    config.comparison.arms = ("base", "ema", "ufnrec_safe")
    config.comparison.seeds = (0, 1, 2, 3, 4)
