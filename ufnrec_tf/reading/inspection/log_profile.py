"""A log in numbers: counts, quantiles, and what filters would leave of it."""

from typing import Any, NamedTuple

import numpy as np

from ufnrec_tf.data.events import EventBatch
from ufnrec_tf.data.interactions import Interactions, is_first_of_pair
from ufnrec_tf.data.item_sets import distinct_in_ranges
from ufnrec_tf.reading.filters import core

QUANTILES = (0.0, 0.25, 0.5, 0.75, 0.9, 0.99, 1.0)
K_CORE = 5


class WhatIf(NamedTuple):
    """The events that a filter would leave.

    Attributes:
        flag: The filter.
        counts: Events, users and items after it.
        rounds: Rounds of a core that took something out; else 0.
    """

    flag: str
    counts: dict[str, int]
    rounds: int = 0


def profile(data: Interactions) -> dict[str, Any]:
    """Returns the numbers of a log, fit for JSON.

    `lengths` and `item_events` are the quantiles of `QUANTILES`; `density` is the share of user x
    item cells with an event; `gini` is that of the items' events, 0 where all have as many.
    """
    counts = np.bincount(data.items, minlength=data.num_items + 1)[1:]
    pairs = distinct_in_ranges(
        data.items, data.offsets[:-1], data.offsets[1:], num_items=data.num_items
    )
    found = {
        "users": data.num_users,
        "items": data.num_items,
        "events": data.num_events,
        "density": len(pairs[1]) / (data.num_users * data.num_items),
        "lengths": np.quantile(data.lengths, QUANTILES).tolist(),
        "item_events": np.quantile(counts, QUANTILES).tolist(),
        "gini": gini(counts),
    }
    if data.timestamps is not None:
        found["first_time"] = float(data.timestamps.min())
        found["last_time"] = float(data.timestamps.max())
    return found


def gini(counts: np.ndarray) -> float:
    """Returns the Gini coefficient of some counts, 0 (all equal) to 1 - 1 / n (one has all)."""
    ordered = np.sort(counts).astype(np.float64)
    ranks = np.arange(1, len(ordered) + 1)
    return float(2 * (ranks * ordered).sum() / (len(ordered) * ordered.sum())) - (
        len(ordered) + 1
    ) / len(ordered)


def what_ifs(data: Interactions, *, log: EventBatch | None = None) -> list[WhatIf]:
    """Returns the counts that some filters, each by itself, would leave.

    Args:
        data: The events.
        log: The file's events before any filter, for their ratings, or None.
    """
    users, items = data.users, data.items
    is_first = is_first_of_pair(users, items)
    is_core, rounds = core(users, items, least_user=K_CORE, least_item=K_CORE)
    found = [
        WhatIf("--config.data.repeats=drop", _counts(data, is_first)),
        WhatIf("--config.data.min_length=3", _counts(data, data.lengths[users] >= 3)),
        WhatIf(f"--config.data.k_core={K_CORE}", _counts(data, is_core), rounds),
    ]
    if log is not None and log.ratings is not None:
        threshold = float(np.median(log.ratings))
        left = log.kept(log.ratings >= threshold)
        found.insert(0, WhatIf(f"--config.data.min_rating={threshold:g}", left.counts))
    return found


def _counts(data: Interactions, is_kept: np.ndarray) -> dict[str, int]:
    users, items = (len(np.unique(codes[is_kept])) for codes in (data.users, data.items))
    return {"events": int(np.count_nonzero(is_kept)), "users": users, "items": items}


def transitions(data: Interactions, *, max_length: int, takes_last: bool) -> int:
    """Returns how many rows a memory would have, about: one a training transition.

    Args:
        data: The events, of which each user's last two are held out.
        max_length: Transitions of a window.
        takes_last: True if a user has only one window, the newest.
    """
    lengths = np.maximum(data.lengths - 2 * (data.lengths >= 3) - 1, 0)
    return int((np.minimum(lengths, max_length) if takes_last else lengths).sum())
