"""The connections of the server: their number, and the time that a client may keep one waiting.

uvicorn bounds neither: it answers 503 to everybody while too many connections are open, and waits
for the end of a request's headers for as long as bytes come in. Nor does it bound their length.
"""

from __future__ import annotations

import asyncio
import resource
import socket
import time
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from ufnrec_tf.serving.rest import to_json

BACKLOG = 1024
"""Connections that the system holds until they are accepted."""
# Connections that the event loop accepts before it looks at those that it has accepted.
_ACCEPTED_AT_ONCE = 32
_MOST = 800
# Model files, the log, the listening socket; and connections that are accepted but not counted
# yet, or cut but not closed yet: a few times _ACCEPTED_AT_ONCE.
_RESERVED_DESCRIPTORS = 224
_FEWEST = 16
# Bytes of a request's headers, beside those that were read at once with their begin.
_MOST_HEAD_BYTES = 1 << 16
# Requests of one connection that wait for the answer to the one before.
_MOST_WAITING = 64
_MOST_JOINED_BYTES = 1 << 16
_SECONDS_BETWEEN_LINES = 60.0


def most_connections() -> int:
    """Returns the number of connections to hold at once: below the limit of open files."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return _MOST
    return max(_FEWEST, min(_MOST, limit - _RESERVED_DESCRIPTORS))


class Connections:
    """The open connections. A new one that is one too many takes the place of an idle one.

    Idle is a connection without a request that is being answered, whether it has sent nothing yet
    or half of its headers. The one that has been idle for longest is cut. The number of requests
    that are answered at once has a bound of its own, so there is an idle one to cut.

    Args:
        most: Connections at once.
        timeout_seconds: Seconds until the headers of a request have come in, and without progress
            until an answer that the client does not read is given up.
        log_line: Writes a line to the log, at most once a minute.
    """

    def __init__(
        self, *, most: int, timeout_seconds: float, log_line: Callable[[str], None]
    ) -> None:
        self.timeout_seconds = timeout_seconds
        self._most = most
        self._log_line = log_line
        self._open: set[BoundedProtocol] = set()
        self._idle: dict[BoundedProtocol, None] = {}  # in the order in which they became idle
        self._num_cut = 0
        self._logged = -_SECONDS_BETWEEN_LINES

    def __len__(self) -> int:
        return len(self._open)

    def add(self, connection: BoundedProtocol) -> None:
        """Adds a new connection, and cuts an idle one if it is one too many."""
        self._open.add(connection)
        self._idle[connection] = None
        while len(self._open) > self._most:
            oldest = next(iter(self._idle))
            self.remove(oldest)
            oldest.transport.abort()
            self.note_cut()

    def remove(self, connection: BoundedProtocol) -> None:
        """Forgets a connection that is closed."""
        self._open.discard(connection)
        self._idle.pop(connection, None)

    def mark(self, connection: BoundedProtocol, *, is_idle: bool) -> None:
        """Notes whether a connection is idle now."""
        if not is_idle:
            self._idle.pop(connection, None)
        elif connection in self._open:
            self._idle.setdefault(connection)

    def note_cut(self) -> None:
        """Counts a connection that was cut, and writes the line if a minute has passed."""
        self._num_cut += 1
        now = time.monotonic()
        if now - self._logged < _SECONDS_BETWEEN_LINES:
            return
        self._log_line(
            f"connections cut: {self._num_cut:,}, as they were idle while more than "
            f"{self._most:,} were open, or took longer than {self.timeout_seconds:g} s to send a "
            "request or to read an answer"
        )
        self._num_cut, self._logged = 0, now

    def on_loop_error(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Exception handler of an event loop: no traceback for a connection that fails."""
        if isinstance(context.get("exception"), OSError):
            self.note_cut()
        else:
            loop.default_exception_handler(context)


