"""Splits by name, and what callers need of them: the place to add one."""

from collections.abc import Callable

import numpy as np

from ufnrec_tf.data.distinct import distinct_in_ranges
from ufnrec_tf.data.interactions import Interactions
from ufnrec_tf.data.split_base import PARTS, HeldOut, Split, SplitSettings
from ufnrec_tf.data.split_last import leave_last_n, leave_one_out
from ufnrec_tf.data.split_temporal import temporal
from ufnrec_tf.data.split_users import user_holdout

SPLITS: dict[str, Callable[[Interactions, SplitSettings | None], Split]] = {
    "leave_one_out": leave_one_out,
    "leave_last_n": leave_last_n,
    "temporal": temporal,
    "user_holdout": user_holdout,
}
"""Splits by name: add one here."""


def seen_train_items(split: Split) -> tuple[np.ndarray, np.ndarray]:
    """Returns each user's distinct train items, in compressed rows.

    Returns:
        offsets int64 [U + 1] and items int32 [K]: user u has seen `items[offsets[u]:offsets[u+1]]`,
        ascending.
    """
    data = split.interactions
    return distinct_in_ranges(
        data.items, data.offsets[:-1], split.train_ends, num_items=data.num_items
    )


__all__ = [
    "PARTS",
    "SPLITS",
    "HeldOut",
    "Split",
    "SplitSettings",
    "leave_last_n",
    "leave_one_out",
    "seen_train_items",
    "temporal",
    "user_holdout",
]
