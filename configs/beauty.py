"""Amazon Beauty (5-core, one user a line): SASRec with UFNRec in its mild default setting.

    python main.py --config=configs/beauty.py --data=beauty.txt

22,363 users, 12,101 items. An epoch takes about 13 CPU seconds and an evaluation 2. Training stops
when validation NDCG@10 has not risen for 10 evaluations, which is after 60 to 120 epochs.
"""

from typing import Any


def configure(config: Any) -> None:
    """Changes the keys that differ from base.py."""
    config.evaluation.every = 2
    config.comparison.baselines = ("popularity", "markov", "itemknn")
