"""Splits: which events train, which are validation and test targets, and a summary in numbers."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ufnrec_tf.data.interactions import Interactions, pair_keys
from ufnrec_tf.errors import UserError

PARTS = ("validation", "test")
MIN_EVENTS = 3
"""A user with fewer events has no event left to train on beside two targets: all of it trains."""


@dataclass(frozen=True, eq=False)
class Split:
    """What trains and what is held out: a user's last two events at most.

    User u trains on `items[offsets[u]:train_ends[u]]`.

    Attributes:
        interactions: All events.
        name: A key of `SPLITS`.
        train_ends: int64 [U].
        users: int32 [M], the evaluated users, ascending.
    """

    interactions: Interactions
    name: str
    train_ends: np.ndarray
    users: np.ndarray

    def target_index(self, part: str) -> np.ndarray:
        """Returns where in `items` each evaluated user's target is, int64 [M].

        Args:
            part: "validation" or "test".

        Raises:
            ValueError: If the part is unknown.
        """
        if part not in PARTS:
            raise ValueError(f"`part` must be one of {PARTS}. Received: {part!r}.")
        return self.train_ends[self.users] + PARTS.index(part)

    def targets(self, part: str) -> np.ndarray:
        """Returns each evaluated user's target item, int32 [M]."""
        return self.interactions.items[self.target_index(part)]

    def history_ends(self, part: str) -> np.ndarray:
        """Returns the ends of the evaluated users' histories, int64 [M].

        The history is `items[offsets[u]:end]`: the train events; at test the validation item too.
        """
        return self.target_index(part)

    @cached_property
    def is_train(self) -> np.ndarray:
        """Whether each event trains, bool [E]."""
        ends = np.repeat(self.train_ends, self.interactions.lengths)
        return np.arange(self.interactions.num_events) < ends

    @cached_property
    def num_train_events(self) -> int:
        """Number of events that train."""
        return int(np.count_nonzero(self.is_train))

    @cached_property
    def heldout_only_items(self) -> np.ndarray:
        """The items that occur in no train event, int32, ascending."""
        is_trained = np.zeros(self.interactions.num_items + 1, dtype=bool)
        is_trained[self.interactions.items[self.is_train]] = True
        is_trained[0] = True  # padding is no item
        return np.flatnonzero(~is_trained).astype(np.int32)


def leave_one_out(interactions: Interactions) -> Split:
    """Holds out each user's last event for test and the one before for validation.

    Users with fewer than 3 events train only.

    Raises:
        UserError: If there is only one user or one item, or nobody has 3 events.
    """
    source = interactions.source
    for count, noun in ((interactions.num_users, "user"), (interactions.num_items, "item")):
        if count < 2:
            raise UserError(
                f"{source}: only {count} {noun}: expected at least 2 users and 2 items to learn "
                "and rank; give a larger log, or check how it is read "
                "(--config.data.format=pairs|sequences|inter|csv)."
            )
    lengths = interactions.lengths
    is_evaluated = lengths >= MIN_EVENTS
    if not is_evaluated.any():
        raise UserError(
            f"{source}: no user has {MIN_EVENTS} events (the longest history has {lengths.max()}): "
            "expected some, one to train on, one for validation, one for test; give a larger log, "
            "or check how it is read (--config.data.format=pairs|sequences|inter|csv, "
            "--config.data.user_column=NAME)."
        )
    return Split(
        interactions=interactions,
        name="leave_one_out",
        train_ends=interactions.offsets[1:] - 2 * is_evaluated,
        users=np.flatnonzero(is_evaluated).astype(np.int32),
    )


SPLITS: dict[str, Callable[[Interactions], Split]] = {"leave_one_out": leave_one_out}


def seen_train_items(split: Split) -> tuple[np.ndarray, np.ndarray]:
    """Returns each user's distinct train items, in compressed rows.

    Returns:
        offsets int64 [U + 1] and items int32 [K]: user u has seen `items[offsets[u]:offsets[u+1]]`,
        ascending.
    """
    interactions = split.interactions
    base = interactions.num_items + 1
    users, items = (values[split.is_train] for values in (interactions.users, interactions.items))
    keys = np.unique(users.astype(np.int64) * base + items)
    counts = np.bincount(keys // base, minlength=interactions.num_users)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return offsets, (keys % base).astype(np.int32)


def summary(split: Split) -> dict[str, int | float | str]:
    """Returns what the data is, in numbers that JSON can hold.

    `density` is the share of the user x item cells with at least one event, 0..1.
    """
    data = split.interactions
    num_pairs = len(np.unique(pair_keys(data.users, data.items)))
    return {
        "source": data.source,
        "sha256": data.sha256,
        "split": split.name,
        "users": data.num_users,
        "items": data.num_items,
        "events": data.num_events,
        "mean_length": float(data.lengths.mean()),
        "median_length": float(np.median(data.lengths)),
        "max_length": int(data.lengths.max()),
        "density": num_pairs / (data.num_users * data.num_items),
        "repeats": data.num_repeats,
        "repeats_kept": data.num_events - num_pairs,
        "train_events": split.num_train_events,
        "evaluated_users": len(split.users),
        "heldout_only_items": len(split.heldout_only_items),
    }


def summary_lines(summary: dict[str, int | float | str]) -> list[str]:
    """Returns the text of a `summary` for the screen, one line each."""
    s = summary
    train_only = int(s["users"]) - int(s["evaluated_users"])
    kept = "kept" if s["repeats_kept"] == s["repeats"] else "dropped"
    repeats = f"{s['repeats']:,} repeats, {kept}" if s["repeats"] else "no repeats"
    return [
        f"data     {s['source']}  sha256 {str(s['sha256'])[:12]}",
        f"         {s['users']:,} users, {s['items']:,} items, {s['events']:,} events ({repeats})",
        f"         events a user: mean {s['mean_length']:.1f}, median {s['median_length']:.1f}, "
        f"longest {s['max_length']:,}; density {s['density']:.4%}",
        f"split    {s['split']}: {s['train_events']:,} events train, {s['evaluated_users']:,} "
        f"users evaluated, {train_only:,} (fewer than {MIN_EVENTS} events) train only",
        f"         {s['heldout_only_items']:,} items occur only in held-out events",
    ]
