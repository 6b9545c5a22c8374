"""SASRec that learns from a teacher with hindsight: the strongest training shown here, on Beauty.

    python main.py --config=configs/recommended.py --data=beauty.txt

Expected on Amazon Beauty (7 seeds, one teacher; benchmarks/results/beauty_seven_seeds.json): test
HR@10 .1022 +- .0009 and NDCG@10 .0603 +- .0006, seen items masked; plain training at the same
schedule .0981 +- .0006 and .0581 +- .0004. A run takes 720 to 1,050 CPU seconds, of which the
teacher takes 302 and its labels 8. docs/evaluation-and-comparison.md has other data.
"""

from typing import Any


def configure(config: Any) -> None:
    """Changes the keys that differ from base.py."""
    config.backbone.variant = "corrected"
    config.backbone.width = 64
    config.backbone.dropout = 0.6
    config.loss.name = "cross_entropy"
    config.memory.policy = "ufnrec_soft"
    config.teacher.kind = "hindsight"
    config.teacher.decay = 0.998
    config.optimizer.learning_rate = 2.5e-3
    config.optimizer.schedule = "cosine"
    config.optimizer.warm_up_steps = 88
    config.training.batch_size = 256
    config.training.num_epochs = 95
    config.training.patience = 3
    config.evaluation.every = 5
    config.evaluation.weights = "teacher"
    config.comparison.baselines = ("popularity", "markov", "itemknn")
