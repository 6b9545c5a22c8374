"""The guard around every request: its host and origin, the number at once, the headers."""

from __future__ import annotations

import asyncio
import re
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ufnrec_tf.common.text import plain
from ufnrec_tf.serving.counters import ServerMetrics
from ufnrec_tf.serving.limits import Limits, Refusal
from ufnrec_tf.serving.rest import to_json

_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)
_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^\s:/@\[\]]+)(?::([0-9]{1,5}))?")
_MOST_PORT = 65535
_ALWAYS = ("/healthz", "/readyz", "/metrics")
_ROUTES = {
    **{"": "page", "v1": "model", "api": "page_api", "similar": "similar"},
    **{path[1:]: path[1:] for path in _ALWAYS},
}

_LINGER_SECONDS = 1.0
_LINGER_BYTES = 1 << 20

BUG = Refusal(500, "internal error.")
BROKEN_OFF = 499
"""The status that a request is counted under whose client went away, as in nginx."""


def route_of(path: str) -> str:
    """Returns the name that a path is counted under: one of a few, whatever the client sent."""
    if path.startswith("/v1/") and path.endswith(":predict"):
        return "predict"
    return _ROUTES.get(path.strip("/").partition("/")[0], "other")


def host_name(header: str) -> str:
    """Returns the host of a Host header, in lower case; "" for a malformed one."""
    found = _HOST.fullmatch(header)
    return found[1].lower() if found and int(found[2] or 0) <= _MOST_PORT else ""


class _Exchange:
    """A request and its answer: notes the status, and whether the client has broken off.

    A request that is answered before all of its body has come, such as one that is too long, ends
    its connection: what a client goes on to send is not read for good.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._receive, self._send = receive, send
        names = {name for name, value in scope["headers"] if value != b"0"}
        self._has_more_body = bool(names & {b"content-length", b"transfer-encoding"})
        self._is_closing = False
        self._begin = time.perf_counter()
        self.status = 0
        self.is_broken_off = False

    @property
    def seconds(self) -> float:
        """Seconds since the request."""
        return time.perf_counter() - self._begin

    async def receive(self) -> Message:
        """Returns the next part of the request."""
        message = await self._receive()
        self.is_broken_off |= message["type"] == "http.disconnect"
        self._has_more_body = not self.is_broken_off and message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        """Sends a part of the answer, or nothing once the client has broken off."""
        if self.is_broken_off:
            return
        if message["type"] != "http.response.start":
            if self._is_closing and not message.get("more_body", False):
                await self._send({**message, "more_body": True})
                await self._linger()
                message = {"type": message["type"]}
            await self._send(message)
            return
        headers = [*message["headers"], *_HEADERS]
        if self._has_more_body:
            self._is_closing = True
            headers.append((b"connection", b"close"))
        try:
            await self._send({**message, "headers": headers})
        except Exception:  # the client has sent what is not HTTP, and uvicorn has given it up
            self.is_broken_off = True
            return
        self.status = message["status"]

    async def _linger(self) -> None:
        """Drops what is on its way, for a moment: a reset connection would lose the answer."""
        left = _LINGER_BYTES
        with suppress(TimeoutError):
            async with asyncio.timeout(_LINGER_SECONDS):
                while self._has_more_body and left > 0:
                    left -= len((await self.receive()).get("body", b""))


class Guard:
    """An ASGI application around another.

    Args:
        app: The application.
        limits: The number of requests at once.
        metrics: Counts requests.
        hosts: Names that a request may address; empty: any. They keep a page elsewhere that has
            bound its own name to this address (DNS rebinding) from reading answers.
        log_line: Writes a line to the log.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        limits: Limits,
        metrics: ServerMetrics,
        hosts: frozenset[str],
        log_line: Callable[[str], None],
    ) -> None:
        self._app = app
        self._limits = limits
        self._metrics = metrics
        self._hosts = hosts
        self._log_line = log_line
        self._in_flight = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request; other kinds of ASGI events go through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(scope, receive, send)
        self._in_flight += 1
        self._metrics.in_flight.inc()
        try:
            self._check(scope)
            await self._app(scope, exchange.receive, exchange.send)
        except Refusal as refusal:
            await refusal_response(refusal)(scope, receive, exchange.send)
        except Exception as error:
            if not exchange.is_broken_off:  # a bug: a line in the log, and never to the client
                self._log_line(f"internal error (a bug): {bug_line(error)}")
                if not exchange.status:
                    await refusal_response(BUG)(scope, receive, exchange.send)
        finally:
            self._in_flight -= 1
            self._metrics.in_flight.dec()
            status = exchange.status or BROKEN_OFF
            self._metrics.answered(route_of(scope["path"]), status, exchange.seconds)

    def _check(self, scope: Scope) -> None:
        """Raises Refusal if a request is for another host, of another origin, or one too many."""
        host = _only_value(scope["headers"], "host") or ""
        origin = _only_value(scope["headers"], "origin")
        name = host_name(host)
        if host and not name:
            raise Refusal(400, "the header `Host` is not a name or an address, with a port or not.")
        if self._hosts and name not in self._hosts:
            raise Refusal(
                400,
                f"this server answers only as {', '.join(sorted(self._hosts))}. "
                "Start it with --host=ADDRESS to be reached by other names.",
            )
        own = f"{scope['scheme']}://{host}".lower()
        if scope["method"] == "POST" and origin is not None and origin.lower() != own:
            raise Refusal(403, "requests of other sites' pages are not answered.")
        if self._in_flight > self._limits.max_concurrent and scope["path"] not in _ALWAYS:
            raise Refusal(
                429,
                f"more than {self._limits.max_concurrent} requests at once. Try again.",
                retry_after=1,
            )


def _only_value(headers: Sequence[tuple[bytes, bytes]], name: str) -> str | None:
    """Returns the value of a header, or None.

    Raises:
        Refusal: If the header is there more than once.
    """
    values = [value.decode("latin-1") for key, value in headers if key == name.encode()]
    if len(values) > 1:
        raise Refusal(400, f"the header `{name.title()}` is there more than once.")
    return values[0] if values else None


def refusal_response(refusal: Refusal) -> Response:
    """Returns the response for a refusal."""
    headers = {"retry-after": str(refusal.retry_after)} if refusal.retry_after else None
    body = to_json({"error": refusal.message})
    return Response(body, refusal.status, headers, media_type="application/json; charset=utf-8")


def bug_line(error: Exception) -> str:
    """Returns an unexpected error and the line that raised it; it may quote a client."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    return plain(f"{type(error).__name__}: {str(error)[:200]}{where}")
