"""Amazon Beauty: BSARec, plain training with full cross-entropy.

    python main.py --config=configs/beauty_bsarec_ce.py --data=beauty.txt

The network as RecBoard sets it up for Beauty: width 64, 2 blocks, 1 head, dropout .5, alpha .7 and
c 5. Not as published: the filter is causal, so that every position of a history is trained at once,
and the rate of learning fits that. As published, which takes hours on two cores:

    --config.backbone.filter=circular --config.training.windows=prefixes \
    --config.training.batch_size=256 --config.optimizer.learning_rate=1e-4 \
    --config.optimizer.weight_decay=1e-4

Expected: not run yet.
"""

from typing import Any


def configure(config: Any) -> None:
    """Changes what differs from base.py."""
    config.backbone.name = "bsarec"
    config.backbone.filter = "causal"
    config.backbone.width = 64
    config.backbone.num_blocks = 2
    config.backbone.num_heads = 1
    config.backbone.dropout = 0.5
    config.backbone.frequency_share = 0.7
    config.backbone.low_frequencies = 5
    config.loss.name = "cross_entropy"
    config.memory.policy = "plain"
    config.gate.kind = "never"
    config.evaluation.every = 2
    config.comparison.baselines = ("popularity", "markov", "itemknn")
