"""Amazon Video (one event a line): SASRec with UFNRec in its tame default setting.

    python main.py --config=configs/video.py --data=video.txt

31,013 users, 23,715 items, of which 1,278 occur in held-out events alone; 112 users train only.
About 20 CPU seconds an epoch and 4 an evaluation.
"""

from typing import Any


def configure(config: Any) -> None:
    """Changes what differs from base.py."""
    config.evaluation.every = 2
    config.comparison.baselines = ("popularity", "markov", "itemknn")
