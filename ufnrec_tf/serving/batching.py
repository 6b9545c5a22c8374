"""Joins waiting requests into one call of the model.

One thread calls the model. Requests that come in meanwhile wait, and as many as fit together go
into the next call. A request never waits for others to join it, so a single client loses no time.
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
from ufnrec_tf.serving.models import LoadedModel, Signature
from ufnrec_tf.serving.rest import RequestInputs

Outputs = dict[str, np.ndarray]


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


class Batcher:
    """Calls models in a thread of its own.

    Args:
        limits: Bounds of a call and of the time that a request waits.
        metrics: Counts calls.
    """

    def __init__(self, limits: Limits, metrics: ServerMetrics) -> None:
        self._limits = limits
        self._metrics = metrics
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
        with self._changed:
            self._jobs.append(job)
            self._changed.notify()
        try:
            return await asyncio.wait_for(job.answer, self._limits.timeout_seconds)
        except TimeoutError:
            raise Refusal(
                503,
                f"not answered within {self._limits.timeout_seconds:g} s, the server is busy. "
                "Try again.",
                retry_after=1,
            ) from None

    def close(self) -> None:
        """Answers the requests that wait and ends the thread."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        while jobs := self._next_jobs():
            try:
                answers: Sequence[Outputs | Exception] = self._answers(jobs)
            except Exception as error:  # a bug: raised in the requests; the thread continues
                answers = [error] * len(jobs)
            for loop in {job.loop for job in jobs}:
                pairs = [
                    (job.answer, answer)
                    for job, answer in zip(jobs, answers, strict=True)
                    if job.loop is loop
                ]
                with suppress(RuntimeError):  # the loop has ended, and with it the requests
                    loop.call_soon_threadsafe(_deliver, pairs)

    def _next_jobs(self) -> list[_Job]:
        """Waits, then returns the oldest request and those that fit it; [] once closed."""
        with self._changed:
            while True:
                while self._jobs and self._jobs[0].answer.cancelled():
                    self._jobs.popleft()
                if self._jobs:
                    break
                if self._is_closed:
                    return []
                self._changed.wait()
            first = self._jobs.popleft()
            most = self._most_rows(first)
            taken, left = [first], deque[_Job]()
            count, widest = first.inputs.num_rows, first.width
            for job in self._jobs:
                rows, width = job.inputs.num_rows, max(widest, job.width)
                num_rows = count + rows
                is_small = num_rows <= most and num_rows * width <= self._limits.max_padded_ids
                if is_small and first.fits(job) and not job.answer.cancelled():
                    taken.append(job)
                    count, widest = num_rows, width
                else:
                    left.append(job)
            self._jobs = left
        return taken

    def _most_rows(self, job: _Job) -> int:
        """Returns the number of histories that one call may hold."""
        return min(self._limits.max_batch, job.model.max_rows)

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


def _deliver(pairs: list[tuple[asyncio.Future[Outputs], Outputs | Exception]]) -> None:
    """Sets the answers, in the thread of the loop that waits for them."""
    for future, answer in pairs:
        if future.done():
            continue
        if isinstance(answer, Exception):
            future.set_exception(answer)
        else:
            future.set_result(answer)
