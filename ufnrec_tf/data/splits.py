"""The split into train, validation and test events: four kinds and their table `SPLITS`."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from ufnrec_tf.common.display import Display
from ufnrec_tf.common.errors import UserError
from ufnrec_tf.common.representation import Shown
from ufnrec_tf.data.interactions import Interactions, short_source
from ufnrec_tf.data.item_sets import chunks_of, distinct_in_ranges
from ufnrec_tf.data.times import moment_among, parse_moment
from ufnrec_tf.data.user_hash import user_shares

EVALUATION_PARTS = ("validation", "test")
TIME_KEYS = ("validation_time", "test_time")


class SplitSettings(NamedTuple):
    """Settings of a split. The configuration's keys of the same names explain them.

    Attributes:
        validation_time: First moment of validation, an ISO date or a number: seconds since 1970, or
            the file's own where its times are no dates; 0: by the share.
        test_time: First moment of test; 0: by the share.
        validation_share: Share that validation gets: of all events, those just before test, or of
            the users.
        test_share: Share that test gets: of all events, the newest, or of the users.
        num_targets: Targets of each user in each part.
        seed: Seed of the draw of users.
    """

    validation_time: float | str = 0.0
    test_time: float | str = 0.0
    validation_share: float = 0.1
    test_share: float = 0.1
    num_targets: int = 1
    seed: int = 0


def check_split(name: str, settings: SplitSettings) -> None:
    """Checks the settings of a split by themselves; the log may still not allow it.

    Args:
        name: The kind of split, a key of `SPLITS`.
        settings: The settings.

    Raises:
        UserError: Naming the settings that contradict each other, or that are no dates.
    """
    if settings.num_targets > 1 and name != "leave_last_n":
        raise UserError(
            f"--config.split.num_targets={settings.num_targets} has no effect with "
            f"--config.split.name={name}. Set --config.split.name=leave_last_n, or leave it out."
        )
    validation, test = settings.validation_share, settings.test_share
    if name == "user_holdout" and validation + test >= 1:
        raise UserError(
            f"split.validation_share ({validation:g}) and test_share ({test:g}) leave no user to "
            "train on: expected a sum below 1; change --config.split.validation_share or "
            "test_share, or set --config.split.name=leave_one_out."
        )
    if name != "temporal":
        return
    given = [_text_of(getattr(settings, key)) for key in TIME_KEYS]
    moments = [
        parse_moment(text, key=f"split.{key}")
        for key, text in zip(TIME_KEYS, given, strict=True)
        if text
    ]
    if len(moments) < 2 or moments[0].is_date != moments[1].is_date:
        return
    if moments[0].value >= moments[1].value:
        raise UserError(
            "`split.validation_time` must lie before `split.test_time`. Received: "
            f"{given[0]} and {given[1]}."
        )


def _text_of(moment: float | str) -> str:
    """Returns a configured moment as text, "" if a share decides."""
    if not moment:
        return ""
    return moment if isinstance(moment, str) else f"{moment:.15g}"


class HeldOut(NamedTuple):
    """The users evaluated in validation or test, and their target events: M targets.

    Attributes:
        users: int32 [M], ascending; a user with several targets stands there for each.
        target_index: int64 [M], ascending, where in `items` the targets are.
        num_new_users: Users with events in the part and none before them: they have no history
            to rank by, and no target.
    """

    users: np.ndarray
    target_index: np.ndarray
    num_new_users: int = 0


@dataclass(frozen=True, eq=False, repr=False)
class Split(Shown):
    """Train events and held-out targets.

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
        is_by_user: True if the evaluated users have no train events, so that only others train.
    """

    interactions: Interactions
    name: str
    train_ends: np.ndarray
    held_out: dict[str, HeldOut]
    times: tuple[float, float] | None = None
    num_targets: int = 1
    is_by_user: bool = False

    def _show(self, display: Display) -> None:
        parts = (f"{len(self.users(part)):,} targets in {part}" for part in EVALUATION_PARTS)
        display.line(
            f"Split {self.name} of {short_source(self.interactions.source)}: "
            f"{self.num_train_events:,} train events, {', '.join(parts)}"
        )

    def _part(self, part: str) -> HeldOut:
        if part not in EVALUATION_PARTS:
            raise ValueError(f"`part` must be one of {EVALUATION_PARTS}. Received: {part!r}.")
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
        """Returns bool [E], True for train events."""
        # Two runs a user, so that nothing but the result has a place an event.
        bounds = np.stack([self.train_ends, self.interactions.offsets[1:]], axis=1).ravel()
        lengths = np.diff(bounds, prepend=0)
        return np.repeat(np.tile([True, False], len(self.train_ends)), lengths)

    @property
    def has_train_events(self) -> np.ndarray:
        """Returns bool [U], True for users with train events."""
        return self.train_ends > self.interactions.offsets[:-1]

    @cached_property
    def num_train_events(self) -> int:
        """Number of train events."""
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
        """Returns bool [num_items], True for `training_items`; None if all are."""
        if len(self.training_items) == self.interactions.num_items:
            return None
        return np.isin(np.arange(1, self.interactions.num_items + 1), self.training_items)

    def newcomers(self, part: str) -> dict[str, int | float]:
        """Returns the users and items of a part that training lacks; empty for last events.

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
    """Raises UserError if a log has nothing to rank."""
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

    What leaks: time. One user's train events may be later than another's targets.

    Raises:
        UserError: If there is only one user or one item, or nobody has 3 events.
    """
    return _last_events(interactions, 1, name="leave_one_out")


def leave_last_n(interactions: Interactions, settings: SplitSettings | None = None) -> Split:
    """Holds out each user's last `num_targets` events for test and as many before for validation.

    Each is a target of its own, ranked by all that the user did before it: rolling, so that the
    history of a later target holds the earlier ones, while the weights stay as they are. Users
    with fewer than 2 * num_targets + 1 events train only.

    What leaks: time, as in `leave_one_out`.

    Raises:
        UserError: If there is only one user or one item, or nobody has so many events.
    """
    num_targets = (settings or SplitSettings()).num_targets
    return _last_events(interactions, num_targets, name="leave_last_n")


def _last_events(interactions: Interactions, num_targets: int, *, name: str) -> Split:
    check_size(interactions)
    if num_targets < 1:
        raise ValueError(f"`num_targets` must be a positive integer. Received: {num_targets}.")
    # With fewer, none would be left to train on beside the targets of both parts.
    lengths, least = interactions.lengths, 2 * num_targets + 1
    is_evaluated = lengths >= least
    if not is_evaluated.any():
        each = "one" if num_targets == 1 else str(num_targets)
        fewer = "" if num_targets == 1 else "set a smaller --config.split.num_targets, "
        raise UserError(
            f"{interactions.source}: no user has {least} events (the longest history has "
            f"{lengths.max()}): expected some, one to train on, {each} for validation, {each} for "
            f"test; {fewer}give a larger log, or check how it is read "
            "(--config.data.format=pairs|sequences|inter|csv, --config.data.user_column=NAME)."
        )
    train_ends = interactions.offsets[1:] - 2 * num_targets * is_evaluated
    users = np.flatnonzero(is_evaluated).astype(np.int32)
    rows = np.repeat(users, num_targets)
    held_out = {}
    for place, part in enumerate(EVALUATION_PARTS):
        later = np.arange(num_targets) + place * num_targets
        held_out[part] = HeldOut(rows, (train_ends[users][:, None] + later).ravel())
    return Split(interactions, name, train_ends, held_out, num_targets=num_targets)


def temporal(interactions: Interactions, settings: SplitSettings | None = None) -> Split:
    """Holds out periods: train before a first date, validation up to a second, test from there on.

    A user's first event of a period is the target; the history is all that the user did before it,
    so at test the events of train and validation. One target a user and part, whoever has events
    on both sides of its date. A share is of all events; events of one time stay together.

    What leaks: nothing in time. Which items will exist is known: all are candidates.

    Raises:
        UserError: If there are no times, a period is empty, or nobody can be evaluated in it.
    """
    check_size(interactions)
    settings = settings or SplitSettings()
    if interactions.timestamps is None:
        raise UserError(
            f"{interactions.source}: no times, which --config.split.name=temporal needs: give a "
            "file with a time column (.inter, CSV or TSV), name it with "
            "--config.data.time_column=NAME, or set --config.split.name=leave_one_out."
        )
    times = interactions.timestamps
    dates = _split_dates(interactions, np.sort(times), settings)
    # Events are in order of time within a user, so that periods follow one another.
    bounds = np.stack(
        [_ends_before(interactions.offsets, times, date) for date in dates]
        + [interactions.offsets[1:]]
    )
    held_out = {}
    for part, date, begins, ends in zip(
        EVALUATION_PARTS, dates, bounds[:-1], bounds[1:], strict=True
    ):
        has_events, is_known = ends > begins, begins > interactions.offsets[:-1]
        users = np.flatnonzero(has_events & is_known)
        if not len(users):
            raise UserError(
                f"{interactions.source}: {part} begins at {interactions.moment_text(date)}, and no "
                "user has events in it and before it: expected some; choose other dates "
                "(--config.split.validation_time, test_time) or shares (validation_share, "
                "test_share), or set --config.split.name=leave_one_out."
            )
        num_new = int(np.count_nonzero(has_events & ~is_known))
        held_out[part] = HeldOut(users.astype(np.int32), begins[users], num_new)
    if (bounds[0] - interactions.offsets[:-1]).max() < 2:
        raise UserError(
            f"{interactions.source}: no user has 2 events before "
            f"{interactions.moment_text(dates[0])}, when validation begins: expected some to "
            "train on; choose a later --config.split.validation_time, or smaller shares."
        )
    return Split(interactions, "temporal", bounds[0], held_out, dates)


def _ends_before(offsets: np.ndarray, times: np.ndarray, date: float) -> np.ndarray:
    """Returns where each user's events before a date end, int64 [U]."""
    counts = np.concatenate([[0], np.cumsum(times < date)])
    return offsets[:-1] + counts[offsets[1:]] - counts[offsets[:-1]]


