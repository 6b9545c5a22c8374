"""A written page as a path that a notebook shows inline."""

from html import escape
from pathlib import PosixPath

_HEIGHT = 720
"""Pixels of the frame in a notebook; the page scrolls in it."""


class Page(PosixPath):
    """The path of a page, which a notebook shows."""

    def _repr_html_(self) -> str | None:
        """Returns the page in a frame of its own; None if it is no page, or has gone."""
        if self.suffix != ".html" or not self.is_file():
            return None
        text = escape(self.read_text(encoding="utf-8"))
        style = f"width: 100%; height: {_HEIGHT}px; border: 1px solid #ccc"
        return f'<p>{escape(str(self))}</p><iframe srcdoc="{text}" style="{style}"></iframe>'
