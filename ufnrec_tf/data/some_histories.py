"""Histories to try a model on."""

import numpy as np

from ufnrec_tf.data.interactions import Interactions


def some_histories(log: Interactions, count: int = 1000) -> list[list[str]]:
    """Returns the raw item ids of at most `count` users, spread evenly over the log."""
    users = np.unique(np.linspace(0, log.num_users - 1, count).astype(int))
    return [
        log.item_ids[log.items[log.offsets[user] : log.offsets[user + 1]]].tolist()
        for user in users.tolist()
    ]
