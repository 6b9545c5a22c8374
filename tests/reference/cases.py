"""Deterministic random cases for the memory and the loss, and a census of what they contain.

A case is a few users who come back over 20 steps of P = 4 rows, with the negatives and the
logits of each step given, so that two implementations must agree entry by entry. Shapes are few:
N is 5 or 6, S is 4, 8 or 64. All logits are multiples of 1/64, exact in float32.
"""

from collections import Counter
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from tests.reference.oracle import PAD, POLICIES, Key, Lookup, OracleMemory, hard_flags

NUM_ROWS_A_STEP = 4  # P
NUM_STEPS = 20
NUM_SLOTS = (4, 8, 64)  # S
LIST_CAPACITIES = (None, 3, 2)  # R
PATIENCES = (2, 1, 3, 2, 5)  # m; coprime with the periods of the other settings
COMBINATIONS = list(
    product(POLICIES, (True, False), ("cumulative", "consecutive"), ("once", "sticky"))
)


@dataclass(frozen=True)
class Step:
    """One step: P distinct rows and what is given for them."""

    keys: list[Key]  # (user, index), all different
    row_ids: np.ndarray  # int32 [P], offset of the user + index
    fresh: np.ndarray  # int32 [P, N], 0 = no negative
    by_slot: np.ndarray  # float32 [P, 1+N]: logits, column 0 the positive's
    by_item: np.ndarray | None  # float32 [P, num_items+1]: logits by item; None = by slot
    teacher_logits: np.ndarray  # float32 [P, 1+N]

    def logits(self, items: np.ndarray) -> np.ndarray:
        """Student logits float32 [P, 1+N] given the negatives [P, N] after the overlay."""
        if self.by_item is None:
            return self.by_slot
        negatives = np.take_along_axis(self.by_item, np.asarray(items, np.int64), axis=1)
        return np.concatenate([self.by_slot[:, :1], negatives], axis=1)


@dataclass(frozen=True)
class Case:
    """Settings, users and steps."""

    seed: int
    settings: dict[str, Any]  # keyword arguments of OracleMemory
    num_items: int
    num_negatives: int  # N
    histories: dict[int, list[int]]  # user -> items, one more than the user has rows
    offsets: dict[int, int]  # user -> first row id
    num_rows: int  # rows a memory must hold, all users together
    steps: list[Step]

    def memory(self) -> OracleMemory:
        """A new, empty oracle with the settings of the case."""
        return OracleMemory(**self.settings)


