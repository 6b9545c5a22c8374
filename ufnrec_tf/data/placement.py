"""Which worker trains which windows, and where the memory of that worker has their rows."""

from typing import NamedTuple

import numpy as np

from ufnrec_tf.data.user_hash import owners_of


class Placement(NamedTuple):
    """One worker's share of the windows; users belong to workers by a hash of their raw ids.

    Attributes:
        worker: Number of the worker.
        num_workers: How many there are.
        is_own: bool [W], whether each window is of this worker; None where all are.
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

    def rows_a_replica(self, batch_size: int, num_replicas: int) -> int:
        """Returns how many rows of a global batch a local replica must have room for.

        A worker's windows in a batch of B are hypergeometric around B times its share. Room for
        the mean and eight standard deviations is passed in fewer than one batch of 10**14, which
        is then an error and no loss of windows.

        Args:
            batch_size: B, windows a step over all workers.
            num_replicas: Replicas of this worker.
        """
        mean = batch_size * self.share
        most = batch_size if self.is_own is None else int(np.ceil(mean + 8 * np.sqrt(mean)))
        return -(-min(most, batch_size) // num_replicas)


class RowOwners:
    """Which worker holds each row of the memory, for any number of workers.

    Args:
        user_ids: object(str) [U], raw ids.
        users_of_rows: int32 [num_rows], internal user of each row; a user's rows stand together.
    """

    def __init__(self, user_ids: np.ndarray, users_of_rows: np.ndarray) -> None:
        self._user_ids = user_ids
        self._users_of_rows = users_of_rows

    def rows_of(self, worker: int, num_workers: int) -> np.ndarray:
        """Returns the rows that a worker holds, in its memory's order: int64 [n], ascending."""
        owners = owners_of(self._user_ids, num_workers)
        return np.flatnonzero(owners[self._users_of_rows] == worker)


def place(
    users: np.ndarray,
    first_rows: np.ndarray,
    users_of_rows: np.ndarray,
    user_ids: np.ndarray,
    *,
    worker: int = 0,
    num_workers: int = 1,
) -> Placement:
    """Returns the share of a worker.

    Args:
        users: int32 [W], internal user of each window.
        first_rows: int64 [W], row of each window's first transition where one worker has all.
        users_of_rows: int32 [num_rows], internal user of each row.
        user_ids: object(str) [U], raw ids.
        worker: 0..num_workers - 1.
        num_workers: How many share the users.
    """
    if num_workers == 1:
        return Placement(0, 1, None, first_rows, len(users_of_rows), 1.0)
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
