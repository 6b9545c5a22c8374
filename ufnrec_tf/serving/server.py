"""The server process: listens, answers, and shuts down in order; uvicorn runs the application."""

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
from ufnrec_tf.serving.connections import BoundedServer, Connections, most_connections
from ufnrec_tf.serving.counters import ServerMetrics
from ufnrec_tf.serving.limits import Limits
from ufnrec_tf.serving.models import ModelKeeper, load_model
from ufnrec_tf.serving.page_search import Catalogue, Users
from ufnrec_tf.serving.service import Service

_LOOPBACK_NAMES = frozenset({"127.0.0.1", "localhost", "[::1]"})
_GRACE_SECONDS = 15


class Address(NamedTuple):
    """The address to listen on.

    Attributes:
        host: An address or a name of this machine.
        port: 0 to 65535; 0: any free one.
    """

    host: str
    port: int


def listen(address: Address) -> socket.socket:
    """Returns a bound socket, which does not listen yet.

    Raises:
        UserError: If the address is not this machine's, or the port is taken.
    """
    try:
        family, kind, protocol, _, bound_to = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, protocol)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(bound_to)
    except (OSError, UnicodeError) as error:
        raise UserError(
            f"--host={address.host} --port={address.port}: cannot be listened on "
            f"({own_words(error)}). Give another --port (0: any free one) or --host."
        ) from error
    return bound


def allowed_hosts(host: str) -> frozenset[str]:
    """Returns the names that requests may address: those of this machine for a loopback address.

    Empty, which allows any name, for an address that other machines reach.
    """
    try:
        is_loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_loopback = host.lower() == "localhost"
    if not is_loopback:
        return frozenset()
    return _LOOPBACK_NAMES | {f"[{host}]" if ":" in host else host.lower()}


class Server:
    """A server of the newest version of an export.

    Args:
        export_folder: Holds the version folders.
        limits: Bounds of requests.
        users: Users of the run, for the page.
        catalogue: Items of the run, for an export that has none beside it.
        log_line: Writes a line to the log.

    Raises:
        UserError: If there is no version, or the newest is damaged.
    """

    def __init__(
        self,
        export_folder: Path,
        *,
        limits: Limits,
        users: Users | None,
        catalogue: Catalogue | None,
        log_line: Callable[[str], None],
    ) -> None:
        metrics = ServerMetrics()
        keeper = ModelKeeper(
            export_folder,
            lambda path: load_model(path, catalogue),
            metrics=metrics,
            log_line=log_line,
        )
        self._connections = Connections(
            most=most_connections(), timeout_seconds=limits.timeout_seconds, log_line=log_line
        )
        self._uvicorn: uvicorn.Server | None = None
        self.service = Service(
            keeper,
            Batcher(limits, metrics),
            metrics,
            limits,
            users,
            log_line,
            is_stopping=lambda: self._uvicorn is not None and self._uvicorn.should_exit,
        )

    def run(self, bound: socket.socket, *, host: str, poll_seconds: float) -> None:
        """Serves until a signal or `stop`; answers what has begun, then raises the signal again.

        Args:
            bound: The socket of `listen`.
            host: The address that it is bound to.
            poll_seconds: Seconds between looks for a new version.
        """
        app = make_app(self.service, hosts=allowed_hosts(host))
        self._uvicorn = BoundedServer(
            app,
            self._connections,
            log_config=None,
            log_level="critical",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            ws="none",
            lifespan="off",
            timeout_graceful_shutdown=_GRACE_SECONDS,
        )
        self.service.keeper.start(poll_seconds=poll_seconds)
        try:
            self._uvicorn.run(sockets=[bound])
        finally:
            self.close()

    def stop(self) -> None:
        """Ends `run`, which runs in another thread."""
        if self._uvicorn is not None:
            self._uvicorn.should_exit = True

    def close(self) -> None:
        """Ends the threads of the keeper and of the batcher."""
        self.service.keeper.close()
        self.service.batcher.close()
