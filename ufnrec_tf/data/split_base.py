"""What a split is: which events train, which are validation and test targets."""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from ufnrec_tf.data.interactions import Interactions
from ufnrec_tf.errors import UserError

PARTS = ("validation", "test")
TIME_KEYS = ("validation_time", "test_time")


class SplitSettings(NamedTuple):
    """What a split may be told; see the configuration's keys of the same names.

    Attributes:
        validation_time: First moment of validation, an ISO date or a number: seconds since 1970, or
            the file's own where its times are no dates; 0: by the share.
        test_time: First moment of test; 0: by the share.
        validation_share: Share that validation gets: of all events, those just before test, or of
            the users.
        test_share: Share that test gets: of all events, the newest, or of the users.
        num_targets: Targets of each user in each part.
        seed: Of the draw of users.
    """

    validation_time: float | str = 0.0
    test_time: float | str = 0.0
    validation_share: float = 0.1
    test_share: float = 0.1
    num_targets: int = 1
    seed: int = 0


class HeldOut(NamedTuple):
    """Who is evaluated in a part, and on which events: M targets.

    Attributes:
        users: int32 [M], ascending; a user with several targets stands there for each.
        target_index: int64 [M], ascending, where in `items` the targets are.
        num_new_users: Users with events in the part and none before them: they have no history
            to rank by, and no target.
    """

    users: np.ndarray
    target_index: np.ndarray
    num_new_users: int = 0


@dataclass(frozen=True, eq=False)
class Split:
    """What trains and what is held out.

    User u trains on `items[offsets[u]:train_ends[u]]`; all later events are held out. Some of
    these are targets, each ranked by all of its user's events before it, and who has one may
    differ between the parts.

    Attributes:
        interactions: All events.
        name: A key of `SPLITS`.
        train_ends: int64 [U].
        held_out: The evaluated users and their targets, of "validation" and of "test".
        times: First moments of validation and test, where these are dates; else None.
        num_targets: Targets of each evaluated user in each part.
        is_by_user: Whether the evaluated users have no train events, and others alone train.
    """

    interactions: Interactions
    name: str
    train_ends: np.ndarray
    held_out: dict[str, HeldOut]
    times: tuple[float, float] | None = None
    num_targets: int = 1
    is_by_user: bool = False

    def _part(self, part: str) -> HeldOut:
        if part not in PARTS:
            raise ValueError(f"`part` must be one of {PARTS}. Received: {part!r}.")
        return self.held_out[part]

    def users(self, part: str) -> np.ndarray:
        """Returns the user of each target of a part, int32 [M], ascending.

        A user with several targets stands there for each; see `evaluated_users`.

        Args:
            part: "validation" or "test".

        Raises:
            ValueError: If the part is unknown.
        """
        return self._part(part).users

    def evaluated_users(self, part: str) -> np.ndarray:
        """Returns the users evaluated in a part, each once, int32, ascending."""
        return np.unique(self._part(part).users)

    def target_index(self, part: str) -> np.ndarray:
        """Returns where in `items` each target is, int64 [M], ascending; see `users`."""
        return self._part(part).target_index

    def targets(self, part: str) -> np.ndarray:
        """Returns the target items, int32 [M]."""
        return self.interactions.items[self.target_index(part)]

    def history_ends(self, part: str) -> np.ndarray:
        """Returns the ends of the targets' histories, int64 [M].

        The history is `items[offsets[u]:end]`, all that the user did before the target: of later
        targets and at test, earlier targets too.
        """
        return self.target_index(part)

    @cached_property
    def is_train(self) -> np.ndarray:
        """Whether each event trains, bool [E]."""
        # Two runs a user, so that nothing but the result has a place an event.
        bounds = np.stack([self.train_ends, self.interactions.offsets[1:]], axis=1).ravel()
        lengths = np.diff(bounds, prepend=0)
        return np.repeat(np.tile([True, False], len(self.train_ends)), lengths)

    @property
    def has_train_events(self) -> np.ndarray:
        """Whether each user has train events, bool [U]."""
        return self.train_ends > self.interactions.offsets[:-1]

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
        """Returns what of a part is new to training; empty where parts are last events.

        `new_users` have no earlier event and are not ranked (of held-out users, those with one
        event); `new_item_targets` are targets that occur in no train event, ranked like all
        others, by weights that nothing has trained.
        """
        if self.times is None and not self.is_by_user:
            return {}
        dates = {} if self.times is None else dict(zip(TIME_KEYS, self.times, strict=True))
        return {
            **dates,
            "new_users": self._part(part).num_new_users,
            "new_item_targets": int(np.isin(self.targets(part), self.heldout_only_items).sum()),
        }


def check_size(interactions: Interactions) -> None:
    """Raises UserError where there is nothing to rank."""
    for count, noun in ((interactions.num_users, "user"), (interactions.num_items, "item")):
        if count < 2:
            raise UserError(
                f"{interactions.source}: only {count} {noun}: expected at least 2 users and 2 "
                "items to learn and rank; give a larger log, or check how it is read "
                "(--config.data.format=pairs|sequences|inter|csv)."
            )
