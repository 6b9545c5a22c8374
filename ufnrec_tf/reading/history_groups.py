"""Histories of the users of a log, brought together in memory or, if there are many, on disk."""

import heapq
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ufnrec_tf.common.errors import UserError, own_words
from ufnrec_tf.data.events import EventBatch, RawIds, collect
from ufnrec_tf.data.interactions import order_events
from ufnrec_tf.reading.filters import is_duplicate
from ufnrec_tf.reading.prepare.user_buckets import UserBuckets, encoded, without_duplicates

History = tuple[str, list[str]]
"""A name (the user, or the line's number from 1) and raw item ids, the newest last."""

_BUFFERED_RUNS = 1 << 20
_EVENTS_IN_MEMORY = 1 << 20
_EVENTS_OF_BUCKET = 1 << 18
_MAX_BUCKETS = 256  # files that are open at once
_USERS_AT_ONCE = 1024


class UserRuns:
    """Counts the users of a log, and finds whether each user's events are neighbours.

    It holds 8 bytes a user, a hash: two users with one hash, which 10 million users have by a
    chance of 3 in a million, are grouped by the slower way, and counted as one in progress.

    Attributes:
        num_events: Events seen.
    """

    def __init__(self) -> None:
        self.num_events = 0
        self._num_runs = 0
        self._last_user: str | None = None
        self._buffer: list[np.ndarray] = []
        self._users = np.zeros(0, np.int64)

    def add(self, batch: EventBatch) -> None:
        """Counts the next events."""
        if not batch.num_events:
            return
        self.num_events += batch.num_events
        starts = np.flatnonzero(np.diff(batch.users, prepend=-1))
        users = batch.users[starts]
        if batch.user_ids[users[0]] == self._last_user:
            users = users[1:]
        self._last_user = batch.user_ids[batch.users[-1]]
        self._num_runs += len(users)
        hashes = np.fromiter(map(hash, batch.user_ids), np.int64, len(batch.user_ids))
        self._buffer.append(hashes[users])
        if sum(map(len, self._buffer)) >= max(_BUFFERED_RUNS, len(self._users)):
            self._merge()

    @property
    def num_users(self) -> int:
        """Number of different users."""
        self._merge()
        return len(self._users)

    @property
    def is_grouped(self) -> bool:
        """True if each user's events are neighbours."""
        return self.num_users == self._num_runs

    def _merge(self) -> None:
        self._users = np.unique(np.concatenate([self._users, *self._buffer]))
        self._buffer = []


def histories_of(
    events: EventBatch, *, drops_doubles: bool = False, with_times: bool = False
) -> Iterator[Any]:
    """Yields the histories of a whole log: users by first appearance, items by time, stably.

    Args:
        events: The log.
        drops_doubles: True to leave out events that say again what an earlier one says.
        with_times: True yields the whole seconds of each item's time, too.
    """
    if drops_doubles:
        columns = (events.users, events.items, events.times, events.ratings, events.types)
        events = events.kept(~is_duplicate(*columns))
    order = order_events(events.users, events.times)
    items = events.items[order]
    times = None
    if with_times and events.times is not None:
        times = np.floor(events.times[order]).astype(np.int64)
    ends = np.cumsum(np.bincount(events.users, minlength=len(events.user_ids)))
    start = 0
    for user, end in zip(events.user_ids.tolist(), ends.tolist(), strict=True):
        ids = events.item_ids[items[start:end]].tolist()
        yield (user, ids) if times is None else (user, ids, times[start:end].tolist())
        start = end


def group_neighbours(
    batches: Iterable[EventBatch], *, drops_doubles: bool = False, with_times: bool = False
) -> Iterator[Any]:
    """Yields the histories of a log in which each user's events are neighbours.

    Args:
        batches: The log.
        drops_doubles: See `histories_of`.
        with_times: See `histories_of`.
    """
    held: list[EventBatch] = []  # the events of the user whose end is not known yet
    for batch in batches:
        if not batch.num_events:
            continue
        events = collect([*held, batch])
        is_open = events.users == events.users[-1]
        yield from histories_of(
            events.kept(~is_open), drops_doubles=drops_doubles, with_times=with_times
        )
        held = [events.kept(is_open)]
    if held:
        yield from histories_of(held[0], drops_doubles=drops_doubles, with_times=with_times)


