"""Which events are kept, in one fixed order."""

import hashlib
from collections.abc import Callable, Set
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ufnrec_tf.common.errors import UserError, own_words
from ufnrec_tf.data.interactions import is_first_of_pair, order_events
from ufnrec_tf.data.log_description import FilterStep
from ufnrec_tf.data.times import moment_among, moment_text, parse_moment


def read_users(path: str) -> frozenset[str]:
    """Returns the raw user ids that the file of `data.exclude_users` names, as the log has them.

    Raises:
        UserError: If it cannot be read or names nobody.
    """
    flag = f"--config.data.exclude_users={path}"
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").split("\n")
    except (OSError, ValueError) as error:  # ValueError: no UTF-8, or a path with a NUL
        raise UserError(
            f"{flag}: cannot be read ({own_words(error)}). Give a UTF-8 file, one raw "
            "user id a line."
        ) from error
    users = frozenset(line.removesuffix("\r") for line in lines) - {""}
    if not users:
        raise UserError(f"{flag}: names nobody. Give a file with one raw user id a line.")
    return users


def identity_of(users: Set[str]) -> str:
    """Returns what tells one list of users from another, whatever the order of its lines."""
    # An id has no line feed, so that the joined text stands for one set only.
    digest = hashlib.sha256("\n".join(sorted(users)).encode()).hexdigest()
    return f"{len(users)} users of sha256 {digest}"


