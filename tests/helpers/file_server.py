"""A web server on 127.0.0.1 that sends files as publishers do, and as bad days have it."""

import contextlib
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Served:
    """How one path answers.

    Attributes:
        body: The file.
        etag: Its tag, or "".
        has_ranges: Whether a part may be asked for.
        has_length: Whether its length is told.
        statuses: Answers before the file itself, such as 500, 500.
        cut_at: Bytes of the body after which the connection ends, one for each answer in turn.
        pause: Seconds before each `piece`.
        piece: Bytes sent at once.
        location: Where it leads on to, or "".
        retry_after: Of an error, seconds.
        ignores_if_range: Whether a part is sent though the file has changed.
    """

    body: bytes = b""
    etag: str = '"1"'
    has_ranges: bool = True
    has_length: bool = True
    statuses: list[int] = field(default_factory=list)
    cut_at: list[int] = field(default_factory=list)
    pause: float = 0.0
    piece: int = 1 << 16
    location: str = ""
    retry_after: str = ""
    ignores_if_range: bool = False


class FileServer:
    """Serves `files`; `requests` are the paths and Range headers that were asked."""

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
        wanted = handler.headers.get("Range", "")
        self.requests.append((handler.path, wanted))
        served = self.files.get(handler.path)
        if served is None:
            handler.send_error(404)
            return
        if served.statuses:
            handler.send_response(served.statuses.pop(0))
            if served.retry_after:
                handler.send_header("Retry-After", served.retry_after)
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        if served.location:
            handler.send_response(302)
            handler.send_header("Location", served.location)
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._send(handler, served, wanted)

    def _send(self, handler, served, wanted):
        start, size = 0, len(served.body)
        is_same = served.ignores_if_range or handler.headers.get("If-Range") == served.etag
        if wanted and served.has_ranges and is_same:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= size:
                handler.send_error(416)
                return
            handler.send_response(206)
            handler.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        else:
            handler.send_response(200)
        if served.etag:
            handler.send_header("ETag", served.etag)
        if served.has_length:
            handler.send_header("Content-Length", str(size - start))
        handler.end_headers()
        end = served.cut_at.pop(0) if served.cut_at else size
        for begin in range(start, end, served.piece):
            if served.pause and self.ended.wait(served.pause):
                return
            handler.wfile.write(served.body[begin : min(begin + served.piece, end)])
            handler.wfile.flush()
        handler.close_connection = True
