"""stdout and stderr of the command line: closed ones, and those that cannot be written to."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from ufnrec_tf.common.errors import UserError, own_words


class ScreenError(UserError):
    """stdout cannot be written to: it is closed, or its disk is full."""


class _Screen:
    """A text stream that raises ScreenError in place of OSError, but for a closed pipe.

    Args:
        stream: The stream.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Writes text."""
        with _checked():
            return self._stream.write(text)

    def flush(self) -> None:
        """Writes what is held back."""
        with _checked():
            self._stream.flush()


@contextmanager
def _checked() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise ScreenError(
            f"stdout: could not be written to ({own_words(error)}). Free some space there, or send "
            "it elsewhere."
        ) from error


@contextmanager
def checked_screen() -> Iterator[None]:
    """Lets stdout report in one line that it cannot be written to; nothing is held back at the end.

    Raises:
        ScreenError: If it is closed or cannot be written to.
    """
    if sys.stderr is None:  # else the next file that is opened would stand in its place
        _close_gap(2)
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    if sys.stdout is None:
        _close_gap(1)
        raise ScreenError("stdout: is closed. Leave it open, or send it to /dev/null.")
    before = sys.stdout
    # Ignored: it passes on by name what else a text file has, which no type says.
    sys.stdout = _Screen(before)  # type: ignore[assignment]
    try:
        yield
        sys.stdout.flush()  # so that a closed pipe or a full disk is reported here
    finally:
        sys.stdout = before


def _close_gap(number: int) -> None:
    """Opens the null device as a closed descriptor, which no other file may become."""
    with suppress(OSError):
        null = os.open(os.devnull, os.O_RDWR)
        if null != number:
            os.dup2(null, number)
            os.close(null)


def drop_screen() -> None:
    """Drops what stdout holds back, which Python would try to write again at its end."""
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def complain(text: str) -> None:
    """Prints a line to stderr, if it can be written to."""
    with suppress(OSError):
        print(text, file=sys.stderr, flush=True)
