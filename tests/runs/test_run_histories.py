"""Histories that a run keeps of its users: written, found again, damaged, missing."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from tests.helpers.runs import run as run_command
from ufnrec_tf.common.errors import UserError
from ufnrec_tf.config import load_config
from ufnrec_tf.data.events import batch_of
from ufnrec_tf.data.interactions import build_interactions
from ufnrec_tf.runs import histories as module
from ufnrec_tf.runs.histories import (
    has_histories,
    read_histories,
    run_histories,
    users_among,
    write_histories,
)
from ufnrec_tf.runs.raw_ids import RunIds, write_ids
from ufnrec_tf.runs.workdir import read_record

EVENTS = [("7", "a"), ("u 1", "b"), ("7", "c"), ("é", "a"), ("7", "a")]


@pytest.fixture
def log():
    users, items = zip(*EVENTS, strict=True)
    events = batch_of(np.array(users, object), np.array(items, object))
    return build_interactions(events, sha256="hash", source="log")


@pytest.fixture
def workdir(tmp_path, log):
    none = np.zeros(0, np.int32)
    write_ids(tmp_path, RunIds(log.item_ids, none.astype(object), none, none, none))
    write_histories(tmp_path, log)
    return tmp_path


@pytest.mark.parametrize("at_once", [1, 2, 1000])
def test_written_and_read(workdir, log, monkeypatch, at_once):
    monkeypatch.setattr(module, "_USERS_AT_ONCE", at_once)
    write_histories(workdir, log)
    kept = read_histories(workdir, "hash")
    assert kept.of_users(["é", "7"]) == {"é": ["a"], "7": ["a", "c", "a"]}
    assert list(kept.of_users(["u 1", " u 1", "7.0"])) == ["u 1", "7"]
    assert users_among(workdir, {"7", "8", "é"}) == {"7", "é"}


def test_unknown_users_are_told_by_number_and_example(workdir):
    kept = read_histories(workdir, "hash")
    words = r"2 of 3 users are not users of the run, such as 'u 2'. Did you mean 'u 1'\?"
    with pytest.raises(UserError, match=words):
        kept.of_users(["u 2", "7", "8"])
    with pytest.raises(UserError, match=r"1 of 1 users .* such as 'xyz'. It has such as '7'."):
        kept.of_users(["xyz"])


def test_a_damaged_file_or_one_of_another_log_is_refused(workdir):
    with pytest.raises(UserError, match=r"is of another log than the run's\. Remove it\."):
        read_histories(workdir, "other")
    path = workdir / module.FILE
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    for read in (lambda: read_histories(workdir, "hash"), lambda: users_among(workdir, {"7"})):
        with pytest.raises(UserError, match=r"histories\.parquet: is damaged"):
            read()
    # One byte may be of what nobody reads, and is found out where it is of the content.
    num_refused, right = 0, [["a", "c", "a"], ["b"], ["a"]]
    for place in range(0, len(whole), 3):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        try:
            kept = read_histories(workdir, "hash")
        except UserError:
            num_refused += 1
        else:
            assert kept.user_ids.tolist() == ["7", "u 1", "é"]
            assert [kept.history(row) for row in range(3)] == right
    assert num_refused > 50
    path.unlink()
    assert not has_histories(workdir) and users_among(workdir, {"7"}) == set()
    with pytest.raises(UserError, match="runs of older versions did not write it"):
        read_histories(workdir, "hash")


def test_an_older_run_reads_its_log_if_that_is_the_same(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("user,item\nu,a\nu,b\n")
    config = load_config("", [])
    sha256 = module.load(config, str(path)).interactions.sha256
    record = {"identity": {"data of sha256": sha256}, "data_path": str(path)}
    assert run_histories(tmp_path, config, record).of_users(["u"]) == {"u": ["a", "b"]}
    path.write_text("user,item\nu,a\n")
    with pytest.raises(UserError, match=r"older versions .* has changed .* Give the log as --data"):
        run_histories(tmp_path, config, record)
    with pytest.raises(UserError, match=r"log\.csv: has changed since the run read it"):
        run_histories(tmp_path, config, record, data=str(path))
    with pytest.raises(UserError, match=r"no such file.* Give the log as --data"):
        run_histories(tmp_path, config, record | {"data_path": str(tmp_path / "gone")})


@pytest.mark.slow
def test_users_at_the_command_line(trained, tmp_path, capsys):
    """The run's own users get what their whole histories get, and others are told."""

    def recommend(*arguments):
        code = run_command(
            "--mode=recommend",
            f"--workdir={trained}",
            f"--output={output}",
            "--top_k=3",
            *arguments,
        )
        return code, capsys.readouterr()

    output, users = tmp_path / "out.csv", tmp_path / "users"
    assert recommend("--histories=train")[0] == 0
    whole = pd.read_csv(output)
    some = whole["user"].unique()[5:7].tolist()
    users.write_text("\n".join([*some, f" {some[0]}", some[1], "nobody"]))
    code, screen = recommend(f"--users={users}")
    assert code == 0
    assert "warning: " in screen.out and "1 of 4 users are not users of the run" in screen.out
    rows, right = pd.read_csv(output), whole[whole["user"].isin(some)].reset_index(drop=True)
    pd.testing.assert_frame_equal(rows, right)
    best = rows["item"][0]
    assert recommend(f"--users={users}", f"--exclude={best}, gone")[1].out.count("warning: ") == 2
    assert best not in set(pd.read_csv(output)["item"])
    output.unlink()
    users.write_text("nobody\n")
    for arguments, words in (
        ((f"--users={users}",), "1 of 1 users are not users of the run, such as 'nobody'"),
        ((f"--users={users}", "--histories=train"), "--histories or --users, not both"),
        ((), "--mode=recommend needs --histories or --users"),
        ((f"--users={users}", "--config.data.format=csv"), "no effect with --mode=recommend --use"),
        ((f"--histories={trained}/export/1/items.parquet",), "no user column among 'item_id'"),
    ):
        code, screen = recommend(*arguments)
        assert (code, screen.err.count("\n")) == (1, 1)
        assert words in screen.err
    assert not output.exists()


def test_an_export_without_its_run_has_no_users(trained, tmp_path, capsys):
    shutil.copytree(trained / "export", tmp_path / "w" / "export")
    (tmp_path / "users").write_text("u\n")
    arguments = ("--mode=recommend", f"--workdir={tmp_path / 'w'}", f"--output={tmp_path / 'o'}")
    assert run_command(*arguments, f"--users={tmp_path / 'users'}") == 1
    assert "has no config.json" in capsys.readouterr().err


def test_a_run_keeps_the_histories_of_its_log(trained):
    record = read_record(trained / "config.json")
    kept = read_histories(trained, record["identity"]["data of sha256"])
    counts = json.loads((trained / "result.json").read_text())["data"]
    assert (len(kept.user_ids), len(kept.items)) == (counts["users"], counts["interactions"])
