"""What the times of events are worth to HSTU on MovieLens 100K.

    python main.py --mode=compare --config=configs/compare_time_ml100k.py --data=ml-100k.inter \
        --workdir=runs/compare_time_ml100k

The reference reads only the order of events. The other arms also read the time since the event
before (gaps), have a bias of attention by the time between two events (bias), or both. None of them
knows when the target was taken. Plain training with cross-entropy over the catalogue. The 12 runs
take 3 to 6 minutes each on two cores.
"""

from typing import Any


def configure(config: Any) -> None:
    """Changes the keys that differ from base.py."""
    config.backbone.name = "hstu"
    config.backbone.width = 64
    config.backbone.num_blocks = 2
    config.backbone.max_length = 200
    config.backbone.dropout = 0.3
    config.loss.name = "cross_entropy"
    config.memory.policy = "plain"
    config.training.windows = "all"
    config.training.batch_size = 64
    config.training.num_epochs = 60
    config.training.patience = 8
    config.evaluation.every = 2
    config.comparison.arms = (
        "none:backbone.time=none",
        "gaps:backbone.time=gaps",
        "bias:backbone.time=bias",
        "both:backbone.time=both",
    )
    config.comparison.seeds = (0, 1, 2)
