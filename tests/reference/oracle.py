"""A slow UFNRec in NumPy and dicts: the independent reference for the TensorFlow one.

Written from the description of the method. It imports nothing of the package under test, works
in float64 and Python integers, and prefers a plain loop to a clever line. The memory is
here; loss, teacher, gate and Adam are in oracle_training and can be imported from either.

Keys are (user, index of the interaction). Shapes: P rows a step, N negatives, column 0 of a
[P, 1+N] array is the positive.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tests.reference.oracle_training import (
    OracleAdam,
    OracleLoss,
    OracleTeacher,
    bce,
    oracle_loss,
    plateau_epoch,
    sigmoid,
)

__all__ = [
    "PAD",
    "POLICIES",
    "Key",
    "Lookup",
    "OracleAdam",
    "OracleLoss",
    "OracleMemory",
    "OracleTeacher",
    "bce",
    "hard_flags",
    "oracle_loss",
    "plateau_epoch",
    "sigmoid",
]

PAD = 0
POLICIES = ("replay", "remove", "flip", "ufnrec")

Key = tuple[int, int]


class Lookup(NamedTuple):
    """What one row trains on; every field has one entry per negative slot."""

    items: list[int]  # after the overlay; 0 = no negative here
    is_shown: list[bool]  # True: the item came from memory
    counts: list[int]  # provisional count, this showing included; 0 for a fresh draw
    is_ripe: list[bool]  # shown, and its count is above the patience (never under `replay`)
    is_excluded: list[bool]  # a real item that has no weight (False where there is no item)
    labels: list[int]  # 1 for a flipped entry
    weights: list[int]  # 0 where excluded or where there is no item


class OracleMemory:
    """Remembered negatives of each (user, index), their counts, and what to do with the ripe.

    Attributes:
        lists: key -> remembered items in the order of writing; a row written once has an entry,
            be it empty.
        counts: key -> {item: times shown from memory}, positive counts only.
        statistics: totals of `record`: "shown" entries, "ripe" entries, "flips" (ripe entries
            labelled 1, so none under `remove`), "evictions", "refusals".
    """

    def __init__(
        self,
        *,
        patience: int = 5,
        num_slots: int | None = None,
        list_capacity: int | None = None,
        duplicates: bool = False,
        counting: str = "cumulative",
        flip: str = "once",
        policy: str = "ufnrec",
    ) -> None:
        if counting not in ("cumulative", "consecutive"):
            raise ValueError(f"counting: {counting}")
        if flip not in ("once", "sticky"):
            raise ValueError(f"flip: {flip}")
        if policy not in POLICIES:
            raise ValueError(f"policy: {policy}")
        self.patience = patience
        self.num_slots = num_slots
        self.list_capacity = list_capacity
        self.duplicates = duplicates
        self.counting = counting
        self.flip = flip
        self.policy = policy
        self.lists: dict[Key, list[int]] = {}
        self.counts: dict[Key, dict[int, int]] = {}
        self.statistics = {"shown": 0, "ripe": 0, "flips": 0, "evictions": 0, "refusals": 0}

    def remembered(self, key: Key) -> list[int]:
        """The items of a row in the order in which they overwrite slots 0, 1, ..."""
        items = self.lists.get(key, [])
        return list(items) if self.duplicates else sorted(items, reverse=True)

    def lookup(
        self, key: Key, fresh: Sequence[int], pending: dict[int, int] | None = None
    ) -> Lookup:
        """Overlays the remembered items on `fresh`. Changes nothing.

        Args:
            key: (user, index).
            fresh: N item ids, 0 where there is no negative.
            pending: provisional counts of the same key from an earlier row of the same step.
        """
        shown = self.remembered(key)[: len(fresh)]
        counts = dict(self.counts.get(key, {}))
        counts.update(pending or {})
        result = Lookup([], [], [], [], [], [], [])
        for slot, drawn in enumerate(fresh):
            is_shown = slot < len(shown)
            item = shown[slot] if is_shown else int(drawn)
            count, is_ripe, is_excluded, label = 0, False, False, 0
            if is_shown:
                # One after the other: of two equal entries the first may stay below patience.
                counts[item] = counts.get(item, 0) + 1
                count = counts[item]
                is_ripe = count > self.patience and self.policy != "replay"
                is_excluded = is_ripe and self.policy == "remove"
                label = int(is_ripe and self.policy in ("flip", "ufnrec"))
            elif not self.duplicates and item != PAD:
                is_excluded = item in shown
            result.items.append(item)
            result.is_shown.append(is_shown)
            result.counts.append(count)
            result.is_ripe.append(is_ripe)
            result.is_excluded.append(is_excluded)
            result.labels.append(label)
            result.weights.append(int(item != PAD and not is_excluded))
        return result

    def lookup_batch(self, keys: Sequence[Key], fresh: Sequence[Sequence[int]]) -> list[Lookup]:
        """`lookup` of each row; a key that stands twice goes on from its own first counts."""
        pending: dict[Key, dict[int, int]] = {}
        results = []
        for key, row in zip(keys, fresh, strict=True):
            result = self.lookup(key, row, pending.get(key))
            for item, is_shown, count in zip(
                result.items, result.is_shown, result.counts, strict=True
            ):
                if is_shown:
                    pending.setdefault(key, {})[item] = count
            results.append(result)
        return results

    def record(self, key: Key, lookup: Lookup, hard_flags: Sequence[bool]) -> None:
        """Commits the counts of a lookup and replaces the row's list.

        Args:
            key: (user, index).
            lookup: what `lookup` returned for the key in this step.
            hard_flags: per slot, the student's logit is strictly above the positive's.
        """
        counts = dict(self.counts.get(key, {}))
        for slot, item in enumerate(lookup.items):
            if lookup.is_shown[slot]:
                counts[item] = lookup.counts[slot]
        self.statistics["shown"] += sum(lookup.is_shown)
        self.statistics["ripe"] += sum(lookup.is_ripe)
        self.statistics["flips"] += sum(lookup.labels)

        written = self._written(lookup, hard_flags)
        capacity = len(lookup.items) if self.list_capacity is None else self.list_capacity
        self.statistics["refusals"] += len(written[capacity:])
        listed = written[:capacity]
        if self.counting == "consecutive":
            counts = {item: count for item, count in counts.items() if item in listed}
        for item in self._beyond_slots(listed, counts):
            self.statistics["evictions" if counts.get(item, 0) > 0 else "refusals"] += 1
            counts.pop(item, None)
            listed = [other for other in listed if other != item]
        self.lists[key] = listed
        self.counts[key] = counts

    def _written(self, lookup: Lookup, hard_flags: Sequence[bool]) -> list[int]:
        """The items to remember, in slot order, before any limit."""
        written: list[int] = []
        for slot, item in enumerate(lookup.items):
            if item == PAD or not hard_flags[slot]:
                continue
            if lookup.is_ripe[slot]:
                if self.flip == "once":
                    continue
            elif lookup.is_excluded[slot]:
                continue
            if not self.duplicates and item in written:
                continue
            written.append(item)
        return written

    def _beyond_slots(self, listed: list[int], counts: dict[int, int]) -> list[int]:
        """The items that have no slot: listed ones are served first, then the highest counts."""
        if self.num_slots is None:
            return []
        order: list[int] = []
        for item in listed:
            if item not in order:
                order.append(item)
        unlisted = [item for item in counts if item not in order]
        order += sorted(unlisted, key=lambda item: (-counts[item], item))
        return order[self.num_slots :]


def hard_flags(logits: Sequence[float] | np.ndarray) -> list[bool]:
    """Per negative, whether its logit is strictly above the positive's, which is logits[0]."""
    return [bool(logit > logits[0]) for logit in logits[1:]]
