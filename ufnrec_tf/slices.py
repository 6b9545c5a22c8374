"""Groups of evaluated users that a comparison looks at one by one."""

from typing import NamedTuple

import numpy as np

from ufnrec_tf.data.popularity import train_counts
from ufnrec_tf.data.splits import Split

NUM_GROUPS = 3


class Slice(NamedTuple):
    """A group of users.

    Attributes:
        family: What the users were grouped by.
        label: The values that the group has of it.
        is_member: bool [M], over the split's evaluated users.
    """

    family: str
    label: str
    is_member: np.ndarray


def make_slices(split: Split, part: str = "test") -> list[Slice]:
    """Returns thirds of the users by the length of their history and by their target's popularity.

    Args:
        split: Its evaluated users are grouped.
        part: Whose histories and targets are meant.

    Returns:
        Up to three slices of each family, lowest values first, of about equal size; fewer where
        many users have the same value.
    """
    data = split.interactions
    lengths = split.history_ends(part) - data.offsets[:-1][split.users(part)]
    popularity = train_counts(split)[split.targets(part)]
    return [
        *_thirds("history length", lengths, "items"),
        *_thirds("target's popularity", popularity, "train events"),
    ]


def _thirds(family: str, values: np.ndarray, unit: str) -> list[Slice]:
    """Groups by value, so that users of one value are never parted."""
    inner = np.arange(1, NUM_GROUPS) / NUM_GROUPS
    bounds = np.quantile(values, inner, method="inverted_cdf")
    # A bound belongs to the group below it, so that the greatest value cannot be one.
    bounds = np.unique(np.minimum(bounds, np.unique(values)[-2:].min()))
    groups = np.searchsorted(bounds, values)
    slices = []
    for group in np.unique(groups):
        is_member = groups == group
        low, high = values[is_member].min(), values[is_member].max()
        span = f"{low:,}" if low == high else f"{low:,} to {high:,}"
        slices.append(Slice(family, f"{span} {unit}", is_member))
    return slices
