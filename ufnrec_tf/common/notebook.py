"""A line of a notebook's output that overwrites itself, without widgets."""

import sys
from typing import Any


def in_notebook() -> bool:
    """True if a notebook's kernel runs this process: IPython in a terminal is none."""
    python = sys.modules.get("IPython")
    shell = python.get_ipython() if python is not None else None
    return hasattr(shell, "kernel")


class UpdatedLine:
    """A line of output that each call replaces; for `in_notebook` only."""

    def __init__(self) -> None:
        self._handle: Any = None

    def show(self, text: str) -> None:
        """Shows a text in place of the one before."""
        from IPython.display import display

        content = {"text/plain": text}
        if self._handle is None:
            self._handle = display(content, raw=True, display_id=True)
        else:
            self._handle.update(content, raw=True)
