"""A run's progress, the schedule of its events, and its stopwatch."""

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ufnrec_tf.common.distribution import ALONE, Workers

WARM_UP_STEPS = 10
"""Steps left out of the timing: tracing and first touches."""

TRAIN_TIMES = ("train_seconds", "train_cpu_seconds", "train_users", "train_positions")
"""What a `Stopwatch` adds up."""


class Interrupted(Exception):
    """Raised when a run was asked to stop and has written its checkpoint.

    Attributes:
        exit_code: 130 for Ctrl-C, 143 for a termination signal.
    """

    def __init__(self, exit_code: int, step: int) -> None:
        super().__init__(f"stopped at step {step}")
        self.exit_code = exit_code
        self.step = step

    def _render_traceback_(self) -> list[str]:
        """Returns the lines that IPython shows where a notebook's cell is interrupted."""
        return [f"{type(self).__name__}: {self}"]


@dataclass
class Progress:
    """The plain JSON values that a checkpoint keeps beside the variables.

    Attributes:
        step: Steps done.
        epoch: Epochs completed.
        best: Best validation metric, None before the first evaluation.
        best_step: Step of the best metric.
        best_epoch: Epoch of the best metric.
        best_weights: The weights of the best metric, `student` or `teacher`.
        better_weights: Of student and teacher those with the better last validation metric.
        num_without: Evaluations since the best one, or since the gate opened.
        gate_epoch: Epochs completed when the gate opened, None while it is shut.
        gate_state: The gate's own state.
        epoch_loss: Sum of the loss over the steps of an epoch that max_steps cut short.
        stopped_early: True if training ended before its last epoch.
        totals: Sums over the run: flips, removals, shown and others.
        timing: Seconds and counts, as `timing` in result.json holds them.
        warm_start: What was taken over from an older run before the first step.
    """

    step: int = 0
    epoch: int = 0
    best: float | None = None
    best_step: int = 0
    best_epoch: int = 0
    best_weights: str = "student"
    better_weights: str = "student"
    num_without: int = 0
    gate_epoch: int | None = None
    gate_state: dict[str, Any] = field(default_factory=dict)
    epoch_loss: float = 0.0
    stopped_early: bool = False
    totals: dict[str, float] = field(default_factory=dict)
    timing: dict[str, float] = field(default_factory=dict)
    warm_start: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class LoopSettings:
    """The times at which a run evaluates, saves and stops; each field is a configuration key.

    Attributes:
        steps_per_epoch: Steps of an epoch.
        max_steps: Steps at most, 0 for no limit.
        monitor: Validation metric that selects; empty for the last weights.
        patience: Evaluations without a better one before stopping, 0 for never.
        floor: Best value of the metric below which the patience does not begin.
        every: Epochs between evaluations on validation.
        test_every: Epochs between evaluations on test, 0 for none before the end.
        weights: `auto`, `student`, `teacher` or `better`.
        checkpoint_seconds: Time between two checkpoints, 0 for none by time.
        checkpoint_steps: Steps between two checkpoints, 0 for none by steps.
        selects_on: The evaluator that selects, and the name of its lines and curves.
    """

    steps_per_epoch: int
    max_steps: int
    monitor: str
    patience: int
    floor: float
    every: int
    test_every: int
    weights: str
    checkpoint_seconds: float
    checkpoint_steps: int = 0
    selects_on: str = "validation"

    @property
    def may_stop_early(self) -> bool:
        """True if training may end before its last epoch."""
        return bool(self.monitor and self.patience)


class Stopwatch:
    """Measures training steps only: wall seconds, and CPU seconds of all threads of all workers.

    Args:
        timing: The sums to which the seconds are added.
        workers: The workers that train together; all stop their watches at the same step.
    """

    def __init__(self, timing: dict[str, float], workers: Workers = ALONE) -> None:
        self._timing = timing
        self._workers = workers
        self._marks: tuple[float, float] | None = None

    def start(self) -> None:
        """Starts the clock."""
        self._marks = time.perf_counter(), time.process_time()

    def stop(self, users: float, positions: float) -> None:
        """Adds the time since `start` and the users and positives trained in it."""
        if self._marks is None:
            return
        wall, cpu = time.perf_counter() - self._marks[0], time.process_time() - self._marks[1]
        summed = self._workers.sum(np.array([cpu, users, positions])).tolist()
        for name, value in zip(TRAIN_TIMES, (wall, *summed), strict=True):
            self._timing[name] = self._timing.get(name, 0.0) + value
        self._marks = None

    @property
    def seconds(self) -> float:
        """Wall seconds since `start`, or 0 if the clock is stopped."""
        return time.perf_counter() - self._marks[0] if self._marks else 0.0

    @property
    def is_running(self) -> bool:
        """True between `start` and `stop`."""
        return self._marks is not None