class _Timer:
    """A call that is made after some seconds, unless it is stopped before.

    Args:
        seconds: The seconds.
        call: The function to call.
    """

    def __init__(self, seconds: float, call: Callable[..., None]) -> None:
        self._seconds, self._call = seconds, call
        self._handle: asyncio.TimerHandle | None = None

    def start(self, *arguments: Any) -> None:
        """Begins to count, unless it counts already."""
        if self._handle is None:
            loop = asyncio.get_running_loop()
            self._handle = loop.call_later(self._seconds, self._fire, *arguments)

    def stop(self) -> None:
        """Takes the call back."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _fire(self, *arguments: Any) -> None:
        self._handle = None
        self._call(*arguments)


class _JoinedWrites:
    """A transport that sends together what is written in one turn of the event loop.

    uvicorn writes the head of an answer and then its body. Sent one by one they are two calls of
    the system, each of which wakes the client up.

    Args:
        transport: The transport; all but writing is its own.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Sends bytes, at the latest in the next turn."""
        if not self._parts:
            self._loop.call_soon(self._send)
        self._parts.append(data)
        if len(data) > _MOST_JOINED_BYTES:
            self._send()

    def close(self) -> None:
        """Closes the connection once all is sent."""
        self._send()
        self._transport.close()

    def _send(self) -> None:
        if self._parts:
            data, self._parts = b"".join(self._parts), []
            self._transport.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class BoundedProtocol(HttpToolsProtocol):
    """A connection that is cut if its client is too slow, or if another needs its place.

    httptools takes a third of the time of h11 for a request.

    Args:
        connections: All open ones.
        *args, **kwargs: The arguments of uvicorn's protocol.
    """

    def __init__(self, *args: Any, connections: Connections, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._connections = connections
        self._request_timer = _Timer(connections.timeout_seconds, self._refuse_slow_request)
        self._answer_timer = _Timer(connections.timeout_seconds, self._cut_unread_answer)
        self._is_in_head = False  # True from the first byte of a request to the end of its headers
        self._num_head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begins to wait for the first request."""
        super().connection_made(cast(asyncio.Transport, _JoinedWrites(transport)))
        self._connections.add(self)
        self._request_timer.start()

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends the timers."""
        self._connections.remove(self)
        self._request_timer.stop()
        self._answer_timer.stop()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Takes bytes of a request, whose headers must come in in time."""
        self._num_head_bytes += len(data)
        super().data_received(data)
        is_long = self._is_in_head and self._num_head_bytes > _MOST_HEAD_BYTES
        if (is_long or len(self.pipeline) > _MOST_WAITING) and not self.transport.is_closing():
            self.send_400_response("Invalid HTTP request received.")
        if self._mark_idle():
            self._request_timer.start()

    def on_message_begin(self) -> None:
        """Begins to read the headers of a request."""
        self._is_in_head, self._num_head_bytes = True, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Begins to answer, or to wait for the answer to the request before."""
        self._is_in_head = False
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """Begins to wait for the next request, as long as `timeout_keep_alive`."""
        super().on_response_complete()
        self._mark_idle()

    def pause_writing(self) -> None:
        """Begins to look whether the client reads its answer."""
        super().pause_writing()
        self._answer_timer.start(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        """Goes on, as the client has read."""
        super().resume_writing()
        self._answer_timer.stop()

    def timeout_keep_alive_handler(self) -> None:
        """Closes the connection; a client that does not read the last answer has no more time."""
        super().timeout_keep_alive_handler()
        self._answer_timer.start(self.transport.get_write_buffer_size())

    def _mark_idle(self) -> bool:
        """Returns True if no request is being answered, and notes it."""
        is_idle = self.cycle is None or self.cycle.response_complete
        self._connections.mark(self, is_idle=is_idle)
        if not is_idle:
            self._request_timer.stop()
        return is_idle

    def _refuse_slow_request(self) -> None:
        """Closes a connection whose headers did not come in time."""
        if self.transport.is_closing():
            return
        if self._is_in_head:
            self._connections.note_cut()
            seconds = self._connections.timeout_seconds
            body = to_json({"error": f"the headers did not come within {seconds:g} s."})
            headers = (
                b"content-type: application/json; charset=utf-8\r\n"
                b"content-length: %d\r\nconnection: close\r\n\r\n" % len(body)
            )
            self.transport.write(STATUS_LINE[408] + headers + body)
        self.transport.close()

    def _cut_unread_answer(self, left_before: int) -> None:
        """Cuts a connection whose client has read nothing of its answer for the whole time."""
        left = self.transport.get_write_buffer_size()
        if left >= left_before > 0:
            self._connections.note_cut()
            self.transport.abort()
        elif left:
            self._answer_timer.start(left)


class BoundedServer(uvicorn.Server):
    """uvicorn's server with bounded connections.

    Args:
        app: An ASGI application.
        connections: The open connections.
        **settings: Further settings of uvicorn.
    """

    def __init__(self, app: Any, connections: Connections, **settings: Any) -> None:
        protocol: Any = partial(BoundedProtocol, connections=connections)
        super().__init__(uvicorn.Config(app, http=protocol, backlog=_ACCEPTED_AT_ONCE, **settings))
        self._connections = connections

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begins to accept connections."""
        asyncio.get_running_loop().set_exception_handler(self._connections.on_loop_error)
        await super().startup(sockets)
        for bound in sockets or []:
            bound.listen(BACKLOG)  # asyncio has made it as short as what it accepts at once
