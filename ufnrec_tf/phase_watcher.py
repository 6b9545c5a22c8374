"""Shows on the screen what a process has been busy with for more than some seconds."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType

from ufnrec_tf.display import LINE_SECONDS, Display, running_bar
from ufnrec_tf.phases import Phase, current, phase

FIRST_SECONDS = 5.0
"""How long a piece of work may take before it is shown."""
LOOK_SECONDS = 0.5


class PhaseWatcher:
    """A thread that looks what is being done; a context manager.

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

    def __enter__(self) -> "PhaseWatcher":
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
        while not self._over.wait(LOOK_SECONDS):
            self.look(time.monotonic())

    def look(self, now: float) -> None:
        """Shows the present piece of work if it is time to.

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


@contextmanager
def busy(display: Display, label: str) -> Iterator[Callable[[str], None]]:
    """Shows that a process of its own is at work, and what it says: on a terminal at once.

    Args:
        display: The screen.
        label: What is at work.

    Returns:
        What takes the last line that it has written.
    """
    console = display.notes.console
    if console.is_terminal:
        with console.status(label) as status:
            yield lambda line: status.update(f"{label}: {line[:100]}")
        return
    with phase(label) as found:

        def tell(line: str) -> None:
            found.label = f"{label} [{line[:100]}]" if line else label

        yield tell
