"""Interactions: the events of a log as flat arrays of internal ids, with the raw ids."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from ufnrec_tf.common.display import Display
from ufnrec_tf.common.errors import UserError
from ufnrec_tf.common.representation import Shown
from ufnrec_tf.common.text import plain
from ufnrec_tf.data.events import EventBatch
from ufnrec_tf.data.item_sets import is_first_in_range
from ufnrec_tf.data.items import ItemTable
from ufnrec_tf.data.log_description import LogDescription, reading_lines
from ufnrec_tf.data.times import moment_text

REPEATS = ("keep", "drop")


@dataclass(frozen=True, eq=False, repr=False)
class Interactions(Shown):
    """The events of a log, by user and time, with internal ids.

    User u's events are `items[offsets[u]:offsets[u + 1]]`, oldest first; equal times keep the
    order of the file. Internal ids follow the first appearance in the file; users of a prepared
    folder come shard by shard.

    Attributes:
        items: int32 [E], internal item ids 1..num_items; 0 is left for padding.
        offsets: int64 [U + 1].
        timestamps: float64 [E], or None where the file has no times; seconds since 1970 where
            `is_epoch`, else in the file's own unit.
        user_ids: object(str) [U], raw ids; internal user ids count from 0.
        item_ids: object(str) [num_items + 1], raw ids; item_ids[0] is "".
        sha256: Of the file's bytes (of the arrays for planted data, of the contents of a folder).
        source: The file's or folder's name without directories, or "planted:...".
        num_repeats: Events whose (user, item) occurred before, counted before any drop.
        item_titles: object(str) [num_items + 1], "" where unknown, or None.
        item_categories: object(str) [num_items + 1], "" where unknown, or None.
        item_prices: float64 [num_items + 1], in the table's currency, NaN where unknown, or None.
        reading: How the log was read and filtered; None for planted data.
    """

    items: np.ndarray
    offsets: np.ndarray
    timestamps: np.ndarray | None
    user_ids: np.ndarray
    item_ids: np.ndarray
    sha256: str
    source: str
    num_repeats: int
    item_titles: np.ndarray | None = None
    item_categories: np.ndarray | None = None
    item_prices: np.ndarray | None = None
    reading: LogDescription | None = None

    def _show(self, display: Display) -> None:
        """Shows source, counts, period, columns and filters."""
        display.line(
            f"Interactions of {short_source(self.source)}: {self.num_users:,} users, "
            f"{self.num_items:,} items, {self.num_events:,} events"
        )
        if self.timestamps is not None and self.num_events:
            low, high = self.timestamps.min(), self.timestamps.max()
            display.block([f"from {self.moment_text(low)} to {self.moment_text(high)}"])
        if self.reading is not None:
            display.block([line.strip() for line in reading_lines(self.reading.as_json())])

    @property
    def num_users(self) -> int:
        """Number of users."""
        return len(self.user_ids)

    @property
    def num_items(self) -> int:
        """Number of items, padding not counted."""
        return len(self.item_ids) - 1

    @property
    def num_events(self) -> int:
        """Number of events."""
        return len(self.items)

    @property
    def is_epoch(self) -> bool:
        """True if times are seconds since 1970, False if they only give an order."""
        return self.reading is not None and self.reading.is_epoch

    def whole_seconds(self) -> np.ndarray:
        """Returns when each event was, int64 [E], in whole seconds since 1970.

        Raises:
            UserError: If the log has no times, or only an order of them.
        """
        if self.timestamps is None or not self.is_epoch:
            fault = "has no times" if self.timestamps is None else "its times are no dates"
            raise UserError(
                f"{self.source}: {fault}: expected dates or seconds since 1970, which "
                "--config.backbone.time and --config.teacher.time read. Name their column with "
                "--config.data.time_column=NAME and their unit with --config.data.time_unit, or "
                "set both keys to none."
            )
        return np.floor(self.timestamps).astype(np.int64)

    def seconds_for(self, backbone: Any) -> np.ndarray | None:
        """Returns `whole_seconds` for a backbone that reads times, None for another."""
        return self.whole_seconds() if backbone.num_times else None

    def as_json(self) -> dict[str, Any]:
        """Returns source, hash and counts, as the results of runs and comparisons hold them."""
        return {
            "source": self.source,
            "sha256": self.sha256,
            "users": self.num_users,
            "items": self.num_items,
            "interactions": self.num_events,
        }

    def moment_text(self, time: float) -> str:
        """Returns a time as text: a date if times are seconds since 1970, else the number."""
        return moment_text(time, is_epoch=self.is_epoch)

    def item_name(self, item: int) -> str:
        """Returns an item's raw id and, if known, its title, as text."""
        raw = plain(str(self.item_ids[item]))
        if self.item_titles is None or not self.item_titles[item]:
            return raw
        return f"{raw} ({plain(self.item_titles[item])})"

    @cached_property
    def lengths(self) -> np.ndarray:
        """Events of each user, int64 [U]."""
        return np.diff(self.offsets)

    @cached_property
    def users(self) -> np.ndarray:
        """The user of each event, int32 [E], ascending."""
        return np.repeat(np.arange(self.num_users, dtype=np.int32), self.lengths)

    @cached_property
    def is_first_with_item(self) -> np.ndarray:
        """True for a user's first event with its item, bool [E]."""
        return is_first_in_range(self.items, self.offsets, num_items=self.num_items)


