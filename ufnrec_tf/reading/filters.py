"""The filters of a log's events, applied in one fixed order.

First the filters of single events (`EventFilters`), which a log of any size allows, then
those that need all events of a user (doubles, repeats) or of the log (core, length) at once:
`apply_filters`.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Mapping, Set
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ufnrec_tf.common.errors import UserError, own_words
from ufnrec_tf.common.lookup import nearest
from ufnrec_tf.common.text import is_null_word, plain
from ufnrec_tf.data.events import EventBatch
from ufnrec_tf.data.interactions import is_first_of_pair, order_events
from ufnrec_tf.data.log_description import FilterStep
from ufnrec_tf.data.times import moment_among, moment_text, parse_moment
from ufnrec_tf.reading.columns import ReadOptions
from ufnrec_tf.reading.data_files import DataFile, refuse_pipe
from ufnrec_tf.reading.id_checks import SPACES

DUPLICATES_WORDS = "each event once (same user, item and time)"
"""What `duplicates=drop` keeps."""

_MOST_TYPES = 12  # that an error shows
_MOST_SEEN = 10_000  # that are counted: more are no event types


def read_users(path: str) -> frozenset[str]:
    """Returns the raw user ids that the file of `data.exclude_users` names, as the log has them.

    Raises:
        UserError: If it cannot be read or names nobody.
    """
    flag = f"--config.data.exclude_users={path}"
    refuse_pipe(path, flag="--config.data.exclude_users", why="a run reads it again later")
    try:
        os.stat(path)  # its error says it in fewer words
        with DataFile(path, flag="--config.data.exclude_users").opened() as file:
            lines = b"".join(iter(lambda: file.read(1 << 20), b"")).decode("utf-8-sig").split("\n")
    except (OSError, ValueError, UserError) as error:  # ValueError: no UTF-8
        raise UserError(
            f"{flag}: cannot be read ({own_words(error)}). Give a UTF-8 file, one raw "
            "user id a line."
        ) from error
    users = frozenset(line.removesuffix("\r") for line in lines) - {""}
    if not users:
        raise UserError(f"{flag}: names nobody. Give a file with one raw user id a line.")
    return users


def identity_of(users: Set[str]) -> str:
    """Returns a text that is the same for two lists of users only if they hold the same users."""
    # An id has no line feed, so that the joined text stands for one set only.
    digest = hashlib.sha256("\n".join(sorted(users)).encode()).hexdigest()
    return f"{len(users)} users of sha256 {digest}"


class Filters(NamedTuple):
    """The settings that reduce a log; see the configuration's keys of the same names.

    Attributes:
        exclude_users: File of the raw ids of users to leave out, one a line; empty: none.
        null_ids: "keep", or "drop" events whose user or item id is empty or a null word.
        null_times: "refuse", or "drop" events without a time.
        events: Event types that are kept, a comma between two; empty: all.
        min_rating: Lowest rating that is kept; 0: all.
        start: First moment that is kept, an ISO 8601 date or a number; empty: all.
        end: First moment that is no longer kept, a date or a number; empty: all.
        duplicates: "keep", or "drop" events that say again what an earlier one says: same user,
            item and time, and same rating and event type where these are read.
        k_core: Sets both of the next two; 0: neither.
        min_user_events: Fewest events of a user in the core; 0 or 1: any.
        min_item_events: Fewest events of an item in the core.
        min_length: Fewest events of a user at the end.
    """

    exclude_users: str = ""
    null_ids: str = "keep"
    null_times: str = "refuse"
    events: str = ""
    min_rating: float = 0.0
    start: str = ""
    end: str = ""
    duplicates: str = "keep"
    k_core: int = 0
    min_user_events: int = 0
    min_item_events: int = 0
    min_length: int = 0

    @property
    def event_types(self) -> list[str]:
        """The event types that are kept; none: all."""
        return [name.strip() for name in self.events.split(",") if name.strip()]

    @property
    def read_options(self) -> ReadOptions:
        """What these filters need of a log."""
        return ReadOptions(
            with_ratings=self.min_rating != 0,
            with_events=bool(self.event_types),
            without_ids=self.null_ids == "drop",
            without_times=self.null_times == "drop",
        )

    @property
    def least(self) -> tuple[int, int]:
        """Fewest events of a user and of an item in the core."""
        return self.k_core or self.min_user_events, self.k_core or self.min_item_events

    @property
    def needs_all(self) -> bool:
        """True if all events must be known at once, which those of a streamed log are not."""
        return max(*self.least, self.min_length) > 1

    def described(self) -> dict[str, Any]:
        """Returns setting -> value, fit for JSON, by which two readings of a log are compared.

        The value of `exclude_users` stands for the content of the file: a changed file is noticed,
        and a moved one is not.

        Raises:
            UserError: If that file cannot be read.
        """
        if not self.exclude_users:
            return self._asdict()
        return self._asdict() | {"exclude_users": identity_of(read_users(self.exclude_users))}


class Window(NamedTuple):
    """Moments that are kept: from `start`, which belongs to it, to `end`, which does not."""

    start: float
    end: float
    words: str

    def holds(self, times: np.ndarray) -> np.ndarray:
        """Returns which times lie within, bool [n]."""
        return (self.start <= times) & (times < self.end)


class Filtered(NamedTuple):
    """The events of a whole log that filters have left.

    Attributes:
        events: The events that are kept, in file order.
        steps: The counts before and after each filter.
        num_repeats_dropped: Events that `repeats=drop` took out.
        repeats: "drop" where the events still hold the repeats that are to go, and nothing else
            is: items are numbered by their first event, repeats among them.
    """

    events: EventBatch
    steps: tuple[FilterStep, ...]
    num_repeats_dropped: int = 0
    repeats: str = "keep"


def check_filters(filters: Filters) -> None:
    """Checks the filters by themselves.

    Raises:
        UserError: If one is no date or number, or they contradict each other.
    """
    moments = [
        parse_moment(text, key=f"data.{key}")
        for key, text in (("start", filters.start), ("end", filters.end))
        if text
    ]
    if len(moments) == 2 and moments[0].value >= moments[1].value:
        raise UserError(
            f"`data.start` must lie before `data.end`. Received: {filters.start} and {filters.end}."
        )
    others = (filters.min_user_events, filters.min_item_events)
    if filters.k_core and any(least not in (0, filters.k_core) for least in others):
        raise UserError(
            f"`data.k_core`={filters.k_core} sets both `data.min_user_events` and "
            f"`data.min_item_events`, which are {others[0]} and {others[1]}. Leave one out."
        )


def window_of(filters: Filters, *, has_times: bool, is_epoch: bool, source: str) -> Window | None:
    """Returns the moments that are kept, or None for all of them.

    Args:
        filters: The filters.
        has_times: True if the log has times.
        is_epoch: True if these are seconds since 1970.
        source: The name of the log, for messages.

    Raises:
        UserError: If the log's times do not allow it.
    """
    bounds, words = [-np.inf, np.inf], []
    for place, (key, word) in enumerate((("start", "from"), ("end", "before"))):
        text = getattr(filters, key)
        if not text:
            continue
        if not has_times:
            raise UserError(
                f"{source}: no times, which --config.data.{key} needs: name the time column with "
                "--config.data.time_column=NAME, or leave the filter out."
            )
        value = moment_among(text, key=f"data.{key}", is_epoch=is_epoch, source=source)
        bounds[place] = value
        words.append(f"{word} {moment_text(value, is_epoch=is_epoch)}")
    return Window(bounds[0], bounds[1], "time " + " and ".join(words)) if words else None


class _Rule(NamedTuple):
    """A filter of single events.

    Attributes:
        name: See `FilterStep.name`.
        words: Returns the kept events as text, given the number of events left out.
        keeps: Returns which events of a batch are kept, bool [n].
    """

    name: str
    words: Callable[[int], str]
    keeps: Callable[[EventBatch], np.ndarray]


class _ExcludedUsers:
    """The rule that leaves out the users of a list, and counts those that the log has."""

    def __init__(self, users: Set[str], *, strip: bool) -> None:
        self._users = {user.strip(SPACES) for user in users} if strip else users
        self._found: set[str] = set()

    def words(self, num_events: int) -> str:
        """Returns the numbers of users and events left out, and of ids that the log lacks."""
        words = f"excluded users: {len(self._found):,} users, {num_events:,} events"
        num_missing = len(self._users) - len(self._found)
        return words + f"; {num_missing:,} ids of the list are not in the log" * (num_missing > 0)

    def keeps(self, batch: EventBatch) -> np.ndarray:
        """Returns bool [n], True for events of other users."""
        is_excluded = np.array([user in self._users for user in batch.user_ids], bool)
        self._found.update(batch.user_ids[is_excluded])
        return ~is_excluded[batch.users]


class _EventTypes:
    """The rule that keeps the events of some types, and checks that the log has these."""

    def __init__(self, types: list[str], source: str) -> None:
        self.types = types
        self._source = source
        self._seen: Counter[str] = Counter()

    def words(self, _: int) -> str:
        """Returns the types, and that the log has no other.

        Raises:
            UserError: If the log lacks one of them.
        """
        shown = ", ".join(f"{plain(name)} {n:,}" for name, n in self._seen.most_common(_MOST_TYPES))
        for name in self.types:
            if name not in self._seen:
                raise UserError(
                    f"{self._source}: no event of type {name!r} (--config.data.events): expected "
                    f"some of those that it has, {shown}." + nearest(name, self._seen)
                )
        return f"events {', '.join(map(plain, self.types))}"

    def keeps(self, batch: EventBatch) -> np.ndarray:
        """Returns bool [n], True for events of the types."""
        if batch.types is None or batch.type_names is None:
            raise UserError(
                f"{self._source}: no column of event types, which --config.data.events needs: name "
                "it with --config.data.event_column=NAME, or leave the filter out."
            )
        counts = np.bincount(batch.types, minlength=len(batch.type_names))
        if len(self._seen) < _MOST_SEEN:
            self._seen.update(dict(zip(batch.type_names.tolist(), counts.tolist(), strict=True)))
        return np.array([name in self.types for name in batch.type_names], bool)[batch.types]


def _has_ids(batch: EventBatch) -> np.ndarray:
    """Returns which events have a user and an item, bool [n]."""
    users, items = (
        np.array([not is_null_word(id) for id in ids], bool)
        for ids in (batch.user_ids, batch.item_ids)
    )
    return users[batch.users] & items[batch.items]


class EventFilters:
    """The filters of single events, applied to one batch after another.

    Args:
        filters: The filters; those by numbers of events are not read.
        source: The name of the log, for messages.
        is_whole: True if one batch is the whole log: users and items are counted then, too.
        strip: True if spaces around ids are removed, those of the list of users as well.
    """

    def __init__(
        self, filters: Filters, *, source: str, is_whole: bool = False, strip: bool = True
    ) -> None:
        self._strip = strip
        check_filters(filters)
        self._filters = filters
        self._source = source
        self._nouns = ("events", "users", "items") if is_whole else ("events",)
        self._rules: list[_Rule] | None = None
        self._counts: list[tuple[Counter[str], Counter[str]]] = []

    @property
    def has_window(self) -> bool:
        """True if events are kept by their times."""
        return bool(self._filters.start or self._filters.end)

    def kept(self, batch: EventBatch, *, is_epoch: bool) -> EventBatch:
        """Returns the events of a batch that are kept.

        Args:
            batch: The next events.
            is_epoch: True if their times are seconds since 1970.

        Raises:
            UserError: If a filter needs a column that is not there.
        """
        if self._rules is None:
            self._rules = self._rules_for(batch, is_epoch)
            self._counts = [(Counter(), Counter()) for _ in self._rules]
        for rule, (before, after) in zip(self._rules, self._counts, strict=True):
            left = batch.kept(rule.keeps(batch))
            before.update({noun: batch.counts[noun] for noun in self._nouns})
            after.update({noun: left.counts[noun] for noun in self._nouns})
            batch = left
        return batch

    def _rules_for(self, batch: EventBatch, is_epoch: bool) -> list[_Rule]:
        """Returns the rules by the first batch, in the order in which they are applied."""
        filters, rules = self._filters, []
        if filters.exclude_users:
            excluded = _ExcludedUsers(read_users(filters.exclude_users), strip=self._strip)
            rules.append(_Rule("exclude_users", excluded.words, excluded.keeps))
        if filters.null_ids == "drop":
            rules.append(
                _Rule("null_ids", lambda _: "user and item that are no null word", _has_ids)
            )
        if filters.null_times == "drop" and batch.times is not None:
            words_of_times = "events that have a time"
            rules.append(
                _Rule("null_times", lambda _: words_of_times, lambda b: ~np.isnan(_column(b.times)))
            )
        if filters.event_types:
            types = _EventTypes(filters.event_types, self._source)
            rules.append(_Rule("events", types.words, types.keeps))
        window = window_of(
            filters, has_times=batch.times is not None, is_epoch=is_epoch, source=self._source
        )
        if filters.min_rating:
            if batch.ratings is None:
                raise UserError(
                    f"{self._source}: no rating column, which --config.data.min_rating needs: name "
                    "it with --config.data.rating_column=NAME, or leave the filter out."
                )
            least = filters.min_rating
            words = f"rating of at least {least:g}"
            rules.append(
                _Rule("min_rating", lambda _: words, lambda b: _column(b.ratings) >= least)
            )
        if window is not None:
            rules.append(
                _Rule("window", lambda _: window.words, lambda b: window.holds(_column(b.times)))
            )
        return rules

    def steps(self) -> tuple[FilterStep, ...]:
        """Returns the counts before and after each filter.

        Raises:
            UserError: If one has left nothing.
        """
        return tuple(
            _step(
                rule.name,
                rule.words(before["events"] - after["events"]),
                before,
                after,
                self._source,
            )
            for rule, (before, after) in zip(self._rules or [], self._counts, strict=True)
        )


def _column(values: np.ndarray | None) -> np.ndarray:
    """Returns a column of a batch, which is there in each one or in none."""
    if values is None:
        raise ValueError("A batch lacks a column that the first one had.")
    return values


def _step(
    name: str, words: str, before: Mapping[str, int], after: Mapping[str, int], source: str
) -> FilterStep:
    """Returns the counts before and after a filter.

    Raises:
        UserError: If it has left nothing.
    """
    if not after["events"]:
        raise UserError(
            f"{source}: no event is left after the filter {words!r}, of {before['events']:,} "
            "before it: expected some; loosen it, or see with --mode=inspect what each filter "
            "leaves."
        )
    return FilterStep(name, words, dict(before), dict(after))


def no_times_error(source: str) -> UserError:
    """Returns the error for `duplicates` of a log without times."""
    return UserError(
        f"{source}: no times, which --config.data.duplicates=drop needs: without them an event "
        "that is said twice is like one that happened twice; name the time column with "
        "--config.data.time_column=NAME, or leave the filter out."
    )


def is_duplicate(*columns: np.ndarray | None) -> np.ndarray:
    """Returns which events say again what an earlier one says, bool [n].

    Args:
        columns: User, item, time and what else is known of the events, in the order of the log.
    """
    known = {str(place): column for place, column in enumerate(columns) if column is not None}
    return pd.DataFrame(known).duplicated().to_numpy()


def apply_filters(
    events: EventBatch,
    filters: Filters,
    *,
    repeats: str,
    is_epoch: bool,
    source: str,
    strip: bool = True,
) -> Filtered:
    """Applies all filters to a whole log: event by event, then doubles, repeats, core and length.

    Args:
        events: The log; times in seconds where `is_epoch`.
        filters: The filters.
        repeats: "keep" or "drop".
        is_epoch: True if times are seconds since 1970.
        source: The name of the log, for messages.
        strip: See `EventFilters`.

    Raises:
        UserError: If a filter leaves nothing, or needs a column that is not there.
    """
    by_event = EventFilters(filters, source=source, is_whole=True, strip=strip)
    events = by_event.kept(events, is_epoch=is_epoch)
    steps = list(by_event.steps())

    def keep(is_kept: np.ndarray, name: str, words: str) -> EventBatch:
        left = events.kept(is_kept)
        steps.append(_step(name, words, events.counts, left.counts, source))
        return left

    if filters.duplicates == "drop":
        if events.times is None:
            raise no_times_error(source)
        columns = (events.users, events.items, events.times, events.ratings, events.types)
        events = keep(~is_duplicate(*columns), "duplicates", DUPLICATES_WORDS)
    with_repeats = events
    if repeats == "drop":
        events = keep(_is_oldest(events), "repeats", "each item once a user")
    if not filters.needs_all:
        return Filtered(with_repeats, tuple(steps), repeats=repeats)
    num_repeats = with_repeats.num_events - events.num_events
    least_user, least_item = filters.least
    if max(least_user, least_item) > 1:
        is_core, rounds = core(
            events.users, events.items, least_user=least_user, least_item=least_item
        )
        words = (
            f"core of at least {least_user} events a user and {least_item} an item "
            f"({rounds} round{'s' * (rounds != 1)})"
        )
        events = keep(is_core, "k_core", words)
    if filters.min_length > 1:
        lengths = np.bincount(events.users)[events.users]
        words = f"users of at least {filters.min_length} events"
        events = keep(lengths >= filters.min_length, "min_length", words)
    return Filtered(events, tuple(steps), num_repeats)


def _is_oldest(events: EventBatch) -> np.ndarray:
    """Returns which events are their user's first with the item, bool [n]."""
    order = order_events(events.users, events.times)
    is_first = np.empty(len(order), bool)
    is_first[order] = is_first_of_pair(events.users[order], events.items[order])
    return is_first


def core(
    users: np.ndarray, items: np.ndarray, *, least_user: int, least_item: int
) -> tuple[np.ndarray, int]:
    """Returns which events are in the core, bool [E], and how many rounds took some out.

    The core is the largest part of a log in which each user and each item has enough events.

    Args:
        users: int [E], from 0.
        items: int [E], from 0.
        least_user: Fewest events of a user.
        least_item: Fewest events of an item.
    """
    at, rounds = np.arange(len(users)), 0
    while True:
        own_users, own_items = users[at], items[at]
        is_kept = np.bincount(own_users)[own_users] >= least_user
        is_kept &= np.bincount(own_items)[own_items] >= least_item
        if is_kept.all():
            break
        at, rounds = at[is_kept], rounds + 1
    is_core = np.zeros(len(users), bool)
    is_core[at] = True
    return is_core, rounds
