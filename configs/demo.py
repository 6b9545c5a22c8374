"""The demo: SASRec with and without UFNRec on the embedded data set.

    python main.py            (or: make demo)

Two runs of a small SASRec, both with averaged weights, and three simple baselines take about a
minute on two cores.
"""

from typing import Any


def configure(config: Any) -> None:
    """Changes the keys that differ from base.py."""
    config.data.name = "planted"
    config.backbone.dropout = 0.2
    config.backbone.variant = "corrected"
    config.loss.name = "cross_entropy"
    config.optimizer.learning_rate = 0.003
    config.training.num_epochs = 30
    config.evaluation.every = 3
    # Long enough for the model to leave popularity behind, short enough for a demo.
    config.gate.kind = "epochs"
    config.gate.epochs = 18
    # A longer average would lag behind in such short training.
    config.teacher.decay = 0.99
    config.teacher.always = True
    config.evaluation.weights = "teacher"
    config.comparison.baselines = ("popularity", "markov", "itemknn")
    config.comparison.arms = ("keep",)  # an older name of "plain": its folder stays
