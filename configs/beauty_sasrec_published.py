"""Amazon Beauty: SASRec with full cross-entropy, as in the published figures for this loss.

    python main.py --config=configs/beauty_sasrec_published.py --data=beauty.txt

Blocks, initial weights and settings are those of SASRec in MTandHJ/CE-SCE-LLMRec (arXiv
2402.06216): batch 512, 200 epochs at a constant learning rate, validation every 5 epochs, no early
stopping, no averaged weights. The configuration beauty_sasrec_ce.py costs less.

Expected: published over 5 seeds are test NDCG@10 .0597 +- .0004 and HR@10 .0986 +- .0006, seen
items masked; ours: not measured yet.
"""

from typing import Any


def configure(config: Any) -> None:
    """Changes the keys that differ from base.py."""
    config.backbone.variant = "input_residual"
    config.backbone.width = 64
    config.backbone.dropout = 0.6
    config.loss.name = "cross_entropy"
    config.memory.policy = "plain"
    config.gate.kind = "never"
    config.optimizer.learning_rate = 5e-4
    config.optimizer.beta_2 = 0.999
    config.optimizer.weight_decay = 1e-8
    config.optimizer.weight_decay_kind = "coupled"
    config.training.batch_size = 512
    config.training.patience = 0
    config.evaluation.every = 5
    config.comparison.baselines = ("popularity", "markov", "itemknn")
