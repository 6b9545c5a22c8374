"""Amazon Beauty: FMLP-Rec, plain training with full cross-entropy.

    python main.py --config=configs/beauty_fmlp_ce.py --data=beauty.txt

A recipe of this library: width 64, 4 blocks, dropout .4. The filter is causal, so that every
position of a history is trained at once, and the learning rate fits that. It is not RecBoard's
recipe for Beauty, which has the circular filter, dropout .2 and the loss BPR. Closer to it, in
hours on two cores:

    --config.backbone.filter=circular --config.training.windows=prefixes \
    --config.backbone.dropout=0.2 --config.training.batch_size=512 \
    --config.optimizer.learning_rate=1e-4

Expected: not run yet.
"""

from typing import Any


def configure(config: Any) -> None:
    """Changes the keys that differ from base.py."""
    config.backbone.name = "fmlp"
    config.backbone.filter = "causal"
    config.backbone.width = 64
    config.backbone.num_blocks = 4
    config.backbone.dropout = 0.4
    config.loss.name = "cross_entropy"
    config.memory.policy = "plain"
    config.gate.kind = "never"
    config.evaluation.every = 2
    config.comparison.baselines = ("popularity", "markov", "itemknn")
