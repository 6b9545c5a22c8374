"""UFNRec as its authors released it. This is for comparison, not for use.

    python main.py --config=configs/paper.py --data=FILE

It reproduces the behaviour of the released code, with four exceptions: the users of a step are
distinct, rows are keyed by the interaction, evaluation is exact and seeded, and checkpoints are
kept. It trains 200 epochs and scores the last weights, the teacher's once there is one.
"""

from typing import Any


def configure(config: Any) -> None:
    """Changes the keys that differ from base.py."""
    config.backbone.variant = "authors"
    config.memory.policy = "ufnrec"
    config.memory.duplicates = True
    config.memory.max_flips = 0
    config.memory.counting = "cumulative"
    config.memory.flip = "once"
    # The authors' code never forgets a count. No row has more than the catalogue's items; on
    # larger catalogues than ml-100k fewer slots save memory, and evictions are then reported.
    config.memory.slots = 2048
    config.teacher.dropout = True
    config.teacher.agreement = "none"
    config.teacher.soft_label_only = False
    config.teacher.consistency_mean = "flipped"
    config.gate.kind = "plateau"
    config.training.draw = "with_replacement"
    config.training.num_epochs = 200
    config.training.monitor = ""
    config.evaluation.every = 20
    config.evaluation.test_every = 20
    config.evaluation.sampled_negatives = 100
