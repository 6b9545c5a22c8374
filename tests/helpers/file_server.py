"""A web server on 127.0.0.1 that sends files as publishers do, and as bad days have it."""

import contextlib
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_PIECE = 1 << 16


@dataclass
class Served:
    """How one path answers.

    Attributes:
        body: The file.
        status: Of the answer.
        headers: Further headers.
        has_length: Whether its length is told.
        statuses: Answers before the file itself, such as 500, 500.
        cut_at: Bytes of the body after which the connection ends, one for each answer in turn.
        pause: Seconds before each piece.
        location: Where it leads on to, or "".
    """

    body: bytes = b""
    status: int = 200
    headers: list[tuple[str, str]] = field(default_factory=list)
    has_length: bool = True
    statuses: list[int] = field(default_factory=list)
    cut_at: list[int] = field(default_factory=list)
    pause: float = 0.0
    location: str = ""


class FileServer:
    """Serves `files`; `requests` are the paths that were asked, and by what program."""

    def __init__(self):
        self.files: dict[str, Served] = {}
        self.requests: list[tuple[str, str]] = []
        self.ended = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                outer.answer(self)

            def log_message(self, format, *args):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *error):
        self.ended.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def add(self, path, body=b"", **settings):
        """Serves a body at a path and returns its address."""
        self.files[path] = Served(body, **settings)
        return self.address + path

    def answer(self, handler):
        self.requests.append((handler.path, handler.headers.get("User-Agent", "")))
        served = self.files.get(handler.path)
        if served is None:
            handler.send_error(404)
            return
        if served.statuses or served.location:
            handler.send_response(served.statuses.pop(0) if served.statuses else 302)
            if served.location:
                handler.send_header("Location", served.location)
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._send(handler, served)

    def _send(self, handler, served):
        handler.send_response(served.status)
        if served.has_length:
            handler.send_header("Content-Length", str(len(served.body)))
        for header in served.headers:
            handler.send_header(*header)
        handler.end_headers()
        body = served.body[: served.cut_at.pop(0)] if served.cut_at else served.body
        for begin in range(0, len(body), _PIECE):
            if served.pause and self.ended.wait(served.pause):
                return
            handler.wfile.write(body[begin : begin + _PIECE])
            handler.wfile.flush()
        handler.close_connection = True
