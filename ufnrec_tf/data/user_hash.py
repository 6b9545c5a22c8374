"""Where a user belongs: a hash of the raw id that stays the same on every machine and run."""

import numpy as np
from pandas.util import hash_array

_KEY = "ufnrec-tf users."
"""Sixteen bytes, as SipHash takes them. Another key would move every user."""


def hash_users(user_ids: np.ndarray) -> np.ndarray:
    """Returns a stable hash of each raw user id, uint64 [U].

    SipHash of the id's UTF-8 bytes, so that it depends on nothing else: not on other users, the
    order of the log, the number of workers or the process.

    Args:
        user_ids: object(str) [U].
    """
    return hash_array(np.asarray(user_ids, dtype=object), hash_key=_KEY, categorize=False)


def owners_of(user_ids: np.ndarray, num_workers: int) -> np.ndarray:
    """Returns the worker, 0..num_workers - 1, that each user is trained and evaluated on.

    Args:
        user_ids: object(str) [U], raw ids.
        num_workers: At least 1.

    Returns:
        int32 [U].
    """
    if num_workers == 1:
        return np.zeros(len(user_ids), np.int32)
    return (hash_users(user_ids) % np.uint64(num_workers)).astype(np.int32)
