"""Splits: which events train, which are validation and test targets."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from ufnrec_tf.data.distinct import distinct_in_ranges
from ufnrec_tf.data.interactions import Interactions
from ufnrec_tf.errors import UserError

PARTS = ("validation", "test")
MIN_EVENTS = 3
"""A user with fewer events has no event left to train on beside two targets: all of it trains."""


class SplitSettings(NamedTuple):
    """What a split may be told; see the configuration's keys of the same names.

    Attributes:
        validation_time: First moment of validation, in the file's unit; 0: by the share.
        test_time: First moment of test; 0: by the share.
        validation_share: Share of all events that validation gets, those just before test.
        test_share: Share of all events that test gets, the newest.
    """

    validation_time: float = 0.0
    test_time: float = 0.0
    validation_share: float = 0.1
    test_share: float = 0.1


class HeldOut(NamedTuple):
    """Who is evaluated in a part, and on which event.

    Attributes:
        users: int32 [M], ascending.
        target_index: int64 [M], where in `items` the target of each is.
        num_new_users: Users with events in the part and none before it: they have no history to
            rank by, and no target.
    """

    users: np.ndarray
    target_index: np.ndarray
    num_new_users: int = 0


@dataclass(frozen=True, eq=False)
class Split:
    """What trains and what is held out.

    User u trains on `items[offsets[u]:train_ends[u]]`; all later events are held out. Some of
    these are targets, one a user and part at most, and who has one may differ between the parts.

    Attributes:
        interactions: All events.
        name: A key of `SPLITS`.
        train_ends: int64 [U].
        held_out: The evaluated users and their targets, of "validation" and of "test".
        times: First moments of validation and test, where these are dates; else None.
    """

    interactions: Interactions
    name: str
    train_ends: np.ndarray
    held_out: dict[str, HeldOut]
    times: tuple[float, float] | None = None

    def _part(self, part: str) -> HeldOut:
        if part not in PARTS:
            raise ValueError(f"`part` must be one of {PARTS}. Received: {part!r}.")
        return self.held_out[part]

    def users(self, part: str) -> np.ndarray:
        """Returns the users evaluated in a part, int32 [M], ascending.

        Args:
            part: "validation" or "test".

        Raises:
            ValueError: If the part is unknown.
        """
        return self._part(part).users

    def target_index(self, part: str) -> np.ndarray:
        """Returns where in `items` each evaluated user's target is, int64 [M]; see `users`."""
        return self._part(part).target_index

    def targets(self, part: str) -> np.ndarray:
        """Returns each evaluated user's target item, int32 [M]."""
        return self.interactions.items[self.target_index(part)]

    def history_ends(self, part: str) -> np.ndarray:
        """Returns the ends of the evaluated users' histories, int64 [M].

        The history is `items[offsets[u]:end]`: the train events; at test the validation events too.
        """
        return self.target_index(part)

    @cached_property
    def is_train(self) -> np.ndarray:
        """Whether each event trains, bool [E]."""
        # Two runs a user, so that nothing but the result has a place an event.
        bounds = np.stack([self.train_ends, self.interactions.offsets[1:]], axis=1).ravel()
        lengths = np.diff(bounds, prepend=0)
        return np.repeat(np.tile([True, False], len(self.train_ends)), lengths)

    @cached_property
    def num_train_events(self) -> int:
        """Number of events that train."""
        return int((self.train_ends - self.interactions.offsets[:-1]).sum())

    @cached_property
    def heldout_only_items(self) -> np.ndarray:
        """The items that occur in no train event, int32, ascending."""
        is_trained = np.zeros(self.interactions.num_items + 1, dtype=bool)
        is_trained[self.interactions.items[self.is_train]] = True
        is_trained[0] = True  # padding is no item
        return np.flatnonzero(~is_trained).astype(np.int32)

    @cached_property
    def training_items(self) -> np.ndarray:
        """The items that training may draw and compare with, int32, ascending.

        All of them, or where the parts are periods those of train events: at the first date
        nobody knew the others. Everything is a candidate when targets are ranked.
        """
        items = np.arange(1, self.interactions.num_items + 1, dtype=np.int32)
        return items if self.times is None else np.setdiff1d(items, self.heldout_only_items)

    @property
    def is_training_item(self) -> np.ndarray | None:
        """Whether each item is of `training_items`, bool [num_items]; None where all are."""
        if len(self.training_items) == self.interactions.num_items:
            return None
        return np.isin(np.arange(1, self.interactions.num_items + 1), self.training_items)

    def newcomers(self, part: str) -> dict[str, int | float]:
        """Returns what of a period is new to the one before; empty where parts are no periods.

        `new_users` have no earlier event and are not ranked; `new_item_targets` are targets that
        occur in no train event, ranked like all others, by weights that nothing has trained.
        """
        if self.times is None:
            return {}
        return {
            "validation_time": self.times[0],
            "test_time": self.times[1],
            "new_users": self._part(part).num_new_users,
            "new_item_targets": int(np.isin(self.targets(part), self.heldout_only_items).sum()),
        }


