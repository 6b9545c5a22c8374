"""`make soak`: faults of disks, files, processes and clients, each of which must be reported.

    python -m tests.soak.faults --seed=0 --flips=2 --fills=1 --kills=2 --seconds=14

Four parts. Flips: one bit of each file that a command reads; the command refuses the file in one
line, or answers as before. Fills: a disk too small for what a command writes; it says so in one
line, leaves nothing half-written, and the same command succeeds once there is room. Kills: a
command that is killed and run again writes the file of an undisturbed one. Clients: a server with
1,024 descriptors, under load, beside 1,050 idle connections and 200 that send a byte a second.
"""

import argparse
import contextlib
import io
import os
import random
import re
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections import Counter
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.helpers.http_client import GOOD, PREDICT, Client
from tests.helpers.runs import LIGHT, command, environment, train
from tests.soak.common import Ended, call, check_refused, served_port
from ufnrec_tf.common.tensorflow_setup import import_tensorflow

EVALUATE = "--config.evaluation.weights=auto"


class Commands:
    """The commands that read a run, and what they answer.

    Args:
        folder: The folder that they write to.
    """

    def __init__(self, folder):
        self._folder = folder

    def recommend(self, workdir):
        """The lists of the newest export."""
        output = self._folder / "out.csv"
        output.unlink(missing_ok=True)
        arguments = ("--histories=train", f"--output={output}")
        ended = call("--mode=recommend", f"--workdir={workdir}", *arguments)
        return ended, output.read_bytes() if output.exists() else b""

    def evaluate(self, workdir):
        """The table of metrics."""
        ended = call("--mode=evaluate", f"--workdir={workdir}", EVALUATE)
        return ended, [line for line in ended.lines if re.match(r"(hr|ndcg|mrr)\S* +[0-9]", line)]

    def report(self, workdir):
        """The page."""
        output = self._folder / "page" / "report.html"
        shutil.rmtree(output.parent, ignore_errors=True)
        output.parent.mkdir()
        ended = call("--mode=report", f"--workdir={workdir}", f"--output={output}")
        return ended, output.read_bytes() if output.exists() else b""

    def contents(self, workdir):
        """The users and items that the page of a server shows, of a run whose log is gone."""
        from ufnrec_tf.cli.serve import _MEMORY_COLUMNS, _MEMORY_FILE, _read_table
        from ufnrec_tf.common.errors import UserError
        from ufnrec_tf.runs.histories import read_histories
        from ufnrec_tf.runs.raw_ids import read_ids
        from ufnrec_tf.runs.workdir import read_record

        try:
            log = read_record(workdir / "config.json")["identity"]["data of sha256"]
            tables = [*read_ids(workdir), *read_histories(workdir, log)]
            found = [value.tolist() for value in tables if value is not None]
            memory = _read_table(workdir, _MEMORY_FILE, _MEMORY_COLUMNS)
            assert memory is not None
            return Ended(0, [], []), (found, memory.to_csv())
        except UserError as error:
            return Ended(1, [f"error: {error}"], []), None


READ_BY = {
    "export": "recommend",
    "checkpoints/best": "evaluate",
    "config.json": "evaluate",
    "result.json": "report",
    "ranks.parquet": "report",
    "metrics.jsonl": "report",
    "tensorboard/curves": "report",
    "ids": "contents",
    "false_negatives.parquet": "contents",
}
"""A file of a work directory, or a folder of them -> the command that reads it."""