def short_source(source: str) -> str:
    """Returns the name of a log without the settings of a planted one."""
    return "planted" if source.startswith("planted:") else source


def build_interactions(
    events: EventBatch,
    *,
    sha256: str,
    source: str,
    repeats: str = "keep",
    items: ItemTable | None = None,
    reading: LogDescription | None = None,
    num_repeats_dropped: int = 0,
) -> Interactions:
    """Numbers users and items and sorts the events by user, then time, stably.

    Args:
        events: All events in file order; ratings are not read.
        sha256: Of the data's bytes.
        source: The name of the data, for messages.
        repeats: "keep", or "drop" all but a user's oldest event with an item.
        items: The item table.
        reading: How the log was read.
        num_repeats_dropped: Events that were left out before because they repeated others.

    Raises:
        ValueError: If `repeats` is unknown, or an id or a time is missing.
    """
    if repeats not in REPEATS:
        raise ValueError(f"`repeats` must be one of {REPEATS}. Received: {repeats!r}.")
    users, times = events.users, events.times
    for noun, codes in (("user", users), ("item", events.items)):
        if len(codes) and codes.min() < 0:
            raise ValueError(f"`{noun}` must have no missing id.")
    if times is not None and not np.isfinite(times).all():
        raise ValueError("`time` must be finite.")
    order = order_events(users, times)
    is_first = is_first_of_pair(users[order], events.items[order])
    num_repeats = int(np.count_nonzero(~is_first))
    if repeats == "drop":
        order = order[is_first]
    counts = np.bincount(users[order], minlength=len(events.user_ids))
    item_ids = np.concatenate([np.array([""], dtype=object), events.item_ids])
    table = items or ItemTable()
    titles = table.texts("titles", item_ids)
    if items is not None and reading is not None:
        own = None if titles is None else titles[1:]
        reading = reading._replace(titles=items.titles_read(own))
    return Interactions(
        items=(events.items[order] + 1).astype(np.int32),
        offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        timestamps=None if times is None else times[order],
        user_ids=events.user_ids,
        item_ids=item_ids,
        sha256=sha256,
        source=source,
        num_repeats=num_repeats + num_repeats_dropped,
        item_titles=titles,
        item_categories=table.texts("categories", item_ids),
        item_prices=table.price_of(item_ids),
        reading=reading,
    )


def order_events(users: np.ndarray, times: np.ndarray | None) -> np.ndarray:
    """Returns the order of the events by user, then time, stable, int64 [E].

    Stable: equal keys stay in the order of the file.

    Args:
        users: int [E].
        times: float64 [E], or None where only the order of the file is known.
    """
    return np.argsort(users, kind="stable") if times is None else np.lexsort((times, users))


def is_first_of_pair(users: np.ndarray, items: np.ndarray) -> np.ndarray:
    """Returns bool [E], True for the first event of each pair of internal user and item id."""
    return ~pd.Series(pair_keys(users, items)).duplicated().to_numpy()


def pair_keys(users: np.ndarray, items: np.ndarray) -> np.ndarray:
    """Returns one int64 for each (user, item), [E], ascending by user, then item."""
    return users.astype(np.int64) * (int(items.max(initial=0)) + 1) + items


def some_histories(log: Interactions, count: int = 1000) -> list[list[str]]:
    """Returns the raw item ids of up to `count` users, spread evenly over the log."""
    users = np.unique(np.linspace(0, log.num_users - 1, count).astype(int))
    return [
        log.item_ids[log.items[log.offsets[user] : log.offsets[user + 1]]].tolist()
        for user in users.tolist()
    ]
