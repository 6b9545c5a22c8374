"""What false negatives add to SASRec on MovieLens 100K, over plain training and its average.

    python main.py --mode=compare --config=configs/compare_ml100k.py --data=ml-100k.inter \
        --config.loss.name=cross_entropy --workdir=runs/compare_ml100k_ce

The same for any loss of `loss.name`: one comparison each, since an arm is compared with plain
training by its own loss. Student and average are both scored on validation in every arm that has
an average, and the better is taken. The reference is plain training with its average, the strongest
that costs the same. 9 runs of 3 to 6 minutes on two cores.
"""

from typing import Any


def configure(config: Any) -> None:
    """Changes what differs from base.py."""
    config.backbone.variant = "corrected"
    config.backbone.width = 64
    config.backbone.max_length = 200
    config.backbone.dropout = 0.3
    config.loss.name = "cross_entropy"
    config.training.batch_size = 64
    config.training.num_epochs = 80
    config.training.patience = 8
    config.evaluation.every = 2
    config.evaluation.weights = "better"
    config.comparison.arms = ("ema", "ufnrec", "ufnrec_safe")
    config.comparison.seeds = (0, 1, 2)
