"""The local server under load: latency, throughput, and whether a new version loses a request.

python -m benchmarks.serve [--folder=DIR --seconds=10 --clients=1,8,64 --items=12101 --width=64]

Needs wrk (Debian package `wrk`). The model is of Beauty's size and hardly trained; server and
clients share the machine, over 127.0.0.1. Ends within (number of clients + 3) x seconds and the
time that making the model takes.
"""

import argparse
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np

from benchmarks.common import ROOT, machine, measure

_SCRIPT = Path(__file__).with_name("serve.lua")
_PATH = "/v1/models/ufnrec:predict"
_RELOADS = 3
_SENDERS = 8


def make_workdir(folder: Path, *, num_items: int, width: int) -> Path:
    """Returns a work directory with an exported model of `num_items`, after two steps."""
    workdir = folder / "run"
    if (workdir / "result.json").exists():
        return workdir
    rng = np.random.default_rng(0)
    items = np.concatenate([rng.permutation(num_items) + 1 for _ in range(3)])
    log = folder / "log.txt"
    lines = (f"u{place % (len(items) // 9)} {item}\n" for place, item in enumerate(items))
    log.write_text("".join(lines), encoding="utf-8")
    settings = {
        "backbone.width": width,
        "backbone.num_blocks": 2,
        "training.max_steps": 2,
        "training.jit_compile": "false",
        "gate.kind": "never",
        "memory.policy": "plain",
        "comparison.baselines": "",
    }
    command = [sys.executable, str(ROOT / "main.py"), f"--data={log}", f"--workdir={workdir}"]
    measure([*command, *(f"--config.{key}={value}" for key, value in settings.items())])
    return workdir


def start(workdir: Path) -> tuple[subprocess.Popen[str], int]:
    """Returns a running server and its port."""
    server = subprocess.Popen(
        [sys.executable, str(ROOT / "main.py"), "--mode=serve", f"--workdir={workdir}", "--port=0"],
        stdout=subprocess.PIPE,
        text=True,
    )
    for line in server.stdout or ():
        found = re.search(r"http://127\.0\.0\.1:(\d+)/$", line)
        if found:
            return server, int(found[1])
    raise RuntimeError("the server did not start")


def cpu_seconds(process: int) -> float:
    """Returns the user and system time of a running process; see proc_pid_stat(5)."""
    stat = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return sum(map(int, stat[11:13])) / os.sysconf("SC_CLK_TCK")


def under_load(port: int, process: int, *, clients: int, seconds: int) -> str:
    """Returns a row: the figures of wrk with so many clients, and the load of the machine."""
    begin = cpu_seconds(process)
    command = ["wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "--latency", f"-s{_SCRIPT}"]
    text = measure([*command, f"http://127.0.0.1:{port}/"]).output
    found = {
        name: (re.search(pattern, text) or ["", "?"])[1]
        for name, pattern in (
            ("p50", r"\n +50%\s+(\S+)"),
            ("p99", r"\n +99%\s+(\S+)"),
            ("rate", r"Requests/sec:\s+(\S+)"),
            ("sent", r"(\d+) requests in"),
        )
    }
    cpu = 1000 * (cpu_seconds(process) - begin) / max(1, int(found["sent"]))
    wrong = re.findall(r"(?:Non-2xx|Socket errors).*", text)
    return (
        f"| {clients} | {found['p50']} | {found['p99']} | {found['rate']} | {found['sent']} | "
        f"{cpu:.3f} | {'; '.join(wrong) or 'none'} | {os.getloadavg()[0]:.1f} |"
    )


def across_reloads(workdir: Path, port: int, *, seconds: int) -> str:
    """Publishes new versions under load; returns the counts of requests and of their answers."""
    statuses: list[Counter[str]] = [Counter() for _ in range(_SENDERS)]
    is_over = threading.Event()
    threads = [
        threading.Thread(target=send, args=(port, place, statuses[place], is_over))
        for place in range(_SENDERS)
    ]
    for thread in threads:
        thread.start()
    versions = workdir / "export"
    newest = max(int(path.name) for path in versions.iterdir() if path.name.isdecimal())
    try:
        for number in range(newest + 1, newest + 1 + _RELOADS):
            shutil.copytree(versions / str(newest), versions / ".copy")
            os.rename(versions / ".copy", versions / str(number))
            await_version(port, number, seconds=seconds)
    finally:
        is_over.set()
        for thread in threads:
            thread.join()
    total = sum(statuses, Counter())
    sent = total.pop("sent")
    return f"{_RELOADS} new versions under load: {sent} sent, answers {dict(total)}"


def send(port: int, seed: int, statuses: Counter[str], is_over: threading.Event) -> None:
    """Sends request after request over one connection and counts the answers by status."""
    rng = np.random.default_rng(seed)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    while not is_over.is_set():
        history = [str(item) for item in rng.integers(1, 12_000, size=9)]
        statuses["sent"] += 1
        try:
            connection.request("POST", _PATH, json.dumps({"instances": [history]}))
            answer = connection.getresponse()
            answer.read()
            statuses[str(answer.status)] += 1
        except (OSError, http.client.HTTPException) as error:
            statuses[type(error).__name__] += 1
            connection.close()


def await_version(port: int, number: int, *, seconds: int) -> None:
    """Waits until a version serves."""
    end = time.monotonic() + max(30, seconds)
    while time.monotonic() < end:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("GET", f"/v1/models/ufnrec/versions/{number}")
        if connection.getresponse().status == 200:
            return
        connection.close()
        time.sleep(0.2)
    raise RuntimeError(f"version {number} was not taken up")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", default="", help="kept, and used again; empty: a new one")
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--clients", default="1,8,64")
    parser.add_argument("--items", type=int, default=12_101)
    parser.add_argument("--width", type=int, default=64)
    options = parser.parse_args()
    if not shutil.which("wrk"):
        raise SystemExit("wrk is needed: apt-get install wrk")
    with tempfile.TemporaryDirectory() as own:
        folder = Path(options.folder or own)
        folder.mkdir(parents=True, exist_ok=True)
        workdir = make_workdir(folder, num_items=options.items, width=options.width)
        server, port = start(workdir)
        try:
            print(machine())
            under_load(port, server.pid, clients=8, seconds=2)  # warms caches up
            print("| clients | p50 | p99 | requests/s | requests | CPU ms each | errors | load |")
            print("|---|---|---|---|---|---|---|---|")
            for clients in map(int, options.clients.split(",")):
                row = under_load(port, server.pid, clients=clients, seconds=options.seconds)
                print(row, flush=True)
            print(across_reloads(workdir, port, seconds=options.seconds))
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(30)
        print(f"exit code of the server: {server.returncode}")


if __name__ == "__main__":
    main()