def flips(workdir, folder, rng, *, count):
    """Flips bits of all files that commands read; returns how the commands ended."""
    commands, found = Commands(folder), Counter[str]()
    before = {name: getattr(commands, name)(workdir) for name in set(READ_BY.values())}
    assert all(ended.code == 0 for ended, _ in before.values()), before
    kept = {path: path.read_bytes() for path in workdir.rglob("*") if path.is_file()}
    for place, name in READ_BY.items():
        top = workdir / place
        for path in sorted(top.rglob("*")) if top.is_dir() else [top]:
            body = bytearray(kept[path]) if path in kept else bytearray()
            for _ in range(count if body else 0):
                at, bit = rng.randrange(len(body)), 1 << rng.randrange(8)
                body[at] ^= bit
                path.write_bytes(body)
                body[at] ^= bit
                ended, answer = getattr(commands, name)(workdir)
                context = (path.relative_to(workdir).as_posix(), at, bit)
                if ended.code:
                    check_refused(ended, context)
                else:
                    assert answer == before[name][1], f"silent: {context}, {name}"
                found["refused" if ended.code else "as before"] += 1
                path.write_bytes(kept[path])
                if "metrics.jsonl" not in place:  # evaluations are appended there
                    (workdir / "metrics.jsonl").write_bytes(kept[workdir / "metrics.jsonl"])
    return found


