"""Listens, answers, and ends in good order: uvicorn around the application."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import uvicorn

from ufnrec_tf.common.errors import UserError, own_words
from ufnrec_tf.serving.app import make_app
from ufnrec_tf.serving.batching import Batcher
from ufnrec_tf.serving.counters import ServerMetrics
from ufnrec_tf.serving.limits import Limits
from ufnrec_tf.serving.models import ModelKeeper, load_model
from ufnrec_tf.serving.page_search import Catalogue, People
from ufnrec_tf.serving.service import Service

LOOPBACK_NAMES = frozenset({"127.0.0.1", "localhost", "[::1]"})
_GRACE_SECONDS = 15
# Connections, idle ones too; below the usual limit of 1,024 open files.
_MAX_CONNECTIONS = 800


class Address(NamedTuple):
    """Where to listen.

    Attributes:
        host: An address or a name of this machine.
        port: 0 to 65535; 0: a free one.
    """

    host: str
    port: int


def listen(address: Address) -> socket.socket:
    """Returns a socket that is bound and does not listen yet.

    Raises:
        UserError: If the address is not this machine's, or the port is taken.
    """
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, protocol)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(place)
    except (OSError, UnicodeError) as error:
        raise UserError(
            f"--host={address.host} --port={address.port}: cannot be listened on "
            f"({own_words(error)}). Give another --port (0: any free one) or --host."
        ) from error
    return bound


def allowed_hosts(host: str) -> frozenset[str]:
    """Returns the names that requests may address: this machine's own where it alone listens."""
    try:
        is_loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_loopback = host.lower() == "localhost"
    if not is_loopback:
        return frozenset()
    return LOOPBACK_NAMES | {f"[{host}]" if ":" in host else host.lower()}


class Server:
    """A server of the newest version of an export.

    Args:
        export_folder: Holds the version folders.
        limits: Bounds of requests.
        people: Users of the run, for the page.
        catalogue: Items of the run, for an export that has none beside it.
        tell: Takes a line for the log.

    Raises:
        UserError: If there is no version, or the newest is damaged.
    """

    def __init__(
        self,
        export_folder: Path,
        *,
        limits: Limits,
        people: People | None,
        catalogue: Catalogue | None,
        tell: Callable[[str], None],
    ) -> None:
        metrics = ServerMetrics()
        tell = one_line(tell)
        keeper = ModelKeeper(
            export_folder, lambda path: load_model(path, catalogue), metrics=metrics, tell=tell
        )
        self._uvicorn: uvicorn.Server | None = None
        self.service = Service(
            keeper,
            Batcher(limits, metrics),
            metrics,
            limits,
            people,
            tell,
            is_stopping=lambda: self._uvicorn is not None and self._uvicorn.should_exit,
        )

    def run(self, bound: socket.socket, *, host: str, poll_seconds: float) -> None:
        """Serves until told to stop; what has begun is then answered, and the signal raised again.

        Args:
            bound: Of `listen`.
            host: What it is bound to.
            poll_seconds: Seconds between looks for a new version.
        """
        app = make_app(self.service, hosts=allowed_hosts(host))
        self._uvicorn = uvicorn.Server(
            uvicorn.Config(
                app,
                log_config=None,
                log_level="critical",
                access_log=False,
                server_header=False,
                proxy_headers=False,
                ws="none",
                lifespan="off",
                limit_concurrency=_MAX_CONNECTIONS,
                timeout_graceful_shutdown=_GRACE_SECONDS,
            )
        )
        self.service.keeper.start(poll_seconds=poll_seconds)
        try:
            self._uvicorn.run(sockets=[bound])
        finally:
            self.close()

    def stop(self) -> None:
        """Asks `run`, in another thread, to end."""
        if self._uvicorn is not None:
            self._uvicorn.should_exit = True

    def close(self) -> None:
        """Ends the threads."""
        self.service.keeper.close()
        self.service.batcher.close()


def one_line(tell: Callable[[str], None]) -> Callable[[str], None]:
    """Returns `tell` for texts that may hold a client's: controls are shown, not sent on."""

    def tell_line(text: str) -> None:
        tell("".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text))

    return tell_line
