"""Rows of users brought together, on the disk where there are many, in memory otherwise."""

from __future__ import annotations

import csv
import heapq
from array import array
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import numpy as np

from ufnrec_tf.common.errors import UserError, own_words

History = tuple[str, list[str]]
"""A name (the user, or the line's number from 1) and raw item ids, the newest last."""
Row = tuple[str, str, int | float]
"""User, item, time; the time is 0 in files without times."""

_BUFFERED_RUNS = 1 << 20
_ROWS_IN_MEMORY = 1 << 20
_ROWS_OF_BUCKET = 1 << 18
_MAX_BUCKETS = 256  # files that are open at once
_LINE_END = "\r\n"  # before Python 3.13, a field with a character of the line's end alone is quoted


class UserRuns:
    """Tells of rows how many users they have, and whether each user's rows are neighbours.

    It holds 8 bytes a user, a hash: two users with one hash, which 10 million users have by a
    chance of 3 in a million, are grouped by the slower way, and counted as one in progress.

    Attributes:
        num_rows: Rows seen.
    """

    def __init__(self) -> None:
        self.num_rows = 0
        self._num_runs = 0
        self._previous: str | None = None
        self._buffer = array("q")
        self._users = np.zeros(0, np.int64)

    def add(self, user: str) -> None:
        """Sees the next row."""
        self.num_rows += 1
        if user == self._previous:
            return
        self._previous = user
        self._num_runs += 1
        self._buffer.append(hash(user))
        if len(self._buffer) >= max(_BUFFERED_RUNS, len(self._users)):
            self._merge()

    @property
    def num_users(self) -> int:
        """Number of different users."""
        self._merge()
        return len(self._users)

    @property
    def is_grouped(self) -> bool:
        """Whether each user's rows are neighbours."""
        return self.num_users == self._num_runs

    def _merge(self) -> None:
        if self._buffer:
            self._users = np.union1d(self._users, np.frombuffer(self._buffer, np.int64))
            self._buffer = array("q")


def group_neighbours(rows: Iterable[Row]) -> Iterator[History]:
    """Yields the histories of rows in which each user's are neighbours, by time, stably."""
    for user, group in groupby(rows, key=itemgetter(0)):
        yield user, _by_time([(time, item) for _, item, time in group])


def group_scattered(
    rows: Iterable[Row], *, num_rows: int, folder: Path | None = None
) -> Iterator[History]:
    """Yields the histories of rows in any order: users by first appearance, items by time.

    Up to a million rows are held in memory. More go to files of `folder`: into buckets by a hash
    of the user, each of which is then grouped by itself, and the buckets are merged by the place
    at which a user appeared first. A bucket holds some 260,000 rows, or more where a few users
    have most rows, or where there are more than 60 million rows.

    Args:
        rows: The rows.
        num_rows: How many they are.
        folder: An empty folder; None holds all in memory.

    Raises:
        UserError: Where the disk does not take the files.
    """
    if folder is None or num_rows <= _ROWS_IN_MEMORY:
        yield from ((user, items) for _, user, items in _grouped(enumerate(rows)))
        return
    num_buckets = min(_MAX_BUCKETS, -(-num_rows // _ROWS_OF_BUCKET))
    try:
        buckets = [folder / f"bucket-{number}.csv" for number in range(num_buckets)]
        _fill_buckets(rows, buckets)
        for path in buckets:
            _sort_bucket(path)
    except OSError as error:
        raise UserError(
            f"{folder}: the rows could not be grouped by user on the disk ({own_words(error)}). "
            "Free space there, choose another --output, or sort the rows by user."
        ) from error
    with ExitStack() as stack:
        files = [stack.enter_context(open(path, encoding="utf-8", newline="")) for path in buckets]
        runs = [((int(first), user, items) for first, user, *items in _csv(f)) for f in files]
        for _, user, items in heapq.merge(*runs, key=itemgetter(0)):
            yield user, items


def _grouped(rows: Iterable[tuple[int, Row]]) -> Iterator[tuple[int, str, list[str]]]:
    """Yields (place of its first row, user, items by time) of numbered rows, in memory."""
    by_user: dict[str, tuple[int, list[tuple[int | float, str]]]] = {}
    shared: dict[str, str] = {}  # one string an item, however many rows have it
    for place, (user, item, time) in rows:
        events = by_user.setdefault(user, (place, []))[1]
        events.append((time, shared.setdefault(item, item)))
    for user, (place, events) in by_user.items():
        yield place, user, _by_time(events)


def _by_time(events: list[tuple[int | float, str]]) -> list[str]:
    return [item for _, item in sorted(events, key=itemgetter(0))]


def _fill_buckets(rows: Iterable[Row], buckets: list[Path]) -> None:
    """Appends each numbered row to the file of its user's bucket."""
    with ExitStack() as stack:
        files = [
            stack.enter_context(open(path, "w", encoding="utf-8", newline="")) for path in buckets
        ]
        writers = [csv.writer(file, lineterminator=_LINE_END) for file in files]
        for place, (user, item, time) in enumerate(rows):
            # Python's own hash differs from run to run, which only changes the buckets.
            writers[hash(user) % len(writers)].writerow((place, user, item, repr(time)))


def _sort_bucket(path: Path) -> None:
    """Replaces a bucket's rows by a line a user: place of its first row, user, items."""
    grouped = path.with_suffix(".grouped")
    with (
        open(path, encoding="utf-8", newline="") as source,
        open(grouped, "w", encoding="utf-8", newline="") as target,
    ):
        writer = csv.writer(target, lineterminator=_LINE_END)
        numbered = (
            (int(place), (user, item, _number(time))) for place, user, item, time in _csv(source)
        )
        for place, user, items in _grouped(numbered):
            writer.writerow((place, user, *items))
    grouped.replace(path)


def _csv(file: Iterable[str]) -> Iterator[list[str]]:
    return csv.reader(file, strict=True)


def _number(text: str) -> int | float:
    """Returns the number that `repr` wrote, a whole one as an int, since a float is rounded."""
    return int(text) if text.lstrip("-").isdecimal() else float(text)