@contextmanager
def small_disk(folder, size):
    """Makes a folder a disk of so many bytes, or else bounds the size of the files there.

    Yields a function that makes room.
    """
    folder.mkdir(exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o"]
    tried = subprocess.run(
        [*mount, f"size={size}", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if not tried.returncode:
        try:
            yield lambda: subprocess.run([*mount, "remount,size=64m", str(folder)], check=True)
        finally:
            subprocess.run(["umount", "-l", str(folder)], check=True)
        return
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def names(folder):
    return {path.name for path in folder.rglob("*")} - {".lock"}


def fills(workdir, log, folder, rng, *, count):
    """Runs commands on disks that are too small, and then with room; returns how they ended."""
    disk, found = folder / "disk", Counter[str]()
    prepared = ("--mode=prepare", f"--data={log}", f"--workdir={disk}/prepared")
    writers = {
        "recommend": (
            *("--mode=recommend", f"--workdir={workdir}", "--histories=train"),
            f"--output={disk}/out.csv",
        ),
        "report": ("--mode=report", f"--workdir={workdir}", f"--output={disk}/page.html"),
        "export": ("--mode=export", f"--workdir={workdir}", f"--config.export.path={disk}/e"),
        "inspect": ("--mode=inspect", f"--data={log}", f"--output={disk}/found.json"),
        "prepare": prepared,
    }
    most = {"inspect": 4096, "prepare": 16384}
    for name, arguments in writers.items():
        for _ in range(count):
            with small_disk(disk, 4096 * rng.randint(1, most.get(name, 16384) // 4096)) as widen:
                ended = call(*arguments)
                if ended.code:
                    check_refused(ended, name)
                    whole = {"out.csv", "page.html", "found.json", "manifest.json", "ufnrec.json"}
                    assert not names(disk) & whole, (name, names(disk))
                found["refused" if ended.code else "written"] += 1
                widen()
                again = call(*arguments)
                assert again.code == 0, (name, again)
            for path in disk.iterdir():  # where it was no disk of its own
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    return found


def kills(workdir, log, folder, rng, *, count):
    """Kills commands at random and runs them again; returns how often one was killed."""
    found = Counter[str]()
    cases = {
        "prepare": (("--mode=prepare", f"--data={log}"), "--workdir=", 2.0),
        "recommend": (
            ("--mode=recommend", f"--workdir={workdir}", "--histories=train"),
            "--output=",
            12.0,
        ),
    }
    for name, (arguments, flag, seconds) in cases.items():
        whole = folder / f"{name}.whole.csv"
        assert call(*arguments, f"{flag}{whole}").code == 0
        for number in range(count):
            path = folder / f"{name}.{number}.csv"
            process = subprocess.Popen(
                command(*arguments, f"{flag}{path}"),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=environment(),
            )
            try:
                process.wait(rng.uniform(0.2, seconds))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                found["killed"] += 1
            ended = call(*arguments, f"{flag}{path}")
            assert ended.code == 0, (name, ended)
            assert bodies(path) == bodies(whole), name
            found["as undisturbed"] += 1
    return found


def bodies(path):
    """The bytes of a file, or of all files of a prepared folder but its lock and its record."""
    if path.is_file():
        return path.read_bytes()
    files = sorted(found for found in path.rglob("*") if found.is_file())
    left_out = (".lock", "manifest.json")
    return {
        found.relative_to(path).as_posix(): found.read_bytes()
        for found in files
        if found.name not in left_out
    }


def drip(slow, is_over, cut):
    """Sends headers a byte a second until the server cuts the connection."""
    left = list(slow)
    for byte in b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"a" * 10_000:
        for raw in list(left):
            try:
                raw.send(bytes([byte]))
            except OSError:
                left.remove(raw)
                cut.append(raw)
        if is_over.wait(1):
            return


def clients(workdir, folder, *, seconds, idle, slow):
    """Asks a server beside idle and slow connections; returns the statuses and its log."""
    errors = folder / "errors"
    with errors.open("wb") as file:
        process = subprocess.Popen(
            [
                *("bash", "-c", 'ulimit -n 1024; exec "$@"', "bash"),
                *command("--mode=serve", f"--workdir={workdir}", "--port=0"),
            ],
            stdout=subprocess.PIPE,
            stderr=file,
            text=True,
            env=environment(),
        )
    assert process.stdout is not None
    statuses, is_over = Counter[int](), threading.Event()
    cut: list[socket.socket] = []
    worst = 0.0
    try:
        port = served_port(process)

        def connect():
            return socket.create_connection(("127.0.0.1", port), timeout=30)

        with ExitStack() as stack:
            for _ in range(idle):
                stack.enter_context(connect())
            dripping = [stack.enter_context(connect()) for _ in range(slow)]
            thread = threading.Thread(target=drip, args=(dripping, is_over, cut))
            thread.start()
            stack.callback(thread.join)
            stack.callback(is_over.set)
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                began = time.monotonic()
                client = Client(port)
                statuses[client.ask("/healthz").status] += 1
                statuses[client.ask(PREDICT, GOOD).status] += 1
                client.connection.close()
                worst = max(worst, time.monotonic() - began)
    finally:
        process.terminate()
        told = process.communicate(timeout=60)[0]
    assert set(statuses) == {200}, statuses
    assert errors.read_text(encoding="utf-8").splitlines() == ["stopped"]
    assert "Traceback" not in told
    assert "internal error" not in told
    assert told.count("connections cut") <= 1 + seconds // 60, told
    if seconds > 12:
        assert len(cut) == slow, f"{len(cut)} of {slow} slow connections were cut"
    return statuses, worst


def main():
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--flips", type=int, default=2, help="bits a file")
    parser.add_argument("--fills", type=int, default=1, help="full disks a command")
    parser.add_argument("--kills", type=int, default=2, help="kills a command")
    parser.add_argument("--seconds", type=float, default=14, help="of load beside bad clients")
    parser.add_argument("--idle", type=int, default=1050)
    parser.add_argument("--slow", type=int, default=200)
    options = parser.parse_args()
    import_tensorflow()
    rng = random.Random(options.seed)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = options.idle + options.slow + 256
    if hard == resource.RLIM_INFINITY or hard >= wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.chdir(folder)  # where the log of a bug would be
        workdir, log = folder / "run", folder / "log.csv"
        with contextlib.redirect_stdout(io.StringIO()):
            assert not train(workdir, *LIGHT, "--config.training.num_epochs=2")
        rows = (f"u{rng.randrange(200)},i{rng.randrange(90)},{n}\n" for n in range(20_000))
        log.write_text("user_id,item_id,timestamp\n" + "".join(rows), encoding="utf-8")
        parts = {
            "flips": lambda: flips(workdir, folder, rng, count=options.flips),
            "fills": lambda: fills(workdir, log, folder, rng, count=options.fills),
            "kills": lambda: kills(workdir, log, folder, rng, count=options.kills),
            "clients": lambda: clients(
                workdir, folder, seconds=options.seconds, idle=options.idle, slow=options.slow
            ),
        }
        for title, act in parts.items():
            began = time.monotonic()
            found = act()
            print(f"{title}: {found}, {time.monotonic() - began:.0f} s", flush=True)
        assert not list(folder.rglob("error.log"))


if __name__ == "__main__":
    main()
