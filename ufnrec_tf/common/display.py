"""The screen: headings, lines, tables and one progress bar."""

import sys
import time
from collections.abc import Sequence

from rich.console import Console
from rich.padding import Padding
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

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
            text: The line; how far it is indented, so are those that follow.
            wraps: False for what is to be copied, such as a command.
        """
        text = self._shown_text(text)
        if not wraps or not self.console.is_terminal:
            self.console.print(text, markup=False)
            return
        indent = len(text) - len(text.lstrip())
        padded = Padding(Text(text.lstrip()), (0, 0, 0, indent), expand=False)
        self.console.print(padded, soft_wrap=False)

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

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Prints a table whose first column is text and whose others are numbers."""
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 2))
        for place, column in enumerate(columns):
            table.add_column(column, justify="right" if place else "left", no_wrap=True)
        for row in rows:
            table.add_row(*(Text(plain(cell)) for cell in row))
        self.console.print(table, soft_wrap=False)


_bars: list["ProgressBar"] = []


def running_bar() -> "ProgressBar | None":
    """Returns the newest bar that is still open, or None."""
    return _bars[-1] if _bars else None


class ProgressBar:
    """One bar for a whole training run, or plain lines if the output is no terminal.

    Args:
        display: The screen.
        label: The name of the work.
        total: Steps in all.
        done: Steps done already.
    """

    def __init__(self, display: Display, *, label: str, total: int, done: int) -> None:
        self._display = display = display.notes
        self._label = label
        self._total = total
        self._first = done
        self._begin: float | None = None
        self._printed = time.monotonic()
        self._bar: Progress | None = None
        self._task = TaskID(0)
        if display.console.is_terminal and not display.is_quiet:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                TextColumn("{task.percentage:>3.0f}% {task.fields[text]}"),
                TimeRemainingColumn(compact=True, elapsed_when_finished=True),
                console=display.console,
            )
            self._task = self._bar.add_task(label, total=total, completed=done, text="")
            self._bar.start()
        _bars.append(self)

    @property
    def is_moving(self) -> bool:
        """True if this is a bar on a terminal, False if it prints lines."""
        return self._bar is not None

    def say(self, text: str) -> None:
        """Shows a status text beside the bar until the next update, on a terminal."""
        if self._bar is not None:
            self._bar.update(self._task, text=text)

    def update(self, done: int, text: str) -> None:
        """Shows the progress of the run.

        Args:
            done: Steps done.
            text: Loss, metric, throughput.
        """
        now = time.monotonic()
        if self._begin is None:  # from here on: compiling took longer than the later steps will
            self._begin, self._first = now, done
        if self._bar is not None:
            self._bar.update(self._task, completed=done, text=text)
            return
        if now - self._printed < LINE_SECONDS:
            return
        self._printed = now
        left = ""
        if done > self._first:
            share = (now - self._begin) / (done - self._first)
            left = f", {share * (self._total - done):.0f} s left"
        percent = 100 * done // max(self._total, 1)
        self._display.line(f"  {self._label}: {percent}% {text}{left}")

    def close(self, done: int, *, is_over: bool = False) -> None:
        """Closes the bar, filled up if the run is over, even if it ended early."""
        if self in _bars:
            _bars.remove(self)
        if self._bar is not None:
            total = done if is_over else self._total
            self._bar.update(self._task, total=total, completed=done)
            self._bar.stop()
            self._bar = None
