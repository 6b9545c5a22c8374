"""Groups of evaluated users, or of their targets, that a comparison reports one by one."""

from typing import NamedTuple

import numpy as np

from ufnrec_tf.data.splits import Split, train_counts

NUM_GROUPS = 3


class Slice(NamedTuple):
    """A group of users; of targets, where each user has several.

    Attributes:
        family: The quantity that the users were grouped by.
        label: The values of that quantity in the group.
        is_member: bool [M], over the targets of the part.
        num_users: Different users in the group; one may be in several.
    """

    family: str
    label: str
    is_member: np.ndarray
    num_users: int


def make_slices(split: Split, part: str = "test") -> list[Slice]:
    """Returns thirds of the targets by the length of their history and by their popularity.

    Args:
        split: Its targets are grouped, which are its users where each has one.
        part: "validation" or "test".

    Returns:
        Up to three groups of each family, lowest values first, of about equal size; fewer where
        many targets have the same value.
    """
    data = split.interactions
    users = split.users(part)
    lengths = split.history_ends(part) - data.offsets[:-1][users]
    popularity = train_counts(split)[split.targets(part)]
    return [
        *_thirds("history length", lengths, users, "items"),
        *_thirds("target's popularity", popularity, users, "train events"),
    ]


def _thirds(family: str, values: np.ndarray, users: np.ndarray, unit: str) -> list[Slice]:
    """Returns the groups of one family; targets of equal value stay in one group."""
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
        num_users = len(np.unique(users[is_member]))
        slices.append(Slice(family, f"{span} {unit}", is_member, num_users))
    return slices
