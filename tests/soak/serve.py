"""`make soak`: random requests to the server: no traceback, no hang, no growing memory.

    python -m tests.soak.serve --seconds=600 --seed=0 [--workdir=DIR]

Bodies are JSON of random shape near to what is right, good ones with bytes changed, and bytes;
paths and headers too; a few go over a raw socket and are not HTTP. Every answer must be one of the
promised statuses, errors one line of JSON, and a good request in between answered rightly.
"""

import argparse
import json
import random
import socket
import subprocess
import tempfile
import time
from collections import Counter
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from urllib.parse import quote

from tests.helpers.http_client import GOOD, PREDICT, Client
from tests.helpers.runs import LIGHT, command, environment, train
from tests.soak.common import resident_bytes, served_port

STATUSES = {200, 400, 403, 404, 405, 413}
MOST_GROWTH = 48 << 20
"""Bytes that the process may grow by after the first fifth: its allocator keeps some back."""
TEXTS = [
    "",
    "a",
    "item 3",
    "é",
    "\u0000",
    "\n\r",
    "\u202e",
    "😀",
    "<b>",
    "'\"",
    "\ud800",
    "x" * 999,
]
KEYS = ["instances", "inputs", "signature_name", "item_ids", "k", "b64", "history", "exclude"]
NAMES = ["recommend", "serving_default", "encode", "recommend_filtered", "", "x"]
PATHS = [
    PREDICT,
    "/v1/models/ufnrec/versions/1:predict",
    "/api/recommendations",
    "/api/items?q=",
    "/api/users?q=",
    "/api/user?id=",
    "/v1/models/ufnrec/versions/",
    "/",
]


def any_value(rng, depth=0):
    """Returns a random value that JSON holds, lone surrogates included."""
    kind = rng.randrange(9 if depth < 4 else 6)
    if kind < 3:
        return rng.choice(TEXTS)
    if kind < 6:
        return rng.choice([None, True, 0, 1, -1, 10, 2**31, 10**40, 0.5, 1e308])
    if kind < 8:
        return [any_value(rng, depth + 1) for _ in range(rng.randrange(5))]
    return {rng.choice(KEYS): any_value(rng, depth + 1) for _ in range(rng.randrange(4))}


def near_body(rng):
    """Returns a body that is right but for a part or two."""
    ids = [[rng.choice(TEXTS[:-2]) for _ in range(rng.randrange(6))] for _ in range(3)]
    value = rng.choice([ids, {"item_ids": ids, "k": rng.choice([1, 5, 2000])}, any_value(rng)])
    body = {rng.choice(KEYS[:2]): value}
    if rng.random() < 0.7:
        body["signature_name"] = rng.choice(NAMES)
    if rng.random() < 0.3:
        body[rng.choice(KEYS)] = any_value(rng)
    return body


def any_body(rng):
    """Returns the bytes of a body."""
    kind = rng.random()
    if kind < 0.1:
        return rng.randbytes(rng.randrange(200))
    if kind < 0.15:
        return rng.choice([b"[" * 50_000, b'{"a":' * 50_000, b"9" * 9000, b"a" * (1 << 21)])
    value = near_body(rng) if kind < 0.8 else any_value(rng)
    text = bytearray(json.dumps(value).encode())
    if rng.random() < 0.3:
        for _ in range(rng.randrange(1, 4)):
            text[rng.randrange(len(text))] = rng.randrange(256)
    return bytes(text)


def send_any(client, rng):
    """Sends a random request and checks the answer; returns its status."""
    path = rng.choices(PATHS, weights=[4, 1, 4, 1, 1, 1, 1, 1])[0]
    if path.endswith(("=", "versions/")):
        path += quote(rng.choice(TEXTS[:-2]) + str(rng.choice(["", 1, 10**30])), safe="")
    takes_body = path.endswith(("predict", "recommendations"))
    body = any_body(rng) if takes_body == (rng.random() < 0.95) else None
    headers = {} if rng.random() < 0.9 else {rng.choice(["Host", "Origin", "Expect"]): "x"}
    try:
        answer = client.ask(path, body, headers=headers)
    except (BrokenPipeError, ConnectionResetError):  # refused before all of a long body was sent
        client.connection.close()
        assert body is not None and len(body) > 1 << 20
        return 413
    assert answer.status in STATUSES, (path, body, answer)
    if answer.status != 200:
        assert set(answer.json) == {"error"}, answer
        assert "\n" not in answer.json["error"]
    assert b"Traceback" not in answer.body
    return answer.status


def send_garbage(port, rng):
    """Sends what is not HTTP; the answer is anything, or none."""
    parts = [b"POST / HTTP/1.1\r\nHost: localhost\r\n", b"Content-Length: -1\r\n\r\n", b"\r\n\r\n"]
    parts += [
        b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        rng.randbytes(50),
        b"GET /" + b"a" * 9000,
    ]
    with socket.create_connection(("127.0.0.1", port), timeout=30) as raw:
        raw.sendall(b"".join(rng.choice(parts) for _ in range(rng.randrange(1, 4))))
        raw.settimeout(0.05)
        with suppress(TimeoutError, ConnectionResetError):
            assert b"Traceback" not in raw.recv(65536)


def soak(process, port, options):
    """Sends requests until the time is over; returns how they were answered."""
    rng = random.Random(options.seed)
    statuses: Counter[int | str] = Counter()
    client = Client(port)
    right = client.ask(PREDICT, GOOD).body
    begin, before = time.monotonic(), 0
    while (passed := time.monotonic() - begin) < options.seconds:
        if not before and passed > options.seconds / 5:
            before = resident_bytes(process.pid)
        if rng.random() < 0.02:
            send_garbage(port, rng)
            statuses["garbage"] += 1
            continue
        try:
            statuses[send_any(client, rng)] += 1
        except (HTTPException, ConnectionError) as error:
            raise AssertionError(f"no answer: {error!r}; {statuses}") from error
        if rng.random() < 0.02:
            assert client.ask(PREDICT, GOOD).body == right
    growth = resident_bytes(process.pid) - before
    assert growth < MOST_GROWTH, f"grown by {growth:,} bytes"
    return statuses, growth


def main():
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workdir", default="")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        workdir = options.workdir or Path(folder) / "run"
        if not options.workdir:
            assert not train(workdir, *LIGHT, "--config.training.num_epochs=2")
        errors = Path(folder) / "errors"
        with errors.open("wb") as file:
            process = subprocess.Popen(
                command("--mode=serve", f"--workdir={workdir}", "--port=0"),
                stdout=subprocess.PIPE,
                stderr=file,
                text=True,
                env=environment(),
            )
            try:
                statuses, growth = soak(process, served_port(process), options)
            finally:
                process.terminate()
                left = process.communicate(timeout=60)[0]
        assert process.returncode == 143
        assert "internal error" not in left, left
        assert errors.read_text(encoding="utf-8").startswith("stopped")
    print(f"{sum(statuses.values()):,} requests: {dict(statuses)}; grown by {growth:,} bytes")


if __name__ == "__main__":
    main()
