"""UserError, the one-line error for bad input; Terminated, raised on SIGTERM."""

import importlib
import re
import signal
from typing import Any

from ufnrec_tf.common.text import plain

_BEGINNING, _END = 1500, 700
"""Characters of an error that are shown, where it quotes a file at length."""


def _cut(line: str) -> str:
    """Returns the line cut in its middle: its start says what is wrong, its end what mends it."""
    is_short = len(line) <= _BEGINNING + _END
    return line if is_short else f"{line[:_BEGINNING]} [...] {line[-_END:]}"


class UserError(Exception):
    """Bad input, in one line: what is wrong, where, what was expected, how to mend it.

    Raised for files, settings and work directories; `main.py` prints the message without a
    traceback and exits with `exit_code`. A bug is never a `UserError`.
    """

    def __init__(self, message: str, *, exit_code: int = 1) -> None:
        super().__init__(_cut(plain(" ".join(message.split()))))
        self.exit_code = exit_code

    def _render_traceback_(self) -> list[str]:
        """Returns the lines that IPython shows: a notebook too gets the message alone."""
        return [f"{type(self).__name__}: {self}"]


def own_words(error: BaseException) -> str:
    """Returns the message of a library's or the system's error on one line, cleaned."""
    text = str(getattr(error, "strerror", None) or error)
    line = (text.strip().splitlines() or [type(error).__name__])[0]
    if "{{" in line or "[Op:" in line:
        # TensorFlow's, as in "{{node x}} FILE; No space left on device [Op:SaveV2]".
        line = re.sub(r"\{\{.*?\}\}|\[Op:.*?\]", "", line).strip().rsplit("; ", 1)[-1]
    return line.rstrip(".")


def import_extra(name: str, *, extra: str, needed_by: str) -> Any:
    """Returns an imported package of an optional extra.

    Args:
        name: The package.
        extra: The extra of ufnrec-tf that installs it.
        needed_by: The flag or setting that needs it, for the message.

    Raises:
        UserError: If it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(
            f"{needed_by} needs the package {name} ({own_words(error)}). "
            f"Install it from the folder of ufnrec-tf: pip install '.[{extra}]'."
        ) from error


class Terminated(BaseException):
    """Raised on SIGTERM, as `KeyboardInterrupt` is on Ctrl-C.

    Like that one it may carry the line that the command line shows instead of its own.
    """


def end_at_once(number: int, frame: object = None) -> None:
    """Signal handler that raises Terminated; the same signal again ends the process.

    Raises:
        KeyboardInterrupt: For Ctrl-C.
        Terminated: For any other signal.
    """
    signal.signal(number, signal.SIG_DFL)
    raise KeyboardInterrupt if number == signal.SIGINT else Terminated
