"""The screen: headings, lines, tables and one progress bar."""

import re
import sys
import time
from collections import deque
from collections.abc import Sequence

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Table
from rich.text import Text

from ufnrec_tf.common.notebook import UpdatedLine, in_notebook
from ufnrec_tf.common.python_terms import in_python
from ufnrec_tf.common.text import plain

FILE_WIDTH = 10_000
LINE_SECONDS = 15.0
"""Seconds between progress lines where the output is no terminal."""


_is_quiet = False


def set_quiet(is_quiet: bool) -> None:
    """Sets whether new displays show only results (`--quiet`)."""
    global _is_quiet
    _is_quiet = is_quiet


class Display:
    """Prints to the screen. Colour and a moving bar appear only on a terminal.

    Whatever a text holds, ids and titles of other people among it, is one line: see `text.plain`.
    Results are shown by `line`, `heading`, `block` and `table`, also under `--quiet`; what is
    said on the way there by `notes`, a display that then shows nothing, and by `ProgressBar`.

    Args:
        is_shown: False for a worker whose chief does the printing.
        in_python: True if a Python program called, not the command line: lines and headings then
            name arguments and settings instead of flags.

    Attributes:
        is_shown: False for a display that prints nothing.
        in_python: As given.
        is_quiet: True if only results are shown.
    """

    def __init__(self, *, is_shown: bool = True, in_python: bool = False) -> None:
        self.is_shown, self.is_quiet, self.in_python = is_shown, _is_quiet, in_python
        is_terminal = sys.stdout.isatty()
        # No emoji: an item called :star: is shown as it is. Colours are forced on or off, since
        # variables such as FORCE_COLOR would put them into a file, which also has no edge.
        self.console = Console(
            file=sys.stdout,
            force_terminal=is_terminal,
            force_jupyter=False,  # there each line would be a block of its own, cut at the edge
            width=None if is_terminal else FILE_WIDTH,
            highlight=False,
            emoji=False,
            soft_wrap=True,
            quiet=not is_shown,
        )

    @property
    def notes(self) -> "Display":
        """The display for everything but results. It prints nothing under `--quiet`."""
        return Display(is_shown=False) if self.is_quiet else self

    def line(self, text: str = "", *, wraps: bool = True) -> None:
        """Prints a line, broken between words if the terminal is too narrow.

        Args:
            text: The line; those that follow begin where its text does, behind a label (a word and
                two spaces or more) if it has one.
            wraps: False for what is to be copied, such as a command.
        """
        text = self._shown_text(text)
        if not wraps or not self.console.is_terminal:
            self.console.print(text, markup=False)
            return
        start = len(text) - len(re.sub(r"^ *(\w+ {2,})?", "", text))
        room = max(self.console.width - start, 1)
        for number, line in enumerate(Text(text[start:]).wrap(self.console, room)):
            line.rstrip()  # of the space where it was broken
            self.console.print(Text(" " * start if number else text[:start]) + line)

    def heading(self, text: str) -> None:
        """Prints a heading, after an empty line; on a terminal it is broken between words."""
        self.console.print()
        shown = Text(self._shown_text(text), style="bold")
        self.console.print(shown, soft_wrap=not self.console.is_terminal)

    def _shown_text(self, text: str) -> str:
        return plain(in_python(text) if self.in_python else text)

    def block(self, lines: Sequence[str], *, wraps: bool = True) -> None:
        """Prints lines, indented; see `line`."""
        for line in lines:
            self.line(f"  {line}", wraps=wraps)

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]], *, gap: int = 4) -> None:
        """Prints a table whose first column is text and whose others are numbers.

        Args:
            columns: The heads.
            rows: The cells of each row.
            gap: Characters between two columns.
        """
        table = Table(box=None, pad_edge=False, padding=(0, gap - gap // 2, 0, gap // 2))
        for place, column in enumerate(columns):
            table.add_column(column, justify="right" if place else "left", no_wrap=True)
        for row in rows:
            table.add_row(*(Text(self._shown_text(cell)) for cell in row))
        self.console.print(table, soft_wrap=False)


_bars: list["ProgressBar"] = []


def running_bar() -> "ProgressBar | None":
    """Returns the newest bar that is still open, or None."""
    return _bars[-1] if _bars else None


LABEL_WIDTH, BAR_WIDTH, LEAST_BAR_WIDTH = 24, 24, 6
"""Characters of a bar's label, at most, and of the bar itself."""
NOTEBOOK_WIDTH = 100


class ProgressBar:
    """One bar for a whole training run, or plain lines if the output is a file.

    On a terminal and in a notebook it is one line that overwrites itself and is never longer than
    the line has room for. The time left is by the later half of the steps of this process: the
    first ones compile.

    Args:
        display: The screen.
        label: The name of the work.
        total: Steps in all.
        done: Steps done already.
        may_end_early: True if the work may end before its last step: the time left is the longest.
        num_slow: First steps that are left out of the rate, such as those that compile.
    """

    def __init__(
        self,
        display: Display,
        *,
        label: str,
        total: int,
        done: int,
        may_end_early: bool = False,
        num_slow: int = 0,
    ) -> None:
        self._display = display = display.notes
        self._label = label
        self._total = total
        self._done = done
        self._at_most = "at most " if may_end_early else ""
        self._made = time.monotonic()
        self._after_slow = done + num_slow
        self._first: int | None = None
        self._marks: deque[tuple[int, float]] = deque()
        self._seconds_left_out = 0.0
        self._printed = self._made
        self._bar: Progress | None = None
        self._line: UpdatedLine | None = None
        self._task = TaskID(0)
        self._texts: list[str] = []
        is_moving = display.is_shown and not display.is_quiet
        if is_moving and display.console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=BAR_WIDTH),
                TextColumn("{task.fields[text]}", markup=False),
                console=display.console,
            )
            shown = label if len(label) <= LABEL_WIDTH else f"{label[: LABEL_WIDTH - 1]}…"
            self._task = self._bar.add_task(shown, total=total, completed=done, text="")
            self._bar.start()
        elif is_moving and in_notebook():
            self._line = UpdatedLine()
        _bars.append(self)

    @property
    def is_moving(self) -> bool:
        """True if this is a bar that overwrites itself, False if it prints lines."""
        return self._bar is not None or self._line is not None

    def say(self, text: str) -> None:
        """Shows a status text beside the bar until the next update, where the bar moves."""
        self._show([self._percent(self._done), text])

    def update(self, done: int, text: str) -> None:
        """Shows the progress of the run.

        Args:
            done: Steps done.
            text: Loss, metric, throughput, with commas between them, the most important first.
        """
        now = time.monotonic()
        self._done = done
        left = self._seconds_left(now)
        if self.is_moving:
            time_left = [] if left is None else [f"time left {_clock(left)}"]
            if time_left and self._at_most:
                time_left = [f"{self._at_most}{_clock(left or 0)} left"]
            self._texts = text.split(", ")
            self._show([self._percent(done), *time_left, *self._texts])
            return
        if now - self._printed < LINE_SECONDS:
            return
        self._printed = now
        seconds = "" if left is None else f", {self._at_most}{left:.0f} s left"
        self._display.line(f"  {self._label}: {self._percent(done).strip()} {text}{seconds}")

    def leave_out(self, seconds: float) -> None:
        """Takes a time that will not come again, such as that of compiling, out of the rate."""
        self._seconds_left_out += seconds

    def _seconds_left(self, now: float) -> float | None:
        """Returns the time of the steps to come, by the later half of those done; None at first."""
        now -= self._seconds_left_out
        if self._done < self._after_slow:
            return None
        if self._first is None:  # from here on: compiling took longer than the later steps will
            self._first = self._done
        middle = (self._first + self._done) / 2
        self._marks.append((self._done, now))
        while len(self._marks) > 1 and self._marks[1][0] <= middle:
            self._marks.popleft()
        done, begin = self._marks[0]
        if self._done <= done:
            return None
        return (now - begin) / (self._done - done) * max(self._total - self._done, 0)

    def _percent(self, done: int) -> str:
        return f"{min(100 * done // max(self._total, 1), 100):3}%"

    def _show(self, parts: Sequence[str]) -> None:
        """Shows the bar with as many of the parts, in their order, as its line has room for."""
        if self._bar is not None:
            label = min(len(self._label), LABEL_WIDTH)
            room = self._display.console.width - label - 2
            text = _fitting(parts, room - LEAST_BAR_WIDTH)
            column = self._bar.columns[1]
            if isinstance(column, BarColumn):
                column.bar_width = max(min(BAR_WIDTH, room - len(text)), LEAST_BAR_WIDTH)
            self._bar.update(self._task, completed=self._done, text=text)
        elif self._line is not None:
            filled = min(BAR_WIDTH * self._done // max(self._total, 1), BAR_WIDTH)
            bar = "█" * filled + "░" * (BAR_WIDTH - filled)
            start = f"{self._label} {bar} "
            self._line.show(plain(start + _fitting(parts, NOTEBOOK_WIDTH - len(start))))

    def close(self, done: int, *, is_over: bool = False) -> None:
        """Closes the bar, filled up if the run is over, even if it ended early."""
        if self in _bars:
            _bars.remove(self)
        self._done = done
        if is_over:
            self._total = done
        took = [f"took {_clock(time.monotonic() - self._made)}"] if is_over else []
        self._show([self._percent(done), *took, *self._texts])
        if self._bar is not None:
            self._bar.update(self._task, total=self._total)
            self._bar.stop()
        self._bar = self._line = None


def _fitting(parts: Sequence[str], room: int) -> str:
    """Returns the first parts, with commas but after the percentage, that are not too long."""
    text = ""
    for place, part in enumerate(parts):
        longer = part if not place else f"{text}{' ' if place == 1 else ', '}{part}"
        if len(longer) > room:
            break
        text = longer
    return text


def _clock(seconds: float) -> str:
    """Returns a duration as 0:26 or 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
