"""Amazon Beauty: GRU4Rec, plain training with full cross-entropy.

    python main.py --config=configs/beauty_gru4rec_ce.py --data=beauty.txt

The network has RecBole's default sizes: embeddings of 64, one recurrent layer of 128, dropout .3.
Batch size and learning rate are this library's.

Expected: not run yet.
"""

from typing import Any


def configure(config: Any) -> None:
    """Changes the keys that differ from base.py."""
    config.backbone.name = "gru4rec"
    config.backbone.width = 64
    config.backbone.hidden_width = 128
    config.backbone.num_blocks = 1
    config.backbone.dropout = 0.3
    config.loss.name = "cross_entropy"
    config.memory.policy = "plain"
    config.gate.kind = "never"
    config.evaluation.every = 2
    config.comparison.baselines = ("popularity", "markov", "itemknn")
