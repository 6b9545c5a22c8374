"""The gain of SASRec on MovieLens 100K from handling false negatives, beyond averaged weights.

    python main.py --mode=compare --config=configs/compare_ml100k.py --data=ml-100k.inter \
        --config.loss.name=cross_entropy --workdir=runs/compare_ml100k_ce

Any loss of `loss.name` may be compared. Each needs a comparison of its own, because an arm is
compared with plain training by the same loss. In every arm the student's and the averaged weights
are both scored on validation, and the better ones are taken. The reference is plain training with
averaged weights, the strongest that costs the same. The 9 runs take 3 to 6 minutes each on two
cores.
"""

from typing import Any


def configure(config: Any) -> None:
    """Changes the keys that differ from base.py."""
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
