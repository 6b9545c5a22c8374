"""Amazon Beauty: SASRec with full cross-entropy and averaged weights, the strongest plain training.

    python main.py --config=configs/beauty_sasrec_ce.py --data=beauty.txt

Expected (seed 0): test HR@10 .0981 and NDCG@10 .0581, seen items masked, with the averaged weights,
which validation selects (the arm ema of benchmarks/results/beauty_cross_entropy.json). A run takes
about 8 minutes on two cores. The published figures for this loss are .0986 +- .0006 and
.0597 +- .0004 (MTandHJ/CE-SCE-LLMRec: batch 512, learning rate 5e-4, 200 epochs).
"""

from typing import Any


def configure(config: Any) -> None:
    """Changes the keys that differ from base.py."""
    config.backbone.variant = "corrected"
    config.backbone.width = 64
    config.backbone.dropout = 0.6
    config.loss.name = "cross_entropy"
    config.memory.policy = "plain"
    config.teacher.always = True
    config.gate.patience = 3
    config.training.batch_size = 256
    config.training.num_epochs = 70
    config.training.patience = 5
    config.evaluation.every = 4
    config.evaluation.weights = "better"
    config.comparison.baselines = ("popularity", "markov", "itemknn")
