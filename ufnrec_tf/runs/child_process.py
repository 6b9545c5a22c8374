"""Runs the command line in a child process: output to a file, signals passed on once."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import ufnrec_tf
from ufnrec_tf.common.files import write_error
from ufnrec_tf.runs.state import Interrupted

POLL_SECONDS = 0.2
_INSTALLED = "import sys; from ufnrec_tf.cli.start import run; sys.exit(run())"
"""The program of an installed package, which has no main.py beside it."""


class Ended(NamedTuple):
    """The exit code of a child process and its last line.

    Attributes:
        exit_code: Its exit code, negative for a signal's number.
        last_words: The last line it wrote.
        seconds: Wall time that it took.
    """

    exit_code: int
    last_words: str
    seconds: float


def run_child(
    arguments: list[str],
    log_path: Path,
    *,
    show: Callable[[str], None] | None = None,
    is_enough: Callable[[], bool] | None = None,
) -> Ended:
    """Runs the command line in a child process and waits for it.

    Ctrl-C and termination are handed on once and the child is waited for: it writes its
    checkpoint. A second one is handed on, too, and ends it at once.

    Args:
        arguments: The flags.
        log_path: The file to which its output is appended.
        show: Called now and then with the last line it has written.
        is_enough: Asked now and then whether to end it, as by a termination signal.

    Raises:
        Interrupted: After such a signal, once the child has ended.
        UserError: If the log cannot be written.
    """
    started = time.monotonic()
    signals = _Signals()
    before = {n: signal.signal(n, signals) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        with log_path.open("ab") as log, _start(arguments, log) as child:
            signals.belong_to(child)
            _wait(child, log_path, show, is_enough)
    except OSError as error:
        raise write_error(log_path, error) from error
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if signals.received:
        raise Interrupted(128 + signals.received[0], 0)
    return Ended(child.returncode, last_line(log_path), time.monotonic() - started)


class _Signals:
    """Signal handler that passes each signal on to the child, also those from before its start."""

    def __init__(self) -> None:
        self.received: list[int] = []
        self._child: subprocess.Popen[bytes] | None = None

    def __call__(self, number: int, frame: Any = None) -> None:
        self.received.append(number)
        if self._child is not None:
            self._child.send_signal(number)

    def belong_to(self, child: "subprocess.Popen[bytes]") -> None:
        """Passes signals on to this child from now on."""
        self._child = child
        for number in list(self.received):
            child.send_signal(number)


def _start(arguments: list[str], log: Any) -> subprocess.Popen[bytes]:
    root = Path(ufnrec_tf.__file__).resolve().parents[1]
    script = root / "main.py"
    program = [str(script)] if script.is_file() else ["-c", _INSTALLED]
    path = os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH", "")]))
    return subprocess.Popen(
        [sys.executable, *program, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        env={**os.environ, "PYTHONPATH": path},
        # A group of its own: the terminal's Ctrl-C would reach it a second time.
        process_group=0,
    )


def _wait(
    child: subprocess.Popen[bytes],
    log_path: Path,
    show: Callable[[str], None] | None,
    is_enough: Callable[[], bool] | None,
) -> None:
    is_told = False
    while True:
        try:
            child.wait(POLL_SECONDS)
            return
        except subprocess.TimeoutExpired:
            if show is not None:
                show(last_line(log_path))
            if not is_told and is_enough is not None and is_enough():
                is_told = True  # once: a second signal would end it before its checkpoint
                child.terminate()


def last_line(path: Path) -> str:
    """Returns the last line of a file that is not blank, or an empty string."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 4096))
        lines = file.read().decode("utf-8", "replace").splitlines()
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
