"""Soft labels within five minutes: a teacher with hindsight and a control, on planted data.

    python main.py --mode=compare --config=configs/compare_teachers.py \
        --workdir=runs/compare_teachers

The arms are SASRec with averaged weights, the reference; the same with soft labels of a teacher
with hindsight; and the same with as much mass on random items. One teacher serves both seeds. All
of it takes about 150 CPU seconds.
Such short training shows how it works, and says nothing about what a teacher is worth.
"""

from typing import Any


def configure(config: Any) -> None:
    """Changes the keys that differ from base.py."""
    config.data.name = "planted"
    config.backbone.num_blocks = 1
    config.backbone.dropout = 0.2
    config.backbone.variant = "corrected"
    config.loss.name = "cross_entropy"
    config.memory.policy = "plain"
    # A longer average would lag behind in such short training.
    config.teacher.decay = 0.9
    config.teacher.always = True
    config.teacher.num_epochs = 12
    config.optimizer.learning_rate = 0.005
    config.training.num_epochs = 18
    config.evaluation.every = 3
    config.evaluation.weights = "teacher"
    config.comparison.arms = (
        "plain",
        "hindsight:memory.policy=ufnrec_soft",
        "uniform:memory.policy=ufnrec_soft,teacher.labels=uniform",
    )
    config.comparison.seeds = (0, 1)
