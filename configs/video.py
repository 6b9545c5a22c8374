"""Amazon Video (one event a line): SASRec with UFNRec in its mild default setting.

    python main.py --config=configs/video.py --data=video.txt

31,013 users, 23,715 items. 1,278 of the items occur only in held-out events, and 112 users only
train. An epoch takes about 20 CPU seconds and an evaluation 4.
"""

from typing import Any


def configure(config: Any) -> None:
    """Changes the keys that differ from base.py."""
    config.evaluation.every = 2
    config.comparison.baselines = ("popularity", "markov", "itemknn")
