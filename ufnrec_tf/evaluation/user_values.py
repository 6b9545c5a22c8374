"""A metric as one value a user, from the ranks of the user's targets."""

from collections.abc import Sequence

import numpy as np

from ufnrec_tf.evaluation.metrics import ChosenMetrics


def target_values(
    ranks: np.ndarray, metrics: Sequence[str], chosen: ChosenMetrics | None = None
) -> np.ndarray:
    """Returns float64 [M, metrics], the value of each metric for each target's rank.

    Args:
        ranks: int64 [M].
        metrics: Their names.
        chosen: Where they are defined; None for those of the library.
    """
    chosen = chosen or ChosenMetrics()
    return np.stack([chosen.values(name, ranks) for name in metrics], axis=1)


def first_targets(users: np.ndarray) -> np.ndarray:
    """Returns the index of each user's first target, int64 [U]; a user's targets are adjacent."""
    return np.flatnonzero(np.r_[True, users[1:] != users[:-1]]) if len(users) else np.zeros(0, int)


def user_means(values: np.ndarray, users: np.ndarray) -> np.ndarray:
    """Returns float64 [U, C], each user's mean over the targets of values [M, C].

    Users are resampled, never targets, which of one user are no independent draws.
    """
    starts = first_targets(users)
    counts = np.diff(np.r_[starts, len(users)])
    return np.add.reduceat(values, starts, axis=0) / counts[:, None]
