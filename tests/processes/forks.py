"""Processes forked from one that has imported TensorFlow, which saves each of them seconds.

python -m tests.processes.forks is that process: it reads requests and answers them, by lines.

A fork differs from a process of its own in one thing: all forks hash strings alike. Where two
processes must agree, `subprocess` starts them.
"""

import atexit
import functools
import gc
import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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
def _server() -> subprocess.Popen[str]:
    """Starts the process that forks, once for this one."""
    pipe = subprocess.PIPE
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.processes.forks"],
        stdin=pipe,
        stdout=pipe,
        text=True,
        cwd=ROOT,
        env=environment(),
    )
    atexit.register(server.communicate)  # closes its stdin, on which it ends
    return server


def _ask(request: dict[str, Any]) -> Any:
    """Sends a request to the process that forks; returns the answer."""
    server = _server()
    assert server.stdin is not None and server.stdout is not None
    server.stdin.write(json.dumps(request) + "\n")
    server.stdin.flush()
    return json.loads(server.stdout.readline())


def serve() -> dict[str, Any]:
    """Answers requests to the end of stdin.

    Returns:
        In a fork: the request to carry out. The process that forks does not return.
    """
    for line in sys.stdin:
        request = json.loads(line)
        if "pid" in request:
            pid, status = os.waitpid(request["pid"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if pid else None
        else:
            answer = os.fork()
            if answer == 0:
                return request
        print(json.dumps(answer), flush=True)
    sys.exit()


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
    carry_out(serve())
