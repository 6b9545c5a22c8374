"""A hash of raw user ids that is the same on every machine and in every run."""

import numpy as np
from pandas.util import hash_array

_KEY = "ufnrec-tf users."
"""Sixteen bytes, as SipHash takes them. Another key would move every user."""


def hash_users(user_ids: np.ndarray) -> np.ndarray:
    """Returns a stable hash of each raw user id, uint64 [U].

    SipHash of the id's UTF-8 bytes, mixed once more by pandas, so that it depends on nothing else:
    not on other users, the order of the log, the number of workers or the process.

    Args:
        user_ids: object(str) [U].
    """
    return hash_array(np.asarray(user_ids, dtype=object), hash_key=_KEY, categorize=False)


def user_shares(user_ids: np.ndarray, seed: int) -> np.ndarray:
    """Returns a stable number in [0, 1) for each raw user id, float64 [U], uniform over ids.

    It depends only on the id and the seed.

    Args:
        user_ids: object(str) [U].
        seed: 0..9,999,999,999; other seeds, other numbers.
    """
    # A key of its own, so that the draw does not depend on the worker that has the user.
    key = f"split {seed:010d}"
    ids = np.asarray(user_ids, dtype=object)
    hashed = hash_array(ids, hash_key=key, categorize=False)
    return (hashed >> np.uint64(11)) / 2.0**53


def owners_of(user_ids: np.ndarray, num_workers: int) -> np.ndarray:
    """Returns the worker 0..num_workers - 1 that trains and evaluates each user, int [U].

    Args:
        user_ids: object(str) [U], raw ids.
        num_workers: At least 1.

    Returns:
        int32 [U].
    """
    if num_workers == 1:
        return np.zeros(len(user_ids), np.int32)
    return (hash_users(user_ids) % np.uint64(num_workers)).astype(np.int32)
