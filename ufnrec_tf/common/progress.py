"""The piece of work that a process is doing, shown once it takes long."""

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType

from rich.markup import escape

from ufnrec_tf.common.display import LINE_SECONDS, Display, running_bar
from ufnrec_tf.common.errors import UserError

FIRST_SECONDS = 5.0
"""How long a piece of work may take before it is shown."""
LOOK_SECONDS = 0.5


class Phase:
    """One piece of work.

    Attributes:
        label: The name of the work, such as "ranking on test".
        total: Units in all; 0 where that is not known.
        unit: The counted unit, in the plural.
        done: Units done.
        begin: `time.monotonic()` of its start.
        is_over: True once it has ended before its block.
    """

    def __init__(self, label: str, total: int = 0, unit: str = "") -> None:
        self.label, self.total, self.unit = label, total, unit
        self.done = 0
        self.begin = time.monotonic()
        self.is_over = False

    def advance(self, count: int = 1) -> None:
        """Counts finished units."""
        self.done += count

    def end(self) -> None:
        """Marks the work as ended before its block ends."""
        self.is_over = True

    def text(self) -> str:
        """Returns the share done, the rate and the time left, or else the time spent so far."""
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
    """Hides all pieces of work from now on: on workers that do not print."""
    global _are_hidden
    _are_hidden = True


@contextmanager
def working_on(label: str, total: int = 0, unit: str = "") -> Iterator[Phase]:
    """Names the piece of work that the block, or the decorated function, does.

    Args:
        label: See `Phase`.
        total: Units in all, 0 where that is not known.
        unit: The counted unit, in the plural.
    """
    found = Phase(label, total, unit)
    _running.append(found)
    try:
        yield found
    finally:
        _running.remove(found)


def current() -> Phase | None:
    """Returns the innermost piece of work in progress, or None."""
    if _are_hidden:
        return None
    return next((found for found in reversed(_running) if not found.is_over), None)


class ProgressWatcher:
    """A thread that shows the piece of work in progress. A context manager.

    A line after five seconds and then every fifteen; where a bar moves, its text instead.

    Args:
        display: The screen.
    """

    def __init__(self, display: Display) -> None:
        self._display = display.notes
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True, name="phase watcher")
        self._shown: Phase | None = None
        self._shown_at = 0.0

    def __enter__(self) -> "ProgressWatcher":
        if self._display.is_shown:
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        if self._thread.is_alive():
            self._thread.join(timeout=2 * LOOK_SECONDS)

    def _watch(self) -> None:
        # What keeps a line from being written is reported by the work, which writes there too.
        with suppress(OSError, UserError):
            while not self._over.wait(LOOK_SECONDS):
                self.look(time.monotonic())

    def look(self, now: float) -> None:
        """Shows the piece of work in progress if it is due.

        Args:
            now: `time.monotonic()`.
        """
        found = current()
        if found is None or now - found.begin < FIRST_SECONDS:
            return
        bar = running_bar()
        if bar is not None and bar.is_moving:
            bar.say(found.text())
        elif found is not self._shown or now - self._shown_at >= LINE_SECONDS:
            self._shown, self._shown_at = found, now
            self._display.line(f"  {found.text()}")


_PHASE = re.compile(r"(?P<label>[^:]+): (?:(?P<percent>\d+%)|\d+ s so far)")


def phase_of(line: str) -> str:
    """Returns the piece of work, with the share done, that a progress line names; else empty.

    Progress lines are those of `Phase` and of `ProgressBar`.
    """
    found = _PHASE.match(line.strip())
    return " ".join(filter(None, found.groups())) if found else ""


@contextmanager
def busy(display: Display, label: str) -> Iterator[Callable[[str], None]]:
    """Shows the piece of work that a child process is at, on a terminal at once.

    Other lines of the process, and the numbers in its progress lines, stay in its log.

    Args:
        display: The screen.
        label: The name of the work.

    Returns:
        A function that takes the newest line of the process.
    """
    console = display.notes.console
    if console.is_terminal:
        with console.status(escape(label)) as status:

            def show_status(line: str) -> None:
                text = f"{label}: {phase_of(line)}"
                if phase_of(line) and len(text) + 2 <= console.width:  # the spinner takes two
                    status.update(escape(text))

            yield show_status
        return
    with working_on(label) as found:

        def show_line(line: str) -> None:
            if phase := phase_of(line):
                found.label = f"{label} [{phase[:100]}]"

        yield show_line
