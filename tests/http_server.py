"""A server of exported models in a thread of the test's process, and a client of it."""

import http.client
import json
import threading
import time
from contextlib import contextmanager
from typing import Any, NamedTuple

from ufnrec_tf.serving.refusal import Limits
from ufnrec_tf.serving.running import Address, Server, listen

PREDICT = "/v1/models/ufnrec:predict"
GOOD: dict[str, Any] = {"instances": [["a"]]}


class Answer(NamedTuple):
    status: int
    headers: dict
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)


class Client:
    """Requests to a port of this machine, over one connection."""

    def __init__(self, port):
        self.port = port
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def ask(self, path, body=None, *, method=None, headers=None):
        """Sends a request; `body` bytes, or a value that becomes JSON."""
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        method = method or ("GET" if body is None else "POST")
        self.connection.request(method, path, body, headers or {})
        answer = self.connection.getresponse()
        told = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(answer.status, told, answer.read())


class Running(NamedTuple):
    server: Server
    port: int
    lines: list

    def client(self):
        return Client(self.port)


@contextmanager
def serving(export_folder, *, limits=None, people=None, catalogue=None, poll_seconds=0.05):
    """Serves a folder of versions; gives the server, its port and the lines of its log."""
    lines: list[str] = []
    bound = listen(Address("127.0.0.1", 0))
    server = Server(
        export_folder,
        limits=limits or Limits(),
        people=people,
        catalogue=catalogue,
        tell=lines.append,
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


def is_open(port):
    try:
        return Client(port).ask("/readyz").status == 200
    except OSError:
        return False


def wait_until(is_so, *, seconds=60):
    """Waits until something is so; fails if it never is."""
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)