class Filters(NamedTuple):
    """What a log is to be reduced to; see the configuration's keys of the same names.

    Attributes:
        min_rating: Lowest rating that is kept; 0: all.
        start: First moment that is kept, an ISO 8601 date or a number; empty: all.
        end: First moment that is no longer kept, likewise.
        k_core: Sets both of the next two; 0: neither.
        min_user_events: Fewest events of a user in the core; 0 or 1: any.
        min_item_events: Fewest events of an item in the core.
        min_length: Fewest events of a user at the end.
        exclude_users: File of the raw ids of users that are left out, one a line; empty: none is.
    """

    min_rating: float = 0.0
    start: str = ""
    end: str = ""
    k_core: int = 0
    min_user_events: int = 0
    min_item_events: int = 0
    min_length: int = 0
    exclude_users: str = ""

    @property
    def least(self) -> tuple[int, int]:
        """Fewest events of a user and of an item in the core."""
        return self.k_core or self.min_user_events, self.k_core or self.min_item_events

    @property
    def needs_all(self) -> bool:
        """Whether all events must be known at once, which a streamed log's are not."""
        return max(*self.least, self.min_length) > 1

    def described(self) -> dict[str, Any]:
        """Returns setting -> value, fit for JSON, by which two readings of a log are compared.

        Of `exclude_users` it is what the file holds, so that a changed file is noticed and a moved
        one is not.

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
        """Whether each time lies within, bool [n]."""
        return (self.start <= times) & (times < self.end)


class Filtered(NamedTuple):
    """What filters have left.

    Attributes:
        frame: The events that are kept, in file order.
        steps: What each filter did.
        num_repeats_dropped: Events that `repeats=drop` took out.
        repeats: "drop" where the frame still has the repeats that are to go, and nothing else is:
            items are numbered by their first event, repeats among them.
    """

    frame: pd.DataFrame
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
        has_times: Whether the log has times.
        is_epoch: Whether these are seconds since 1970.
        source: What to call the log.

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


def excluded_words(num_listed: int, num_found: int, num_events: int) -> str:
    """Returns the text on the filter `exclude_users`.

    Args:
        num_listed: Users that the file names.
        num_found: Those of them that the log has.
        num_events: Their events.
    """
    words = f"excluded users: {num_found:,} users, {num_events:,} events"
    num_missing = num_listed - num_found
    return words + f"; {num_missing:,} ids of the list are not in the log" * (num_missing > 0)


def no_rating_error(source: str) -> UserError:
    """Returns, for the caller to raise, what to tell where a rating is needed and there is none."""
    return UserError(
        f"{source}: no rating column, which --config.data.min_rating needs: name it with "
        "--config.data.rating_column=NAME, or leave the filter out."
    )


def refuse_nothing_left(source: str, words: str, num_events: int) -> UserError:
    """Returns, for the caller to raise, what to tell where a filter leaves nothing."""
    return UserError(
        f"{source}: no event is left after the filter {words!r}, of {num_events:,} before it: "
        "expected some; loosen it, or see with --mode=inspect what each filter leaves."
    )


def apply_filters(
    frame: pd.DataFrame, filters: Filters, *, repeats: str, is_epoch: bool, source: str
) -> Filtered:
    """Applies all filters.

    Args:
        frame: `user`, `item` and where there are `time` (seconds where `is_epoch`) and `rating`.
        filters: The filters.
        repeats: "keep" or "drop".
        is_epoch: Whether times are seconds since 1970.
        source: What to call the log.

    Raises:
        UserError: If a filter leaves nothing, or needs a column that is not there.
    """
    check_filters(filters)
    window = window_of(filters, has_times="time" in frame, is_epoch=is_epoch, source=source)
    if filters.min_rating and "rating" not in frame:
        raise no_rating_error(source)
    is_asked = filters.exclude_users or filters.min_rating or window or filters.needs_all
    if not is_asked and repeats != "drop":
        return Filtered(frame, ())
    kept = _Kept(frame, source)
    if filters.exclude_users:
        excluded = read_users(filters.exclude_users)
        is_excluded = frame["user"].isin(list(excluded)).to_numpy()
        num_found = frame["user"][is_excluded].nunique()
        words = excluded_words(len(excluded), num_found, int(is_excluded.sum()))
        kept.keep("exclude_users", lambda at: ~is_excluded[at], words)
    if filters.min_rating:
        rating = frame["rating"].to_numpy()
        words = f"rating of at least {filters.min_rating:g}"
        kept.keep("min_rating", lambda at: rating[at] >= filters.min_rating, words)
    if window is not None:
        times = frame["time"].to_numpy()
        kept.keep("window", lambda at: window.holds(times[at]), window.words)
    left = kept.at
    if repeats == "drop":
        kept.keep("repeats", kept.is_oldest, "each item once a user")
    num_repeats = len(left) - len(kept.at)
    if filters.needs_all:
        _keep_long(kept, filters)
        left, repeats = kept.at, "keep"
    else:
        num_repeats = 0
    whole = frame.iloc[left].reset_index(drop=True)
    return Filtered(whole, tuple(kept.steps), num_repeats, repeats)


def _keep_long(kept: "_Kept", filters: Filters) -> None:
    """Applies the filters by numbers of events."""
    least_user, least_item = filters.least
    if max(least_user, least_item) > 1:
        users, items = kept.users[kept.at], kept.items[kept.at]
        is_core, rounds = core(users, items, least_user=least_user, least_item=least_item)
        words = (
            f"core of at least {least_user} events a user and {least_item} an item "
            f"({rounds} round{'s' * (rounds != 1)})"
        )
        kept.keep("k_core", lambda at: is_core, words)
    if filters.min_length > 1:
        words = f"users of at least {filters.min_length} events"
        kept.keep("min_length", lambda at: kept.lengths() >= filters.min_length, words)


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


class _Kept:
    """The events that are left so far.

    Attributes:
        users: int64 [E], a number a user, of all events.
        items: int64 [E], likewise.
        at: int64, places of the events that are left, ascending.
        steps: What was done.
    """

    def __init__(self, frame: pd.DataFrame, source: str) -> None:
        self.users, self.items = (pd.factorize(frame[role])[0] for role in ("user", "item"))
        self.at = np.arange(len(frame))
        self.steps: list[FilterStep] = []
        self._times = frame["time"].to_numpy() if "time" in frame else None
        self._source = source

    def keep(self, name: str, rule: Callable[[np.ndarray], np.ndarray], words: str) -> None:
        """Keeps the events that a rule says, which is given their places; see `FilterStep`."""
        before = self._counts()
        self.at = self.at[rule(self.at)]
        if not len(self.at):
            raise refuse_nothing_left(self._source, words, before["events"])
        self.steps.append(FilterStep(name, words, before, self._counts()))

    def lengths(self) -> np.ndarray:
        """Returns how many events the user of each event that is left has, int64."""
        users = self.users[self.at]
        return np.bincount(users)[users]

    def is_oldest(self, at: np.ndarray) -> np.ndarray:
        """Whether each event at some places is its user's first with the item, bool."""
        users, items = self.users[at], self.items[at]
        order = order_events(users, None if self._times is None else self._times[at])
        is_first = np.empty(len(at), bool)
        is_first[order] = is_first_of_pair(users[order], items[order])
        return is_first

    def _counts(self) -> dict[str, int]:
        distinct = (len(np.unique(codes[self.at])) for codes in (self.users, self.items))
        return dict(zip(("events", "users", "items"), (len(self.at), *distinct), strict=True))
