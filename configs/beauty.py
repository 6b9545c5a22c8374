"""Amazon Beauty (5-core, one user a line): SASRec with UFNRec in its tame default setting.

    python main.py --config=configs/beauty.py --data=beauty.txt

22,363 users, 12,101 items. About 13 CPU seconds an epoch and 2 an evaluation; training stops
when validation NDCG@10 has not risen for 10 evaluations, after 60 to 120 epochs.
"""

from typing import Any


def configure(config: Any) -> None:
    """Changes what differs from base.py."""
    config.evaluation.every = 2
    config.comparison.baselines = ("popularity", "markov", "itemknn")
