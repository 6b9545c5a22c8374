"""Filters and the unit of times for a log that is read once, from its beginning."""

import numpy as np

from ufnrec_tf.data.event_batches import EventBatch
from ufnrec_tf.data.filters import (
    Filters,
    Window,
    refuse_no_rating,
    refuse_nothing_left,
    window_of,
)
from ufnrec_tf.data.reading import FilterStep
from ufnrec_tf.data.times import DATES, TimeUnit, tell_unit
from ufnrec_tf.errors import UserError


class StreamedFilters:
    """What `filters.apply_filters` does by rating and date, a batch at a time.

    The unit of times is told by the first batch; that it is the unit of all is known at the end.

    Args:
        filters: The filters; those by numbers of events are not looked at.
        time_unit: See `times.tell_unit`.
        source: What to call the log.

    Attributes:
        unit: Of the times, once the first batch was taken; None where there are none.
    """

    def __init__(self, filters: Filters, *, time_unit: str, source: str) -> None:
        self._filters = filters
        self._time_unit = time_unit
        self._source = source
        self.unit: TimeUnit | None = None
        self._window: Window | None = None
        self._is_begun = False
        self._low, self._high = np.inf, -np.inf
        self._words: list[tuple[str, str]] = []
        self._counts: list[int] = []

    def kept(self, batch: EventBatch, *, are_dates: bool) -> EventBatch:
        """Returns what is left of a batch, times in seconds where these are told.

        Args:
            batch: The next events, times as the file has them.
            are_dates: Whether these are seconds already.

        Raises:
            UserError: If a filter needs a column that is not there.
        """
        if batch.times is not None and len(batch.times):
            self._low = min(self._low, float(batch.times.min()))
            self._high = max(self._high, float(batch.times.max()))
        if not self._is_begun:
            self._begin(batch, are_dates)
        if self.unit is not None and self.unit.per_second != 1 and batch.times is not None:
            batch = batch._replace(times=batch.times / self.unit.per_second)
        for place, (name, _) in enumerate(self._words):
            self._counts[place] += len(batch.items)
            if name == "window" and self._window is not None and batch.times is not None:
                batch = batch.kept(self._window.holds(batch.times))
            elif batch.ratings is not None:
                batch = batch.kept(batch.ratings >= self._filters.min_rating)
        self._counts[-1] += len(batch.items)
        return batch

    def _begin(self, batch: EventBatch, are_dates: bool) -> None:
        self._is_begun = True
        has_times = batch.times is not None
        if has_times:
            told = tell_unit(self._low, self._high, asked=self._time_unit)
            self.unit = DATES if are_dates else told
        is_epoch = self.unit is not None and self.unit.is_epoch
        self._window = window_of(
            self._filters, has_times=has_times, is_epoch=is_epoch, source=self._source
        )
        if self._filters.min_rating:
            if batch.ratings is None:
                raise refuse_no_rating(self._source)
            words = f"rating of at least {self._filters.min_rating:g}"
            self._words.append(("min_rating", words))
        if self._window is not None:
            self._words.append(("window", self._window.words))
        self._counts = [0] * (len(self._words) + 1)

    def check_end(self) -> None:
        """Checks what is known once all batches were taken.

        Raises:
            UserError: If nothing is left, or the times are in another unit than they seemed to be.
        """
        for place, (_, words) in enumerate(self._words):
            if not self._counts[place + 1]:
                raise refuse_nothing_left(self._source, words, self._counts[place])
        if self.unit is None or self.unit == DATES:
            return
        told = tell_unit(self._low, self._high, asked=self._time_unit)
        if told.per_second != self.unit.per_second or (
            self._window is not None and told.is_epoch != self.unit.is_epoch
        ):
            raise UserError(
                f"{self._source}: its times seemed to be {self.unit.words}, but they run from "
                f"{self._low:.15g} to {self._high:.15g}: expected one unit; say which with "
                "--config.data.time_unit=s|ms|us|ns, or mend the file."
            )
        self.unit = told

    def steps(self) -> tuple[FilterStep, ...]:
        """Returns what was done, in numbers of events."""
        return tuple(
            FilterStep(
                name, words, {"events": self._counts[place]}, {"events": self._counts[place + 1]}
            )
            for place, (name, words) in enumerate(self._words)
        )
