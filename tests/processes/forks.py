"""Processes forked from one that has imported TensorFlow, which saves each of them seconds.

python -m tests.processes.forks is that process: it reads requests from a socket and answers them,
by lines.

A fork differs from a process of its own in one thing: all forks hash strings alike. Where two
processes must agree, `subprocess` starts them.
"""

import fcntl
import functools
import gc
import json
import os
import runpy
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO, cast

from tests.helpers.runs import ROOT, environment


class Fork:
    """A process that runs a command of Python; used as `subprocess.Popen` is.

    Args:
        command: The interpreter, then `-m` and a module, or a file; then arguments.
        environ: All of its environment.
        cwd: Folder to run in.

    Attributes:
        pid: Its process id.
        returncode: Its exit code, or minus the signal that ended it; None before `poll` saw it end.
    """

    def __init__(self, command: list[str], environ: dict[str, str], cwd: Path) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._files = [Path(self._folder.name) / name for name in ("out", "err")]
        for file in self._files:
            file.touch()
        request = {
            "command": command[1:],
            "environment": environ,
            "cwd": str(cwd),
            "files": [str(file) for file in self._files],
        }
        self.pid: int = _ask(request)
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Returns the exit code, None while it runs."""
        if self.returncode is None:
            self.returncode = _ask({"pid": self.pid})
        return self.returncode

    def shown(self) -> str:
        """Returns what it has written to stdout so far."""
        return self._files[0].read_text(encoding="utf-8")

    def send_signal(self, number: int) -> None:
        """Sends a signal; does nothing once it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kills it."""
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout: float) -> tuple[str, str]:
        """Waits for its end; returns what it wrote to stdout and to stderr."""
        end = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > end:
                raise subprocess.TimeoutExpired("fork", timeout)
            time.sleep(0.02)
        out, err = (file.read_text(encoding="utf-8") for file in self._files)
        return out, err


@contextmanager
def forks(
    commands: list[list[str]], environments: list[dict[str, str]], cwd: Path = ROOT
) -> Iterator[list[Fork]]:
    """Starts forks, and ends all of them whatever happens."""
    started: list[Fork] = []
    try:
        for command, environ in zip(commands, environments, strict=True):
            started.append(Fork(command, environ, cwd))
        yield started
    finally:
        for fork in started:
            fork.kill()
            fork.communicate(timeout=60)


def run_module(module: str, *arguments: object, timeout: float = 600) -> str:
    """Runs a module to its end in a fork; returns its stdout.

    Raises:
        AssertionError: It ended with an exit code other than 0.
    """
    command = [sys.executable, "-m", module, *map(str, arguments)]
    with forks([command], [environment()]) as (fork,):
        out, err = fork.communicate(timeout)
        assert fork.returncode == 0, (out + err)[-4000:]
    return out


@functools.cache
def _connection() -> TextIO:
    """Connects to the process that forks, which all processes of pytest-xdist share.

    Whoever comes first starts it. It ends once none of them is connected any more.
    """
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid()))
    folder = Path(tempfile.gettempdir()) / f"forks-{run}"
    folder.mkdir(mode=0o700, exist_ok=True)
    address = str(folder / "socket")
    connection = socket.socket(socket.AF_UNIX)
    with socket.socket(socket.AF_UNIX) as listener, (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            connection.connect(address)
        except OSError:  # nobody listens: the first, or the first after it has ended
            Path(address).unlink(missing_ok=True)
            listener.bind(address)
            listener.listen()
            connection.connect(address)
            command = [sys.executable, "-m", "tests.processes.forks", str(listener.fileno())]
            subprocess.Popen(
                [*command, str(folder)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                cwd=ROOT,
                env=environment(),
                pass_fds=[listener.fileno()],
            )
    return connection.makefile("rw", encoding="utf-8")


def _ask(request: dict[str, Any]) -> Any:
    """Sends a request to the process that forks; returns the answer."""
    connection = _connection()
    connection.write(json.dumps(request) + "\n")
    connection.flush()
    return json.loads(connection.readline())


def serve(listener: socket.socket) -> dict[str, Any] | None:
    """Answers requests until nobody is connected any more.

    Returns:
        In a fork: the request to carry out. In the process that forks: None, at its end.
    """
    waiting = selectors.DefaultSelector()
    waiting.register(listener, selectors.EVENT_READ)
    while True:
        for key, _ in waiting.select():
            if key.fileobj is listener:
                connection, _ = listener.accept()
                stream = connection.makefile("rw", encoding="utf-8")
                waiting.register(connection, selectors.EVENT_READ, stream)
                continue
            stream = key.data
            line = stream.readline()
            if not line:
                waiting.unregister(key.fileobj)
                _close(key)
                if len(waiting.get_map()) == 1:
                    return None
                continue
            request = json.loads(line)
            if "pid" in request:
                pid, status = os.waitpid(request["pid"], os.WNOHANG)
                answer = os.waitstatus_to_exitcode(status) if pid else None
            else:
                answer = os.fork()
                if answer == 0:
                    for own in waiting.get_map().values():
                        _close(own)
                    waiting.close()
                    return request
            stream.write(json.dumps(answer) + "\n")
            stream.flush()


def _close(key: selectors.SelectorKey) -> None:
    """Closes a socket and the stream over it."""
    cast(socket.socket, key.fileobj).close()
    if key.data is not None:
        key.data.close()


def carry_out(request: dict[str, Any]) -> None:
    """Runs the command of a request in this process."""
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, file in enumerate(request["files"], start=1):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["cwd"])
    first, *rest = request["command"]
    if first == "-m":
        sys.argv = rest
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv = [first, *rest]
        runpy.run_path(first, run_name="__main__")


if __name__ == "__main__":
    from ufnrec_tf.common.tensorflow_setup import import_tensorflow

    import_tensorflow()
    import ufnrec_tf.training.train  # noqa: F401

    gc.freeze()
    number, folder = sys.argv[1:]
    request = serve(socket.socket(fileno=int(number)))
    if request is None:
        shutil.rmtree(folder)
    else:
        carry_out(request)
