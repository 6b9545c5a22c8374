"""What a teacher with hindsight is worth to SASRec on Amazon Beauty, beyond averaged weights.

    python main.py --mode=compare --config=configs/compare_hindsight.py --data=beauty.txt \
        --workdir=runs/compare_hindsight

Every arm has the same network, averaged weights and a cosine of 95 epochs, and stops once
validation has not risen for 15 epochs. One teacher, of seed 100, serves all students. The control
`uniform` spreads the same mass over random items. A run takes 8 to 12 CPU minutes, the teacher 5.
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
    config.teacher.decay = 0.998
    config.teacher.seed = 100
    config.optimizer.learning_rate = 2.5e-3
    config.optimizer.schedule = "cosine"
    config.optimizer.warm_up_steps = 88
    config.training.batch_size = 256
    config.training.num_epochs = 95
    config.training.patience = 3
    config.evaluation.every = 5
    config.evaluation.weights = "teacher"
    config.comparison.arms = (
        "plain",
        "hindsight:memory.policy=ufnrec_soft",
        "uniform:memory.policy=ufnrec_soft,teacher.labels=uniform",
    )
    config.comparison.seeds = (0, 1, 2)