def group_scattered(
    batches: Iterable[EventBatch],
    *,
    num_events: int,
    folder: Path,
    drops_doubles: bool = False,
    with_times: bool = False,
) -> Iterator[Any]:
    """Yields the histories of a log in any order: users by first appearance, items by time.

    Up to a million events are held in memory. More go to files of `folder`: into buckets by a hash
    of the user, each of which is then grouped by itself, and the buckets are merged by the place
    at which a user appeared first. A bucket holds some 260,000 events, or more where a few users
    have most events, or if there are more than 60 million.

    Args:
        batches: The log.
        num_events: The number of events.
        folder: An empty folder.
        drops_doubles: See `histories_of`.
        with_times: See `histories_of`.

    Raises:
        UserError: If the disk does not take the files.
    """
    if num_events <= _EVENTS_IN_MEMORY:
        yield from histories_of(
            collect(batches), drops_doubles=drops_doubles, with_times=with_times
        )
        return
    num_buckets = min(_MAX_BUCKETS, -(-num_events // _EVENTS_OF_BUCKET))
    buckets = UserBuckets(folder, num_buckets, is_whole=drops_doubles)
    paths = [folder / f"grouped-{number:05d}.arrow" for number in range(num_buckets)]
    try:
        item_ids = _fill(buckets, batches)
        for number, path in enumerate(paths):
            taken = buckets.take(number)
            _write_grouped(without_duplicates(taken) if drops_doubles else taken, path)
    except OSError as error:
        raise UserError(
            f"{folder}: the events could not be grouped by user on the disk ({own_words(error)}). "
            "Free space there, choose another --output, or sort the file by user."
        ) from error
    with ExitStack() as stack:
        runs = [_grouped(path, stack) for path in paths if path.exists()]
        for _, user, items, times in heapq.merge(*runs, key=itemgetter(0)):
            ids = item_ids[items].tolist()
            yield (user, ids, times.tolist()) if with_times else (user, ids)


def _fill(buckets: UserBuckets, batches: Iterable[EventBatch]) -> np.ndarray:
    """Puts every event into its user's bucket; returns the raw ids of all items by number."""
    item_ids, place = RawIds(), 0
    try:
        for batch in batches:
            places = np.arange(place, place + batch.num_events)
            buckets.add(batch, item_ids.numbers_of(batch.item_ids)[batch.items], places=places)
            place += batch.num_events
    finally:
        buckets.close()
    return item_ids.as_array()


def _write_grouped(events: pa.Table | None, path: Path) -> None:
    """Writes a bucket's users by first appearance: place of the first event, user, items."""
    if events is None:
        return
    user_ids, users = encoded(events["user"])
    times = events["time"].to_numpy() if "time" in events.column_names else None
    order = order_events(users, times)
    lengths = np.bincount(users, minlength=len(user_ids))
    first = np.unique(users, return_index=True)[1]
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())
    seconds = np.zeros(len(order), np.int64)
    if times is not None:
        seconds = np.floor(times[order]).astype(np.int64)
    table = pa.table(
        {
            "place": pa.array(events["place"].to_numpy()[first]),
            "user": pa.array(user_ids, pa.string()),
            "items": pa.ListArray.from_arrays(offsets, pa.array(events["item"].to_numpy()[order])),
            "times": pa.ListArray.from_arrays(offsets, pa.array(seconds)),
        }
    )
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=_USERS_AT_ONCE)


def _grouped(path: Path, stack: ExitStack) -> Iterator[tuple[int, str, np.ndarray, np.ndarray]]:
    """Yields the histories that `_write_grouped` wrote, some users at a time."""
    file = stack.enter_context(pa.OSFile(str(path)))
    for batch in stack.enter_context(pa.ipc.open_stream(file)):
        places, users = (batch.column(name).to_pylist() for name in ("place", "user"))
        lists = (batch.column(name) for name in ("items", "times"))
        for place, user, items, times in zip(places, users, *lists, strict=True):
            yield place, user, items.values.to_numpy(), times.values.to_numpy()
