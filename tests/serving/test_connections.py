"""The bounds of the server's connections, on a small application without a model."""

import select
import socket
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from types import SimpleNamespace
from typing import NamedTuple

import pytest

from tests.helpers.http_client import Client, wait_until
from ufnrec_tf.serving import connections as module
from ufnrec_tf.serving.connections import BoundedServer, Connections, most_connections
from ufnrec_tf.serving.counters import ServerMetrics
from ufnrec_tf.serving.guard import Guard
from ufnrec_tf.serving.limits import Limits, Refusal

MOST, SECONDS = 6, 0.3
HEAD = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n"
LONG = b"x" * (8 << 20)


async def application(scope, receive, send):
    """Answers at once, at length, after the body, or never reads it."""
    if scope["path"] == "/refused":
        raise Refusal(413, "too long")
    if scope["path"] == "/slow":
        while (await receive()).get("more_body"):
            pass
    body = LONG if scope["path"] == "/long" else b"ok"
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class Running(NamedTuple):
    port: int
    connections: Connections
    lines: list[str]

    def open(self, text=b""):
        raw = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        raw.sendall(text)
        return raw

    def is_well(self):
        return Client(self.port).ask("/healthz").status == 200


@contextmanager
def serve():
    lines: list[str] = []
    held = Connections(most=MOST, timeout_seconds=SECONDS, log_line=lines.append)
    guard = Guard(
        application,
        limits=Limits(),
        metrics=ServerMetrics(),
        hosts=frozenset({"127.0.0.1"}),
        log_line=lines.append,
    )
    server = BoundedServer(
        guard, held, log_config=None, log_level="critical", ws="none", lifespan="off"
    )
    with socket.create_server(("127.0.0.1", 0)) as bound:
        thread = threading.Thread(target=server.run, args=([bound],))
        thread.start()
        try:
            wait_until(lambda: server.started)
            yield Running(bound.getsockname()[1], held, lines)
        finally:
            server.should_exit = True
            thread.join(30)
            assert not thread.is_alive()


@pytest.fixture(scope="module")
def server():
    with serve() as running:
        yield running


@pytest.fixture
def running(server, monkeypatch):
    """The server, without a line written in the last minute."""
    monkeypatch.setattr(module, "_SECONDS_BETWEEN_LINES", 0.0)
    server.lines.clear()
    return server


def read_all(raw):
    """Returns all that comes until the other side closes."""
    found = b""
    with suppress(ConnectionResetError):
        while part := raw.recv(1 << 20):
            found += part
    return found


@pytest.mark.parametrize("sent", [b"", HEAD[:9], HEAD, HEAD + b"\r\n"], ids=len)
def test_the_one_that_is_idle_for_longest_makes_place(running, sent):
    """Whether it has sent nothing, part of its headers, or a request that is answered."""
    with ExitStack() as stack:
        held = [stack.enter_context(running.open(sent)) for _ in range(MOST)]
        wait_until(lambda: len(running.connections) == MOST)
        assert running.is_well()
        read_all(held[0])
        assert len(running.connections) <= MOST
    assert running.lines[0].startswith("connections cut: 1, as they were idle while more than 6")


def test_one_that_is_answered_is_not_cut(running):
    body = b"POST /slow HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 2\r\n\r\na"
    with ExitStack() as stack:
        busy = stack.enter_context(running.open(body))
        assert running.is_well()  # so that its headers are read by now
        for _ in range(3 * MOST):
            stack.enter_context(running.open())
        assert running.is_well()
        busy.sendall(b"b")
        assert busy.recv(99).startswith(b"HTTP/1.1 200 ")


def test_headers_that_come_byte_by_byte_are_cut_in_time(running):
    with running.open() as raw:
        begin = time.monotonic()
        for byte in HEAD * 99:
            raw.sendall(bytes([byte]))
            if select.select([raw], [], [], 0.02)[0]:
                break
        answer = read_all(raw)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert answer.endswith(b'{"error":"the headers did not come within 0.3 s."}')
    assert time.monotonic() - begin >= SECONDS


def test_a_later_request_of_a_connection_must_come_in_time_too(running):
    with running.open(HEAD + b"\r\n") as raw:
        answers = raw.recv(1)
        raw.sendall(HEAD)
        answers += read_all(raw)
    assert answers.startswith(b"HTTP/1.1 200 ")
    assert b"okHTTP/1.1 408 " in answers


@pytest.mark.parametrize(
    "sent", [HEAD + b"X-Long: " + LONG[: 1 << 20], 999 * (HEAD + b"\r\n")], ids=["head", "many"]
)
def test_what_one_connection_may_make_us_hold_is_bounded(running, sent):
    """Headers without end, and requests that wait for the answer to the first."""
    with running.open() as raw:
        with suppress(BrokenPipeError, ConnectionResetError):
            raw.sendall(sent)
        assert read_all(raw).count(b"HTTP/1.1 200 ") < 100
    assert running.is_well()


def test_one_that_sends_nothing_is_closed_without_a_word(running):
    with running.open() as raw:
        assert raw.recv(1) == b""
    assert not running.lines


@pytest.mark.parametrize("requests", [1, 2])
def test_an_answer_that_nobody_reads_is_given_up(running, requests):
    request = b"GET /long HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    with running.open(request * requests):
        wait_until(lambda: len(running.connections) == 1)
        wait_until(lambda: len(running.connections) == 0)
    assert len(running.lines) == 1


def test_an_answer_that_is_read_slowly_is_not_cut(running):
    length = 0
    with running.open(b"GET /long HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n") as raw:
        while part := raw.recv(1 << 19):
            length += len(part)
            time.sleep(0.05)
    assert length > len(LONG)
    assert not running.lines


@pytest.mark.parametrize("path", [b"/refused", b"/none", b"/healthz"])
def test_a_body_without_end_is_not_read_to_its_end(running, path):
    head = b"POST %b HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n" % path
    chunk = b"10000\r\n" + b"a" * 0x10000 + b"\r\n"
    sent = 0
    with running.open(head) as raw, pytest.raises((BrokenPipeError, ConnectionResetError)):
        answer = raw.recv(999)
        while sent < 64 << 20:
            raw.sendall(chunk)
            sent += len(chunk)
    status = b"413" if path == b"/refused" else b"200"
    assert answer.startswith(b"HTTP/1.1 %b " % status)
    assert b"connection: close" in answer


def test_an_answer_before_the_end_of_a_body_arrives(running):
    """However much of the body is on its way; a connection that is reset would lose it."""
    body = b"a" * (1 << 20)
    for _ in range(5):
        with running.open(b"POST /refused HTTP/1.1\r\nHost: 127.0.0.1\r\n") as raw:
            raw.sendall(b"Content-Length: %d\r\n\r\n" % len(body) + body)
            assert read_all(raw).startswith(b"HTTP/1.1 413 ")


def test_lines_are_a_minute_apart(monkeypatch):
    lines: list[str] = []
    held = Connections(most=1, timeout_seconds=1, log_line=lines.append)
    for _ in range(3000):
        held.note_cut()
    assert len(lines) == 1
    # Only the module's clock: by `time.monotonic` the loop of the server above sets its timers.
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: 1e9))
    held.note_cut()
    assert [line.split(",")[0] for line in lines] == ["connections cut: 1", "connections cut: 3"]


@pytest.mark.parametrize(("limit", "most"), [(1024, 800), (512, 288), (64, 16), (-1, 800)])
def test_connections_stay_below_the_limit_of_open_files(limit, most, monkeypatch):
    monkeypatch.setattr(module.resource, "getrlimit", lambda kind: (limit, -1))
    assert most_connections() == most
