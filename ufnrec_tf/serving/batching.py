"""Joins waiting requests into one call of the model.

If a call takes only milliseconds, the event loop's own thread makes it, one in a turn of the loop:
to pass it on to another thread costs more. Requests that are read in the same turn, or in the next
ones while each brings more, share it. Such turns take microseconds. Other calls are made by a
thread: requests that come in meanwhile wait, and as many as fit together go into its next call. It
never waits for more of them.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np

from ufnrec_tf.recommend.scoring import padded
from ufnrec_tf.serving.counters import ServerMetrics
from ufnrec_tf.serving.limits import Limits, Refusal
from ufnrec_tf.serving.models import LoadedModel
from ufnrec_tf.serving.rest import RequestInputs
from ufnrec_tf.serving.signatures import Signature

Outputs = dict[str, np.ndarray]

# Ids of a history and items of an answer that a quick call may have.
_MOST_QUICK_IDS = 256
_MOST_QUICK_ITEMS = 100


class _Job(NamedTuple):
    """A waiting request: the call that it asks for, and the future of its answer."""

    model: LoadedModel
    signature: Signature
    inputs: RequestInputs
    answer: asyncio.Future[Outputs]
    loop: asyncio.AbstractEventLoop

    def fits(self, other: _Job) -> bool:
        """Returns True if both can be answered by one call."""
        return (
            self.model is other.model
            and self.signature.name == other.signature.name
            and self.inputs.numbers == other.inputs.numbers
        )

    @property
    def width(self) -> int:
        """Number of ids of its longest row."""
        return max(len(row) for rows in self.inputs.rows.values() for row in rows)

    @property
    def is_quick(self) -> bool:
        """True if the event loop may wait for its answer."""
        return (
            self.inputs.num_rows <= self.model.quick_rows
            and self.width <= _MOST_QUICK_IDS
            and dict(self.inputs.numbers).get("k", 0) <= _MOST_QUICK_ITEMS
        )


class Batcher:
    """Calls models, in the thread of the event loop if that is quick, else in a thread of its own.

    Args:
        limits: Bounds of a call and of the time that a request waits.
        metrics: Counts calls.
    """

    def __init__(self, limits: Limits, metrics: ServerMetrics) -> None:
        self._limits = limits
        self._metrics = metrics
        self._quick_jobs: deque[_Job] = deque()  # only the event loop's thread looks at them
        self._jobs: deque[_Job] = deque()
        self._changed = threading.Condition()
        self._is_closed = False
        self._thread = threading.Thread(target=self._work, name="batcher", daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """True while the thread that calls the model runs."""
        return self._thread.is_alive()

    async def call(
        self, model: LoadedModel, signature: Signature, inputs: RequestInputs
    ) -> Outputs:
        """Returns the model's outputs for a request.

        Raises:
            Refusal: If it took too long, or the model could not answer.
        """
        loop = asyncio.get_running_loop()
        job = _Job(model, signature, inputs, loop.create_future(), loop)
        if job.is_quick:
            self._quick_jobs.append(job)
            if len(self._quick_jobs) == 1:
                loop.call_soon(self._call_quick, loop, 0)
        else:
            with self._changed:
                self._jobs.append(job)
                self._changed.notify()
        # Not `wait_for`, which takes a tenth of the time of a request.
        timer = loop.call_later(self._limits.timeout_seconds, self._give_up, job)
        try:
            return await job.answer
        finally:
            timer.cancel()

    def _give_up(self, job: _Job) -> None:
        """Refuses a request that has waited too long."""
        refusal = Refusal(
            503,
            f"not answered within {self._limits.timeout_seconds:g} s, the server is busy. "
            "Try again.",
            retry_after=1,
        )
        _deliver([(job, refusal)])

    def _call_quick(self, loop: asyncio.AbstractEventLoop, num_known: int) -> None:
        """Makes one call for quick jobs; the next is made in a later turn of the event loop.

        Others have their turn between two calls: health checks, signals, requests to be read.

        Args:
            loop: The event loop.
            num_known: Quick jobs that were there one turn before. More may be coming.
        """
        jobs = deque(job for job in self._quick_jobs if not job.answer.done())  # broken off, late
        self._quick_jobs = jobs
        is_growing = num_known < len(jobs) < self._limits.max_batch
        if jobs and not is_growing:
            taken, jobs = self._fitting(jobs)
            self._quick_jobs = jobs
            _deliver([*zip(taken, self._answers_or_errors(taken), strict=True)])
        if jobs:
            loop.call_soon(self._call_quick, loop, len(jobs))

    def close(self) -> None:
        """Answers the requests that wait and ends the thread."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        while jobs := self._next_jobs():
            pairs = list(zip(jobs, self._answers_or_errors(jobs), strict=True))
            for loop in {job.loop for job in jobs}:
                own = [pair for pair in pairs if pair[0].loop is loop]
                with suppress(RuntimeError):  # the loop has ended, and with it the requests
                    loop.call_soon_threadsafe(_deliver, own)

    def _next_jobs(self) -> list[_Job]:
        """Waits, then returns the oldest request and those that fit it; [] once closed."""
        with self._changed:
            while True:
                while self._jobs and self._jobs[0].answer.done():  # broken off, or late
                    self._jobs.popleft()
                if self._jobs:
                    break
                if self._is_closed:
                    return []
                self._changed.wait()
            taken, self._jobs = self._fitting(self._jobs)
        return taken

    def _fitting(self, jobs: deque[_Job]) -> tuple[list[_Job], deque[_Job]]:
        """Returns the oldest of waiting requests and those that fit it, and the others."""
        first = jobs.popleft()
        most = self._most_rows(first)
        taken, left = [first], deque[_Job]()
        count, widest = first.inputs.num_rows, first.width
        for job in jobs:
            rows, width = job.inputs.num_rows, max(widest, job.width)
            num_rows = count + rows
            is_small = num_rows <= most and num_rows * width <= self._limits.max_padded_ids
            if is_small and first.fits(job) and not job.answer.done():
                taken.append(job)
                count, widest = num_rows, width
            else:
                left.append(job)
        return taken, left

    def _most_rows(self, job: _Job) -> int:
        """Returns the number of histories that one call may hold."""
        most = min(self._limits.max_batch, job.model.max_rows)
        return min(most, job.model.quick_rows) if job.is_quick else most

    def _answers_or_errors(self, jobs: list[_Job]) -> Sequence[Outputs | Exception]:
        """Returns the outputs of each job, or what the call raised."""
        try:
            return self._answers(jobs)
        except Exception as error:  # a refusal, or a bug: raised in each of the requests
            return [error] * len(jobs)

    def _answers(self, jobs: list[_Job]) -> list[Outputs]:
        """Returns the outputs of each job; the jobs fit together."""
        first = jobs[0]
        rows = {
            name: padded([row for job in jobs for row in job.inputs.rows[name]], b"")
            for name in first.inputs.rows
        }
        num_rows = len(next(iter(rows.values())))
        self._metrics.batch_requests.observe(len(jobs))
        chunks = []
        step = self._most_rows(first)
        for begin in range(0, num_rows, step):
            inputs: dict[str, Any] = {
                name: values[begin : begin + step] for name, values in rows.items()
            }
            self._metrics.batch_rows.observe(min(step, num_rows - begin))
            chunks.append(first.signature.call(inputs | dict(first.inputs.numbers)))
        whole = chunks[0]
        if len(chunks) > 1:
            whole = {name: np.concatenate([chunk[name] for chunk in chunks]) for name in whole}
        ends = np.cumsum([job.inputs.num_rows for job in jobs])
        return [
            {name: values[end - job.inputs.num_rows : end] for name, values in whole.items()}
            for job, end in zip(jobs, ends, strict=True)
        ]


def _deliver(pairs: list[tuple[_Job, Outputs | Exception]]) -> None:
    """Sets the answers, in the thread of the loop that waits for them."""
    for job, answer in pairs:
        if job.answer.done():
            continue
        if isinstance(answer, Exception):
            job.answer.set_exception(answer)
        else:
            job.answer.set_result(answer)