def _split_dates(
    log: Interactions, times: np.ndarray, settings: SplitSettings
) -> tuple[float, float]:
    """Returns the first moments of validation and test.

    Args:
        log: All events.
        times: Theirs, float64 [E], ascending.
        settings: Dates or shares.

    Raises:
        UserError: If a date is none, or a period is empty.
    """

    def newest(share: float, end: int) -> float:
        """Returns the time from which on the newest events of `times[:end]` make up a share."""
        return float(times[max(end - max(round(share * len(times)), 1), 0)])

    given_validation, given_test = (
        _configured_date(getattr(settings, key), log, key=f"split.{key}") for key in TIME_KEYS
    )
    test = given_test or newest(settings.test_share, len(times))
    num_before = int(np.searchsorted(times, test))
    validation = given_validation or newest(settings.validation_share, num_before)
    if not times[0] < validation < test <= times[-1] or validation > times[num_before - 1]:
        begin, middle, first, last = map(log.moment_text, (validation, test, times[0], times[-1]))
        raise UserError(
            f"{log.source}: validation would begin at {begin} and test at {middle}, but the events "
            f"run from {first} to {last}: expected events before, between and after the two; "
            "choose other dates (--config.split.validation_time, test_time: "
            + ("ISO dates or seconds since 1970" if log.is_epoch else "numbers of the file's own")
            + ") or shares (validation_share, test_share)."
        )
    return validation, test


