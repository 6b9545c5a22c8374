"""Amazon Beauty: BSARec with full cross-entropy, as in MTandHJ/RecBoard.

    python main.py --config=configs/beauty_bsarec_published.py --data=beauty.txt

Network, initial weights and settings are those of BSARec in MTandHJ/RecBoard: the circular filter
and the padding of the paper's code, no dropout on attention weights, a weight decay of 1e-4 that
goes through Adam's moments, and every transition as the last one of its own window, which takes
514 steps an epoch: about 70 seconds on two cores, 4 hours for all 200 epochs. The causal form of
beauty_bsarec_ce.py costs a fraction.

Expected: published over 5 seeds are test NDCG@10 .0610 +- .0004 and HR@10 .1002 +- .0008, seen
items masked; ours: not measured yet.
"""

from typing import Any


def configure(config: Any) -> None:
    """Changes the keys that differ from base.py."""
    config.backbone.name = "bsarec"
    config.backbone.padding = "released"
    config.backbone.initializer = "xavier"
    config.backbone.width = 64
    config.backbone.dropout = 0.5
    config.backbone.attention_dropout = 0.0
    config.backbone.frequency_share = 0.7
    config.backbone.low_frequencies = 5
    config.loss.name = "cross_entropy"
    config.memory.policy = "plain"
    config.gate.kind = "never"
    config.optimizer.learning_rate = 1e-4
    config.optimizer.beta_2 = 0.999
    config.optimizer.weight_decay = 1e-4
    config.optimizer.weight_decay_kind = "coupled"
    config.training.windows = "prefixes"
    config.training.batch_size = 256
    config.training.patience = 0
    config.evaluation.every = 5
    config.comparison.baselines = ("popularity", "markov", "itemknn")