def _check_size(interactions: Interactions) -> None:
    """Raises UserError where there is nothing to rank."""
    for count, noun in ((interactions.num_users, "user"), (interactions.num_items, "item")):
        if count < 2:
            raise UserError(
                f"{interactions.source}: only {count} {noun}: expected at least 2 users and 2 "
                "items to learn and rank; give a larger log, or check how it is read "
                "(--config.data.format=pairs|sequences|inter|csv)."
            )


def leave_one_out(interactions: Interactions, settings: SplitSettings | None = None) -> Split:
    """Holds out each user's last event for test and the one before for validation.

    Users with fewer than 3 events train only. No setting is read.

    Raises:
        UserError: If there is only one user or one item, or nobody has 3 events.
    """
    _check_size(interactions)
    lengths = interactions.lengths
    is_evaluated = lengths >= MIN_EVENTS
    if not is_evaluated.any():
        raise UserError(
            f"{interactions.source}: no user has {MIN_EVENTS} events (the longest history has "
            f"{lengths.max()}): expected some, one to train on, one for validation, one for test; "
            "give a larger log, or check how it is read "
            "(--config.data.format=pairs|sequences|inter|csv, --config.data.user_column=NAME)."
        )
    train_ends = interactions.offsets[1:] - 2 * is_evaluated
    users = np.flatnonzero(is_evaluated).astype(np.int32)
    return Split(
        interactions=interactions,
        name="leave_one_out",
        train_ends=train_ends,
        held_out={
            part: HeldOut(users, train_ends[users] + later) for later, part in enumerate(PARTS)
        },
    )


def temporal(interactions: Interactions, settings: SplitSettings | None = None) -> Split:
    """Holds out periods: train before a first date, validation up to a second, test from there on.

    A user's first event of a period is the target; the history is all that the user did before it,
    so at test the events of train and validation. One target a user and part, whoever has events
    on both sides of its date. A share is of all events; events of one time stay together.

    Raises:
        UserError: If there are no times, a period is empty, or nobody can be evaluated in it.
    """
    _check_size(interactions)
    settings = settings or SplitSettings()
    if interactions.timestamps is None:
        raise UserError(
            f"{interactions.source}: no times, which --config.split.name=temporal needs: give a "
            "file with a time column (.inter, CSV or TSV), name it with "
            "--config.data.time_column=NAME, or set --config.split.name=leave_one_out."
        )
    times = interactions.timestamps
    dates = _dates(np.sort(times), settings, source=interactions.source)
    # Events are in order of time within a user, so that periods follow one another.
    bounds = np.stack(
        [_ends_before(interactions.offsets, times, date) for date in dates]
        + [interactions.offsets[1:]]
    )
    held_out = {}
    for part, date, begins, ends in zip(PARTS, dates, bounds[:-1], bounds[1:], strict=True):
        has_events, is_known = ends > begins, begins > interactions.offsets[:-1]
        users = np.flatnonzero(has_events & is_known)
        if not len(users):
            raise UserError(
                f"{interactions.source}: {part} begins at {date:.15g}, and no user has "
                "events in it and before it: expected some; choose other dates "
                "(--config.split.validation_time, test_time) or shares (validation_share, "
                "test_share), or set --config.split.name=leave_one_out."
            )
        num_new = int(np.count_nonzero(has_events & ~is_known))
        held_out[part] = HeldOut(users.astype(np.int32), begins[users], num_new)
    if (bounds[0] - interactions.offsets[:-1]).max() < 2:
        raise UserError(
            f"{interactions.source}: no user has 2 events before {dates[0]:.15g}, when validation "
            "begins: expected some to train on; choose a later --config.split.validation_time, or "
            "smaller shares."
        )
    return Split(interactions, "temporal", bounds[0], held_out, dates)


def _ends_before(offsets: np.ndarray, times: np.ndarray, date: float) -> np.ndarray:
    """Returns where each user's events before a date end, int64 [U]."""
    counts = np.concatenate([[0], np.cumsum(times < date)])
    return offsets[:-1] + counts[offsets[1:]] - counts[offsets[:-1]]


def _dates(times: np.ndarray, settings: SplitSettings, *, source: str) -> tuple[float, float]:
    """Returns the first moments of validation and test.

    Args:
        times: float64 [E], ascending.
        settings: Dates or shares.
        source: What to call the data.

    Raises:
        UserError: If a period is empty.
    """

    def newest(share: float, end: int) -> float:
        """The time at which the newest events of `times[:end]` begin that make up a share."""
        return float(times[max(end - max(round(share * len(times)), 1), 0)])

    test = settings.test_time or newest(settings.test_share, len(times))
    num_before = int(np.searchsorted(times, test))
    validation = settings.validation_time or newest(settings.validation_share, num_before)
    if not times[0] < validation < test <= times[-1] or validation > times[num_before - 1]:
        raise UserError(
            f"{source}: validation would begin at {validation:.15g} and test at "
            f"{test:.15g}, but the events run from {times[0]:.15g} to {times[-1]:.15g}: expected "
            "events before, between and after the two; choose other dates "
            "(--config.split.validation_time, test_time, in the file's unit) or shares "
            "(validation_share, test_share)."
        )
    return validation, test


SPLITS: dict[str, Callable[[Interactions, SplitSettings | None], Split]] = {
    "leave_one_out": leave_one_out,
    "temporal": temporal,
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
