"""Histories cut into training windows, and the worker and memory rows of each."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ufnrec_tf.data.splits import Split
from ufnrec_tf.data.user_hash import owners_of


class Samples(NamedTuple):
    """Windows of training transitions: one a user, several disjoint ones, or one a transition.

    Attributes:
        users: int32 [W], internal user id of each window.
        starts: int64 [W], flat index of the window's first input event.
        lengths: int32 [W], input events, 1..max_length; each begins a transition.
        first_positions: int32 [W], index of the window's first transition in its user's history.
        first_rows: int64 [W], memory row of the window's first transition.
        num_rows: Transitions that are trained, in all windows.
        only_newest: True if a window trains only its newest transition.
    """

    users: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray
    first_positions: np.ndarray
    first_rows: np.ndarray
    num_rows: int
    only_newest: bool

    def users_of_rows(self) -> np.ndarray:
        """Returns the user of each memory row, int32 [num_rows]."""
        return self.users if self.only_newest else np.repeat(self.users, self.lengths)

    def first_events(self) -> np.ndarray:
        """Returns where each window's first trained transition begins, int64 [W], ascending.

        It is the flat index of an event; the next event is the transition's target.
        """
        return self.starts + self.lengths - 1 if self.only_newest else self.starts

    def events_of_rows(self) -> np.ndarray:
        """Returns the event that begins the transition of each row, int64 [num_rows], ascending."""
        if self.only_newest:
            return self.first_events()
        within = np.arange(self.num_rows) - np.repeat(self.first_rows, self.lengths)
        return np.repeat(self.starts, self.lengths) + within


class Placement(NamedTuple):
    """One worker's share of the windows.

    Where something is kept of a user's transitions a hash of the raw id decides the user's worker.
    Else the windows of each step are dealt out anew; see `num_shares`.

    Attributes:
        worker: Number of the worker.
        num_workers: The number of workers.
        is_own: bool [W], whether each window is of this worker; None where any may be.
        first_rows: int64 [W], memory row of the window's first transition on this worker;
            without meaning for windows of others.
        num_rows: Rows of this worker's memory.
        share: The largest share of all windows that a worker has, in (0, 1].
    """

    worker: int
    num_workers: int
    is_own: np.ndarray | None
    first_rows: np.ndarray
    num_rows: int
    share: float

    def num_shares(self, num_replicas: int) -> int:
        """Returns among how many replicas the windows are dealt out that this worker may train.

        Args:
            num_replicas: Replicas of this worker.
        """
        return num_replicas * (self.num_workers if self.is_own is None else 1)

    def rows_a_replica(self, batch_size: int, num_replicas: int) -> int:
        """Returns the largest number of rows of a global batch that one local replica can get.

        A worker's windows in a batch of B are hypergeometric around B times its share. Room for
        the mean and eight standard deviations is passed in fewer than one batch of 10**14, which
        is then an error and no loss of windows.

        Args:
            batch_size: B, windows a step over all workers.
            num_replicas: Replicas of this worker.
        """
        mean = batch_size * self.share
        most = batch_size if self.is_own is None else int(np.ceil(mean + 8 * np.sqrt(mean)))
        return -(-min(most, batch_size) // self.num_shares(num_replicas))


class RowOwners:
    """The worker that holds each memory row, for any number of workers.

    Args:
        user_ids: object(str) [U], raw ids.
        users_of_rows: int32 [num_rows], internal user of each row; a user's rows stand together.
            Or a function that returns it, which avoids these 4 bytes a row until `rows_of`.
    """

    def __init__(
        self, user_ids: np.ndarray, users_of_rows: np.ndarray | Callable[[], np.ndarray]
    ) -> None:
        self._user_ids = user_ids
        self._users_of_rows = users_of_rows

    def rows_of(self, worker: int, num_workers: int) -> np.ndarray:
        """Returns the memory rows that a worker holds, int64 [n], ascending."""
        owners, users = owners_of(self._user_ids, num_workers), self._users_of_rows
        users = users() if callable(users) else users
        return np.flatnonzero(owners[users] == worker)


def place(
    users: np.ndarray,
    first_rows: np.ndarray,
    users_of_rows: np.ndarray,
    user_ids: np.ndarray,
    *,
    worker: int = 0,
    num_workers: int = 1,
    is_bound: bool = True,
) -> Placement:
    """Returns a worker's share of the windows.

    Args:
        users: int32 [W], internal user of each window.
        first_rows: int64 [W], row of each window's first transition where one worker has all.
        users_of_rows: int32 [num_rows], internal user of each row.
        user_ids: object(str) [U], raw ids.
        worker: 0..num_workers - 1.
        num_workers: The number of workers that share the users.
        is_bound: False if nothing is kept of a transition from one visit to the next, so that any
            worker may train it.
    """
    if num_workers == 1 or not is_bound:
        return Placement(worker, num_workers, None, first_rows, len(users_of_rows), 1.0)
    owners = owners_of(user_ids, num_workers)
    is_own_row = owners[users_of_rows] == worker
    # How many of the worker's rows lie before each row.
    rank = np.cumsum(is_own_row) - is_own_row
    window_owners = owners[users]
    counts = np.bincount(window_owners, minlength=num_workers)
    return Placement(
        worker=worker,
        num_workers=num_workers,
        is_own=window_owners == worker,
        first_rows=rank[first_rows].astype(np.int64),
        num_rows=int(is_own_row.sum()),
        share=float(counts.max() / len(users)),
    )


def make_samples(split: Split, *, max_length: int, windows: str = "last") -> Samples:
    """Cuts the train events of each user into windows.

    Args:
        split: The split whose train events are cut into windows.
        max_length: L, transitions a window holds at most.
        windows: `last`, the newest window of each user (the authors': older transitions are
            never trained); `all`, every transition once an epoch, in windows that end at the
            newest event and do not overlap; or `prefixes`, every transition once an epoch, as the
            last of a window of its own.
    """
    offsets = split.interactions.offsets
    transitions = np.maximum(split.train_ends - offsets[:-1] - 1, 0)
    if windows == "prefixes":
        return _prefixes(offsets[:-1], transitions, max_length)
    if windows == "last":
        counts = (transitions > 0).astype(np.int64)
    else:
        counts = -(-transitions // max_length)
    users = np.repeat(np.arange(len(counts)), counts)
    # Number of the window counted from the newest, which is 0.
    back = (np.cumsum(counts) - 1).repeat(counts) - np.arange(len(users))
    ends = transitions[users] - back * max_length
    begins = np.maximum(ends - max_length, 0)
    lengths = ends - begins
    first_rows = np.concatenate([[0], np.cumsum(lengths)])
    return Samples(
        users=users.astype(np.int32),
        starts=(offsets[users] + begins).astype(np.int64),
        lengths=lengths.astype(np.int32),
        first_positions=begins.astype(np.int32),
        first_rows=first_rows[:-1].astype(np.int64),
        num_rows=int(first_rows[-1]),
        only_newest=False,
    )


def _prefixes(offsets: np.ndarray, transitions: np.ndarray, max_length: int) -> Samples:
    """Returns one window for each transition of each user.

    Rows are those of `all`: the interactions that begin a transition, one after the other.
    """
    rows = np.arange(transitions.sum())
    users = np.repeat(np.arange(len(transitions)), transitions)
    user_rows = (np.cumsum(transitions) - transitions)[users]
    ends = rows - user_rows + 1
    begins = np.maximum(ends - max_length, 0)
    return Samples(
        users=users.astype(np.int32),
        starts=(offsets[users] + begins).astype(np.int64),
        lengths=(ends - begins).astype(np.int32),
        first_positions=begins.astype(np.int32),
        first_rows=(user_rows + begins).astype(np.int64),
        num_rows=len(rows),
        only_newest=True,
    )
