"""What the soaks share: bytes damaged at random, a limit of time for a case, a process's memory."""

import faulthandler
import signal
from contextlib import contextmanager
from pathlib import Path

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


def served_port(process):
    """Returns the port of a server, from the line with which it begins to serve.

    On a busy machine lines about its start come before.
    """
    line = next(line for line in process.stdout if " serves at " in line)
    return int(line.rstrip("/\n").rpartition(":")[2])