def _configured_date(value: float | str, log: Interactions, *, key: str) -> float:
    """Returns a configured date as one of the log's times, or 0 if the share decides."""
    text = _text_of(value)
    if not text:
        return 0.0
    return moment_among(text, key=key, is_epoch=log.is_epoch, source=log.source)


def user_holdout(interactions: Interactions, settings: SplitSettings | None = None) -> Split:
    """Holds out whole users: each is ranked on the last event, given all events before it.

    Every user belongs to train, validation or test by a hash of only the raw id and the seed,
    whatever the order of the log and the other users; the shares are met on average. Held-out
    users train nothing; those with one event have no history and are not ranked.

    What leaks: time. Train events of others may be later than a target; of the ranked users
    themselves nothing does.

    Raises:
        UserError: If there is only one user or one item, the shares leave nobody to train on, a
            part has nobody to rank, or no user that trains has 2 events.
    """
    check_size(interactions)
    settings = settings or SplitSettings()
    test, validation = settings.test_share, settings.validation_share
    ways_out = (
        "change --config.split.validation_share, test_share or seed, give a larger log, or set "
        "--config.split.name=leave_one_out."
    )
    try:
        check_split("user_holdout", settings)
    except UserError as error:
        raise UserError(f"{interactions.source}: {error}") from error
    places = user_shares(interactions.user_ids, settings.seed)
    # Test comes first, so that another validation share leaves its users as they are.
    is_drawn = {"test": places < test}
    is_drawn["validation"] = ~is_drawn["test"] & (places < test + validation)
    is_trained = ~(is_drawn["test"] | is_drawn["validation"])
    held_out = {}
    for part in EVALUATION_PARTS:
        users = np.flatnonzero(is_drawn[part] & (interactions.lengths >= 2))
        num_drawn = int(is_drawn[part].sum())
        if not len(users):
            raise UserError(
                f"{interactions.source}: {part} got {num_drawn} of {interactions.num_users} users, "
                f"and none of them has 2 events: expected some to rank; {ways_out}"
            )
        last = interactions.offsets[1:][users] - 1
        held_out[part] = HeldOut(users.astype(np.int32), last, num_drawn - len(users))
    if interactions.lengths[is_trained].max(initial=0) < 2:
        raise UserError(
            f"{interactions.source}: none of the {int(is_trained.sum())} users that train has 2 "
            f"events: expected some to learn from; {ways_out}"
        )
    train_ends = interactions.offsets[:-1] + interactions.lengths * is_trained
    return Split(interactions, "user_holdout", train_ends, held_out, is_by_user=True)


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
    "EVALUATION_PARTS",
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


def train_counts(split: Split) -> np.ndarray:
    """Returns the train events of each item, int64 [num_items + 1]; that of padding is 0."""
    data = split.interactions
    counts = np.zeros(data.num_items + 1, np.int64)
    # In parts, since `bincount` makes 8 bytes of each event.
    for chunk in chunks_of(data.lengths):
        part = slice(data.offsets[chunk.start], data.offsets[chunk.stop])
        trained = data.items[part][split.is_train[part]]
        counts += np.bincount(trained, minlength=len(counts))
    return counts
