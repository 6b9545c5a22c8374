"""Amazon Beauty: BSARec, plain training with full cross-entropy.

    python main.py --config=configs/beauty_bsarec_ce.py --data=beauty.txt

A recipe of this library: width 64, 2 blocks, 1 head, dropout .5 (on attention weights too), alpha
.7 and c 5. The filter is causal, so that every position of a history is trained at once, and the
learning rate fits that. The published figures come from other settings, which
beauty_bsarec_published.py has.

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
