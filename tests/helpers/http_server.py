"""A server of exported models in a thread of the test's process."""

import threading
from contextlib import contextmanager
from typing import NamedTuple

from tests.helpers.http_client import Client, is_open, wait_until
from ufnrec_tf.serving.limits import Limits
from ufnrec_tf.serving.server import Address, Server, listen


class Running(NamedTuple):
    server: Server
    port: int
    lines: list

    def client(self):
        return Client(self.port)


@contextmanager
def serving(export_folder, *, limits=None, users=None, catalogue=None, poll_seconds=0.05):
    """Serves a folder of versions; gives the server, its port and the lines of its log."""
    lines: list[str] = []
    bound = listen(Address("127.0.0.1", 0))
    server = Server(
        export_folder,
        limits=limits or Limits(),
        users=users,
        catalogue=catalogue,
        log_line=lines.append,
    )
    port = bound.getsockname()[1]
    thread = threading.Thread(
        target=server.run,
        args=(bound,),
        kwargs={"host": "127.0.0.1", "poll_seconds": poll_seconds},
    )
    thread.start()
    wait_until(lambda: is_open(port))
    try:
        yield Running(server, port, lines)
    finally:
        server.stop()
        thread.join(30)
        bound.close()
        assert not thread.is_alive()
