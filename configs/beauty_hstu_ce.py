"""Amazon Beauty: HSTU, plain training with full cross-entropy.

    python main.py --config=configs/beauty_hstu_ce.py --data=beauty.txt

A recipe of this library: width 64, 4 blocks, 1 head, one dropout rate of .5. The network knows
positions only by a bias for each distance, and scores are plain inner products. It is not
RecBoard's recipe for Beauty, which has more heads, dropout rates of .5 and .1, a table of
positions, and vectors of length 1 at temperature .1.

Expected: not run yet.
"""

from typing import Any


def configure(config: Any) -> None:
    """Changes the keys that differ from base.py."""
    config.backbone.name = "hstu"
    config.backbone.width = 64
    config.backbone.num_blocks = 4
    config.loss.name = "cross_entropy"
    config.memory.policy = "plain"
    config.gate.kind = "never"
    config.evaluation.every = 2
    config.comparison.baselines = ("popularity", "markov", "itemknn")
