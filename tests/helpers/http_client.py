"""A client of the server on this machine; it needs no TensorFlow."""

import http.client
import json
import time
from typing import Any, NamedTuple

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
