"""Which users one of several workers evaluates, and how their results come together."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np


def _alone(values: np.ndarray) -> np.ndarray:
    return values


class Share(NamedTuple):
    """What a worker evaluates; by default everything.

    Attributes:
        is_own: bool [U], the users that it ranks, each user one worker's; None for all.
        add_up: Sums an array over workers; all of them call it together.
    """

    is_own: np.ndarray | None = None
    add_up: Callable[[np.ndarray], np.ndarray] = _alone

    def places(self, users: np.ndarray) -> np.ndarray:
        """Returns where in int32 [M] `users` the worker's own are, int64, ascending.

        A user with several targets stands there for each; all of them are one worker's.

        Raises:
            ValueError: If a user is nobody's, or more than one worker's.
        """
        if self.is_own is None:
            return np.arange(len(users))
        own = np.flatnonzero(self.is_own[users])
        if (self.add_up(np.bincount(own, minlength=len(users))) != 1).any():
            raise ValueError("`is_own` must give each user to exactly one worker.")
        return own

    def whole(self, values: np.ndarray, own: np.ndarray, num_rows: int) -> np.ndarray:
        """Returns the values of all rows, [M, ...], from this worker's, [len(own), ...].

        Args:
            values: Numbers or truth values, of rows `own` in this order.
            own: int64, see `places`.
            num_rows: M.
        """
        if self.is_own is None:
            return values
        whole = np.zeros((num_rows, *values.shape[1:]), values.dtype)
        whole[own] = values
        return self.add_up(whole)
