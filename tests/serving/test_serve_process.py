"""New versions under load, a server's end, and its flags."""

import json
import os
import re
import shutil
import signal
import socket
import threading
import time

import pytest
from ml_collections import ConfigDict

from tests.helpers.http_client import GOOD, PREDICT, Client, wait_until
from tests.helpers.http_server import serving
from tests.helpers.runs import command, environment, pairs_text, run
from tests.processes.forks import forks
from ufnrec_tf.cli.serve import ServeOptions, run_contents
from ufnrec_tf.common.errors import UserError
from ufnrec_tf.reading.sources import load
from ufnrec_tf.runs.workdir import read_record


@pytest.mark.slow
def test_a_new_version_is_taken_up_under_load_and_a_damaged_one_is_not(trained, tmp_path):
    folder = tmp_path / "export"
    shutil.copytree(trained / "export" / "1", folder / "1")
    with serving(folder) as running:
        statuses, versions, is_over = [], set(), threading.Event()

        def send():
            client = running.client()
            while not is_over.is_set():
                statuses.append(client.ask(PREDICT, GOOD).status)
                answer = client.ask("/api/recommendations", {"history": ["a"], "k": 2})
                statuses.append(answer.status)
                versions.add(answer.json.get("version"))
                time.sleep(0.01)  # the same cores read the new version meanwhile

        threads = [threading.Thread(target=send) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            wait_until(lambda: 1 in versions)
            shutil.copytree(folder / "1", folder / ".new")
            os.rename(folder / ".new", folder / "2")
            wait_until(lambda: 2 in versions)
            shutil.copytree(folder / "1", folder / ".new")
            (folder / ".new" / "saved_model.pb").write_bytes(b"damaged")
            os.rename(folder / ".new", folder / "3")
            wait_until(lambda: len(running.lines) == 2)
            count = len(statuses)
            wait_until(lambda: len(statuses) > count + 6)
        finally:
            is_over.set()
            for thread in threads:
                thread.join()
        assert set(statuses) == {200}
        assert versions == {1, 2}
        assert running.lines[0] == "version 2 serves now, in place of 1"
        assert running.lines[1].startswith("version 3 not taken, 2 stays: ")
        text = running.client().ask("/metrics").body.decode()
        assert 'ufnrec_model_reloads_total{outcome="failed"} 1.0' in text
        shutil.rmtree(folder / "3")
        shutil.rmtree(folder / "2")  # taken back: the one before is in force again
        # A look while it goes may find half of it, and say so.
        wait_until(lambda: running.lines[-1] == "version 1 serves now, in place of 2")
        assert running.client().ask("/v1/models/ufnrec/versions/1").status == 200


# Whose histories the page shows.


def test_users_come_from_the_log_while_it_is_there(trained, tmp_path):
    config = ConfigDict(read_record(trained / "config.json")["config"])
    log = load(config, "").interactions
    options = ServeOptions(str(trained), "", "", "", 0)
    users = run_contents(options, config).users
    assert users is not None and users.source == f"all events of {log.source}"
    for name in ("ids", "config.json", "false_negatives.parquet"):
        copy = shutil.copytree if name == "ids" else shutil.copy
        copy(trained / name, tmp_path / name)
    record = read_record(tmp_path / "config.json") | {"data_path": str(tmp_path / "moved")}
    (tmp_path / "config.json").write_text(json.dumps(record), encoding="utf-8")
    config.data.name = ""
    kept = run_contents(options._replace(workdir=str(tmp_path)), config).users
    assert kept is not None and kept.source == "all events kept in the work directory"
    (tmp_path / "ids" / "histories.parquet").unlink()  # as in runs of older versions
    older = run_contents(options._replace(workdir=str(tmp_path)), config).users
    assert older is not None and older.source.startswith("training events")
    for row, user in enumerate(log.user_ids):
        taken = log.item_ids[log.items[log.offsets[row] : log.offsets[row + 1]]].tolist()
        assert users.history(user, most=999) == kept.history(user, most=999) == taken
        history = older.history(user, most=999)
        assert history and history == taken[:-2][-len(history) :]  # the last two are held out


def test_another_log_than_the_run_s_is_refused(trained, tmp_path):
    (tmp_path / "log").write_text(pairs_text(), encoding="utf-8")
    record = read_record(trained / "config.json")
    config = ConfigDict(record["config"])
    config.data.name = ""
    options = ServeOptions(str(trained), "", str(tmp_path / "log"), "", 0)
    with pytest.raises(UserError, match=r"is not the log that .* was trained on"):
        run_contents(options, config)


# A process of its own, and flags.


@pytest.mark.slow
def test_a_server_that_is_told_to_end_answers_what_has_begun(trained, tmp_path):
    arguments = command("--mode=serve", f"--workdir={trained}", "--port=0")
    with forks([arguments], [environment()], cwd=tmp_path) as (process,):

        def first_line():
            # On a slow machine also what takes long.
            whole = process.shown().split("\n")[:-1]
            return next((line for line in whole if " so far" not in line), "")

        wait_until(first_line)
        address = re.findall(r"version 1 serves at http://127\.0\.0\.1:(\d+)/$", first_line())
        port = int(address[0])
        # The line is a promise: who reads it can connect.
        assert is_up(port)
        body = json.dumps(GOOD).encode()
        with socket.create_connection(("127.0.0.1", port), timeout=30) as raw:
            head = (
                f"POST {PREDICT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
            )
            raw.sendall(head.encode() + body[:9])
            wait_until(lambda: b"in_flight 2.0" in Client(port).ask("/metrics").body)
            process.send_signal(signal.SIGTERM)
            wait_until(lambda: not is_up(port))
            raw.sendall(body[9:])
            answer = b""
            while part := raw.recv(65536):
                answer += part
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b'"predictions"' in answer
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 143
    assert errors.splitlines() == ["stopped"]


def is_up(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True


FLAGS = {
    "nothing": ((), ["--workdir", "--export"]),
    "no export": (("--export=.",), ["no exported model", "--mode=export"]),
    "no run": (("--workdir=none",), ["none/config.json", "not found"]),
    "no port": (("--export=EXPORT", "--port=70000"), ["port", "65535"]),
    "no host": (("--export=EXPORT", "--host=256.1.1.1"), ["--host=256.1.1.1", "another"]),
    "training": (("--export=EXPORT", "--config.loss.name=nce"), ["loss.name", "serving.*"]),
    "no limit": (("--export=EXPORT", "--config.serving.max_k=0"), ["max_k"]),
}


@pytest.mark.parametrize("case", FLAGS)
def test_bad_flags_are_one_line(case, trained, tmp_path, monkeypatch, capfd):
    arguments, words = FLAGS[case]
    monkeypatch.chdir(tmp_path)
    export = str(trained / "export")
    code = run("--mode=serve", *(part.replace("EXPORT", export) for part in arguments))
    error = capfd.readouterr().err
    assert code == 1
    assert len(error.splitlines()) == 1
    assert error.startswith("error: ")
    for word in words:
        assert word in error


def test_a_taken_port_is_told(trained, capfd):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert run("--mode=serve", f"--workdir={trained}", f"--port={port}") == 1
    assert f"--port={port}: cannot be listened on" in capfd.readouterr().err
