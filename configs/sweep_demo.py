"""A sweep to try: ten trials of a small SASRec on the embedded data set.

    python main.py --mode=sweep --config=configs/sweep_demo.py --workdir=runs/sweep_demo

It takes about five minutes on two cores. Ten trials show how a sweep works; a real one takes fifty
or more.
"""

from typing import Any


def configure(config: Any) -> None:
    """Changes the keys that differ from base.py."""
    config.data.name = "planted"
    config.backbone.num_blocks = 1
    config.backbone.variant = "corrected"
    config.memory.policy = "plain"
    config.training.num_epochs = 24
    config.training.patience = 3
    config.evaluation.every = 3
    config.sweep.space = (
        "optimizer.learning_rate=log:1e-3:2e-2",
        "backbone.dropout=0.0:0.6",
        "backbone.width=32|50|64",
    )
    config.sweep.trials = 10
    config.sweep.startup_trials = 4
    config.sweep.prune_after = 6
