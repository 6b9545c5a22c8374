"""What a process is busy with, said by whoever does it; `PhaseWatcher` shows what takes long.

Saying so costs a few microseconds and shows nothing by itself, so that a library call is silent.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Phase:
    """One piece of work.

    Attributes:
        label: What is done, as in "ranking on test".
        total: Units in all; 0 where that is not known.
        unit: What is counted, in the plural.
        done: Units done.
        begin: `time.monotonic()` of its start.
        is_over: Whether it has ended before its block has.
    """

    def __init__(self, label: str, total: int = 0, unit: str = "") -> None:
        self.label, self.total, self.unit = label, total, unit
        self.done = 0
        self.begin = time.monotonic()
        self.is_over = False

    def advance(self, count: int = 1) -> None:
        """Counts units that are done."""
        self.done += count

    def end(self) -> None:
        """Says that it has ended, before its block does."""
        self.is_over = True

    def text(self) -> str:
        """Returns how far it is: share, rate and time left, or else the time that has passed."""
        seconds = time.monotonic() - self.begin
        if not self.total or not self.done:
            return f"{self.label}: {seconds:.0f} s so far"
        rate = self.done / max(seconds, 1e-9)
        left = max(self.total - self.done, 0) / rate
        return (
            f"{self.label}: {100 * min(self.done, self.total) // self.total}%, "
            f"{rate:,.0f} {self.unit}/s, {left:.0f} s left"
        )


_running: list[Phase] = []
_are_hidden = False


def hide_phases() -> None:
    """Lets `current` tell of none from now on: of a worker whose chief does the printing."""
    global _are_hidden
    _are_hidden = True


@contextmanager
def phase(label: str, total: int = 0, unit: str = "") -> Iterator[Phase]:
    """Says what the block, or the function that this decorates, does.

    Args:
        label: See `Phase`.
        total: Units in all, 0 where that is not known.
        unit: What is counted.
    """
    found = Phase(label, total, unit)
    _running.append(found)
    try:
        yield found
    finally:
        _running.remove(found)


def current() -> Phase | None:
    """Returns the innermost piece of work that is being done now."""
    if _are_hidden:
        return None
    return next((found for found in reversed(_running) if not found.is_over), None)
