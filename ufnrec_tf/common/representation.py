"""What an object of the Python API shows of itself: text at a prompt, HTML in a notebook."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from html import escape
from io import StringIO

from rich.console import Console

from ufnrec_tf.common.display import Display

_COLUMNS = 100


class Shown(ABC):
    """Base of objects that show themselves on a display, whichever it is."""

    @abstractmethod
    def _show(self, display: Display) -> None:
        """Shows the object, on one screen.

        Args:
            display: Speaks Python.
        """

    def __repr__(self) -> str:
        display, text = Display(in_python=True), StringIO()
        display.console = Console(
            file=text,
            force_terminal=True,
            force_jupyter=False,
            color_system=None,
            width=_COLUMNS,
            emoji=False,
            highlight=False,
            soft_wrap=True,
        )
        self._show(display)
        return "\n".join(line.rstrip() for line in text.getvalue().strip("\n").split("\n"))

    def _repr_html_(self) -> str:
        display = _HtmlDisplay()
        self._show(display)
        return display.html()


class _HtmlDisplay(Display):
    """A display whose lines and tables become HTML."""

    def __init__(self) -> None:
        super().__init__(in_python=True)
        self._parts: list[str] = []
        self._lines: list[str] = []

    def line(self, text: str = "", *, wraps: bool = True) -> None:
        self._lines.append(escape(self._shown_text(text)))

    def heading(self, text: str) -> None:
        self._end_lines()
        self._parts.append(f"<p><strong>{escape(self._shown_text(text))}</strong></p>")

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]], **layout: int) -> None:
        self._end_lines()
        head, *body = (
            "".join(
                f'<{tag} style="text-align: {"right" if place else "left"}">'
                f"{escape(self._shown_text(cell).strip())}</{tag}>"
                for place, cell in enumerate(row)
            )
            for tag, row in (("th", columns), *(("td", row) for row in rows))
        )
        lines = "".join(f"<tr>{row}</tr>" for row in body)
        self._parts.append(f"<table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table>")

    def html(self) -> str:
        """Returns what was shown."""
        self._end_lines()
        return f"<div>{''.join(self._parts)}</div>"

    def _end_lines(self) -> None:
        if text := "\n".join(self._lines).strip("\n"):
            style = "white-space: pre-wrap; word-break: normal"
            self._parts.append(f'<pre style="{style}">{text}</pre>')
        self._lines = []
