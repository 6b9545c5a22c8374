"""The state of a worker's steps: sums, the gate's opening, the first loss that is not finite."""

import numpy as np
import tensorflow as tf

from ufnrec_tf.common.distribution import ALONE, Workers, local_replica

SUM_NAMES = (
    "steps",
    "users",
    "positions",
    "negatives",
    "loss",
    "ranking",
    "consistency",
    "l2",
    "shown",
    "flips",
    "removals",
    "hard",
    "teacher_users",
)
"""The columns of `StepState.sums`."""

TOTALS = ["users", "positions", "negatives", "shown", "hard", "flips", "removals", "teacher_users"]
"""The sums that a run adds up from its first step to its last."""

NEVER = 2**62
"""Value of `StepState.active_since` while the gate is shut."""


class StepState:
    """Plain variables of a worker, which its replicas read and add to.

    Make it outside the strategy's scope, on the worker's host, like the memory.

    Attributes:
        active_since: int64 [], the number of steps done when the gate opened, or `NEVER`.
        sums: float64 [R, len(SUM_NAMES)], each local replica's sums over the steps since they
            were last cleared; one row each, so that the order in which they add does not matter.
        first_bad_step: int64 [], number from 0 of the first step whose loss was not finite.

    Args:
        num_replicas: R, replicas of this worker.
        workers: The workers that train together.
    """

    def __init__(self, *, num_replicas: int = 1, workers: Workers = ALONE) -> None:
        self._workers = workers
        self.active_since = tf.Variable(NEVER, dtype=tf.int64, trainable=False)
        sums = tf.zeros([num_replicas, len(SUM_NAMES)], tf.float64)
        self.sums = tf.Variable(sums, trainable=False)
        self.first_bad_step = tf.Variable(NEVER, dtype=tf.int64, trainable=False)

    @property
    def variables(self) -> dict[str, tf.Variable]:
        """Name to variable: those that are equal on all workers."""
        return {"active_since": self.active_since}

    @property
    def is_active(self) -> bool:
        """True if the gate is open."""
        return int(self.active_since) != NEVER

    def open_gate(self, num_steps: int) -> None:
        """Opens the gate after `num_steps` steps, before the next one."""
        self.active_since.assign(num_steps)

    def add(self, values: dict[str, tf.Tensor]) -> None:
        """Adds a replica's values of a step, one for each of `SUM_NAMES`."""
        row = tf.stack([tf.cast(values[name], tf.float64) for name in SUM_NAMES])
        self.sums.scatter_nd_add(tf.reshape(local_replica(), [1, 1]), row[None])

    def note_bad_step(self, loss: tf.Tensor, step: tf.Tensor) -> None:
        """Notes int64 [] `step`, from 0, if its loss is the first that is not finite."""
        bad = tf.where(tf.math.is_finite(loss), tf.constant(NEVER, tf.int64), step)
        self.first_bad_step.assign(tf.minimum(self.first_bad_step, bad))

    def read_sums(self, *, clear: bool = False) -> dict[str, float]:
        """Returns this worker's sums by name; `clear` then sets them to zero."""
        sums = self.sums.numpy().sum(axis=0)
        if clear:
            self.sums.assign(tf.zeros_like(self.sums))
        return dict(zip(SUM_NAMES, sums.tolist(), strict=True))

    def read_all_sums(self, *, clear: bool = False) -> dict[str, float]:
        """Returns the sums over all workers by name; all of them call it together."""
        own = self.read_sums(clear=clear)
        total = self._workers.sum(np.array(list(own.values())))
        return dict(zip(SUM_NAMES, total.tolist(), strict=True))
