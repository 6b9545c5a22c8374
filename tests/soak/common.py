"""What the soaks share: bytes damaged at random, bounds of time and memory, commands run here."""

import contextlib
import faulthandler
import io
import resource
import signal
import time
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.helpers.runs import run

JUNK = (
    *(b"\0", b"\xff\xfe", b'"', b"'", b"\n", b"\r", b"\t", b"::", b",", b"|", b"{", b"[", b"{}"),
    *(b"nan", b"inf", b"-1e999", b"9" * 400, b"\xe2\x80\xae", b"\\u0000", b"\\ud800", b"\x1b[2J"),
    *(b"1969-01-01", b"9999-12-31", b"0001-01-01", b"null", b"None", b"True", b"u", b"[" * 3000),
)


class Hang(BaseException):
    """A case took too long; no `Exception`, so that nothing takes it for a file's fault."""


def damaged(body, chance):
    """Returns the bytes with up to four of them turned, put in, cut out, doubled or replaced."""
    body = bytearray(body)
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(len(body) + 1)
        end = place + chance.randint(1, 40)
        kind = chance.randrange(5)
        if kind == 0 and place < len(body):
            body[place] ^= 1 << chance.randrange(8)
        elif kind == 1:
            body[place:place] = chance.choice(JUNK)
        elif kind == 2:
            del body[place:end]
        elif kind == 3:
            body[place:place] = body[chance.randrange(len(body) + 1) :][:80]
        else:
            body[place:end] = chance.choice(JUNK)
    return bytes(body)


@contextmanager
def at_most(seconds):
    """Raises `Hang` in what takes longer; what hears no signal ends the process after twice that.

    The second is for loops in compiled code, which Python cannot interrupt: it prints where.
    """

    def stop(number, frame):
        raise Hang(f"took more than {seconds} s")

    old = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    faulthandler.dump_traceback_later(2 * seconds, exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
        signal.alarm(0)
        signal.signal(signal.SIGALRM, old)


def resident_bytes(number="self"):
    """Returns what a process holds in memory.

    Args:
        number: Of the process.
    """
    fields = Path(f"/proc/{number}/statm").read_text(encoding="ascii").split()
    return int(fields[1]) * 4096


MOST_GROWTH = 64 << 20
"""Bytes that the process may hold more than after the first fifth of the time."""
MOST_PEAK = 200 << 20
"""Bytes that any case may take for a moment above the most of the first fifth."""


class Memory:
    """Watches the memory of this process, case by case.

    Attributes:
        growth: Bytes held more than after the first fifth of the time.
    """

    def __init__(self):
        self.growth = 0
        self._before = self._peak = 0

    def check(self, number, *, is_warm):
        """Asserts that a case did not take too much, once a fifth of the time is over."""
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
        if not self._before and is_warm:
            self._before, self._peak = resident_bytes(), most
        assert not self._peak or most < self._peak + MOST_PEAK, f"case {number}: {most:,} bytes"

    def check_end(self):
        """Asserts that the process has not grown."""
        self.growth = resident_bytes() - self._before
        assert self.growth < MOST_GROWTH, f"grown by {self.growth:,} bytes"


def until(minutes, memory):
    """Yields the numbers of cases until the time is over; checks the memory after each."""
    begin, number = time.monotonic(), 0
    while (passed := time.monotonic() - begin) < 60 * minutes:
        yield number
        memory.check(number, is_warm=passed > 12 * minutes)
        number += 1
    memory.check_end()


class Ended(NamedTuple):
    """A command that has ended.

    Attributes:
        code: Its exit code.
        errors: Its lines on stderr.
        lines: Its lines on stdout.
    """

    code: int
    errors: list[str]
    lines: list[str]


def call(*arguments):
    """Runs a command in this process."""
    with (
        contextlib.redirect_stdout(io.StringIO()) as out,
        contextlib.redirect_stderr(io.StringIO()) as err,
    ):
        code = run(*arguments)
    return Ended(code, err.getvalue().splitlines(), out.getvalue().splitlines())


def check_refused(ended, context):
    """Asserts that a command has refused in one line, and that the line is no bug's."""
    assert ended.code == 1, (context, ended)
    assert len(ended.errors) == 1, (context, ended)
    assert ended.errors[0].startswith("error: "), (context, ended)
    assert "internal error" not in ended.errors[0], (context, ended)


def served_port(process):
    """Returns the port of a server, from the line with which it begins to serve.

    On a busy machine lines about its start come before.
    """
    line = next(line for line in process.stdout if " serves at " in line)
    return int(line.rstrip("/\n").rpartition(":")[2])
