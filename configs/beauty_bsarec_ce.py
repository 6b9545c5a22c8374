"""Amazon Beauty: BSARec, plain training with full cross-entropy.

    python main.py --config=configs/beauty_bsarec_ce.py --data=beauty.txt

A recipe of this library: width 64, 2 blocks, 1 head, dropout .5 (on attention weights too), alpha
.7 and c 5. The filter is causal, so that every position of a history is trained at once, and the
learning rate fits that. It is not RecBoard's recipe for Beauty, which has the circular filter, no
dropout on attention weights, learning rate 1e-4, and a weight decay of 1e-4 that goes through
Adam's moments; the decoupled `optimizer.weight_decay` has hardly any effect at that rate. Closer
to it, in hours on two cores:

    --config.backbone.filter=circular --config.training.windows=prefixes \
    --config.training.batch_size=256 --config.optimizer.learning_rate=1e-4

Expected: not run yet.
"""

from typing import Any


def configure(config: Any) -> None:
    """Changes the keys that differ from base.py."""
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
