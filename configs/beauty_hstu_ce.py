"""Amazon Beauty: HSTU, plain training with full cross-entropy.

    python main.py --config=configs/beauty_hstu_ce.py --data=beauty.txt

The network as RecBoard sets it up for Beauty: width 64, 4 blocks; bias by distance alone. The batch
and the rate of learning are this library's.

Expected: not run yet.
"""

from typing import Any


def configure(config: Any) -> None:
    """Changes what differs from base.py."""
    config.backbone.name = "hstu"
    config.backbone.width = 64
    config.backbone.num_blocks = 4
    config.loss.name = "cross_entropy"
    config.memory.policy = "plain"
    config.gate.kind = "never"
    config.evaluation.every = 2
    config.comparison.baselines = ("popularity", "markov", "itemknn")