def case_settings(seed: int) -> dict[str, Any]:
    """Settings of a seed: 32 combinations in turn, the sizes cycling beside them."""
    policy, duplicates, counting, flip = COMBINATIONS[seed % len(COMBINATIONS)]
    return {
        "patience": PATIENCES[seed % len(PATIENCES)],
        "num_slots": NUM_SLOTS[seed % len(NUM_SLOTS)],
        "list_capacity": LIST_CAPACITIES[(seed // 3) % len(LIST_CAPACITIES)],
        "duplicates": duplicates,
        "counting": counting,
        "flip": flip,
        "policy": policy,
    }


def random_case(seed: int, *, num_steps: int = NUM_STEPS, **settings: Any) -> Case:
    """The case of a seed; `settings` override those that the seed would choose."""
    rng = np.random.default_rng([2208, seed])
    num_negatives = 5 + (seed // 2) % 2
    num_items = int(rng.integers(12, 31))
    # Two users have one-item histories, so one row; the others have two or three rows.
    lengths = [2, 2, 3, 4, *rng.integers(3, 5, size=int(rng.integers(0, 2))).tolist()]
    histories, pools, offsets, num_rows = {}, {}, {}, 0
    for user, length in enumerate(lengths):
        shuffled = (1 + rng.permutation(num_items)).tolist()
        histories[user] = shuffled[:length]
        pools[user] = shuffled[length : length + int(rng.integers(5, 13))]
        offsets[user] = num_rows
        num_rows += length - 1
    if seed % 10 == 9:
        pools[0] = [PAD]  # a user who has seen everything: no negative at all
    users = _Users(histories, pools, offsets)
    is_by_item = bool(rng.integers(2))
    affinity = rng.normal(0.4, 1.0, size=(num_rows, num_items + 1))
    steps = [
        _random_step(rng, users, num_negatives, affinity if is_by_item else None)
        for _ in range(num_steps)
    ]
    chosen = {**case_settings(seed), **settings}
    return Case(seed, chosen, num_items, num_negatives, histories, offsets, num_rows, steps)


@dataclass(frozen=True)
class _Users:
    histories: dict[int, list[int]]
    pools: dict[int, list[int]]  # items outside the history that are drawn as negatives
    offsets: dict[int, int]


def _random_step(
    rng: np.random.Generator, users: _Users, num_negatives: int, affinity: np.ndarray | None
) -> Step:
    """Users in random order, all rows of each, until P rows are there."""
    order = rng.permutation(len(users.histories)).tolist()
    keys = [(user, i) for user in order for i in range(len(users.histories[user]) - 1)]
    keys = keys[:NUM_ROWS_A_STEP]
    row_ids = np.array([users.offsets[user] + index for user, index in keys], np.int32)
    fresh = np.stack([rng.choice(users.pools[user], size=num_negatives) for user, _ in keys])
    shape = (len(keys), 1 + num_negatives)
    by_slot = rng.normal(0.0, 1.0, size=shape)
    by_slot[:, 1:] += 0.5  # more hard negatives than not, so that some last
    by_slot = _with_ties(rng, _rounded(by_slot), by_slot[:, :1])
    by_item = None
    if affinity is not None:
        # An item that outranks the positive of a row tends to do so again.
        by_item = _rounded(affinity[row_ids] + rng.normal(0.0, 0.4, affinity[row_ids].shape))
        by_slot[:, 0] = _rounded(0.3 * by_slot[:, 0])
        by_item = _with_ties(rng, by_item, by_slot[:, :1])
    teacher_logits = _rounded(rng.normal(0.0, 1.5, size=shape))
    return Step(keys, row_ids, fresh.astype(np.int32), by_slot, by_item, teacher_logits)


def _rounded(values: np.ndarray) -> np.ndarray:
    return (np.round(values * 64) / 64).astype(np.float32)


def _with_ties(rng: np.random.Generator, values: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """One value in twelve made equal to the positive's of its row."""
    is_tied = rng.random(values.shape) < 1 / 12
    return np.where(is_tied, _rounded(positive), values).astype(np.float32)


def run_case(case: Case, memory: OracleMemory | None = None):
    """Runs a case through the oracle; yields (step, lookups, logits) after each was recorded."""
    memory = case.memory() if memory is None else memory
    for step in case.steps:
        lookups = memory.lookup_batch(step.keys, step.fresh.tolist())
        logits = step.logits(np.array([lookup.items for lookup in lookups]))
        for key, lookup, row in zip(step.keys, lookups, logits, strict=True):
            memory.record(key, lookup, hard_flags(row))
        yield step, lookups, logits


def census(case: Case) -> Counter:
    """Counts what a case contains, by running the oracle.

    Keys: flips; removals (ripe entries left out of the loss); reflips (flips or removals of an
    item that was ripe in this row before, was then written from a fresh draw, and ripened
    again); list_duplicates (entries of a list beyond the first of their item); ties (real
    negatives whose logit equals the positive's); evictions; refusals; shown; fresh_excluded
    (fresh draws of an item shown in the row); fresh_label_0 (fresh draws of an item that is
    flipped in the same row, with label 0); one_item_histories (rows visited of users with a
    single row); returning_users (visits of a user in a later step); no_negatives (rows without).
    """
    memory = case.memory()
    counts: Counter = Counter()
    seen_users: set[int] = set()
    tracker = _RedrawTracker()
    for step, lookups, logits in run_case(case, memory):
        users = {user for user, _ in step.keys}
        counts["returning_users"] += len(users & seen_users)
        seen_users |= users
        for key, lookup, row in zip(step.keys, lookups, logits, strict=True):
            listed = memory.lists[key]
            counts["list_duplicates"] += len(listed) - len(set(listed))
            counts["one_item_histories"] += len(case.histories[key[0]]) == 2
            counts["no_negatives"] += not any(lookup.items)
            counts["reflips"] += tracker.visit(key, lookup, hard_flags(row), listed)
            counts.update(_count_slots(lookup, row))
    counts.update({name: value for name, value in memory.statistics.items() if name != "ripe"})
    counts["removals"] += memory.statistics["ripe"] - memory.statistics["flips"]
    return counts


def _count_slots(lookup: Lookup, logits: np.ndarray) -> Counter:
    counts: Counter = Counter()
    flipped = [item for item, label in zip(lookup.items, lookup.labels, strict=True) if label]
    for slot, item in enumerate(lookup.items):
        if item == PAD:
            continue
        counts["ties"] += bool(logits[1 + slot] == logits[0])
        if not lookup.is_shown[slot]:
            counts["fresh_excluded"] += lookup.is_excluded[slot]
            counts["fresh_label_0"] += item in flipped and not lookup.is_excluded[slot]
    return counts


class _RedrawTracker:
    """Follows, for each row, items that were ripe once and were drawn again since."""

    def __init__(self) -> None:
        self.ripe_before: set[tuple[Key, int]] = set()
        self.redrawn: set[tuple[Key, int]] = set()

    def visit(self, key: Key, lookup: Lookup, hard: list[bool], listed: list[int]) -> int:
        """Number of entries that are ripe again after having been drawn again."""
        again = 0
        for item, is_ripe in zip(lookup.items, lookup.is_ripe, strict=True):
            if is_ripe:
                again += (key, item) in self.redrawn
                self.redrawn.discard((key, item))
                self.ripe_before.add((key, item))
        for slot, item in enumerate(lookup.items):
            is_written = hard[slot] and item in listed and not lookup.is_excluded[slot]
            if is_written and not lookup.is_shown[slot] and (key, item) in self.ripe_before:
                self.redrawn.add((key, item))
        return again
