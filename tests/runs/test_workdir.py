"""Tests of the work directory: whole files, one run at a time, the cut of metrics.jsonl."""

import errno
import json
import multiprocessing
import os
import threading
from pathlib import Path

import pytest

from ufnrec_tf.common import files
from ufnrec_tf.common.errors import UserError
from ufnrec_tf.common.files import (
    check_folder,
    check_workdir,
    held_folder,
    is_in_use,
    read_json,
    write_json,
    write_text,
)
from ufnrec_tf.runs.workdir import JsonLines, Workdir, read_record

RECORD = {"config": {}, "identity": {}, "seed": 0, "data_path": ""}


def full(*arguments, **keywords):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("broken", ["write_text", "replace"])
def test_a_file_is_there_whole_or_as_it_was(tmp_path, monkeypatch, broken):
    path = tmp_path / "result.json"
    write_json(path, {"a": 1})
    target = Path if broken == "write_text" else os
    monkeypatch.setattr(target, broken, full)
    with pytest.raises(UserError, match=r"result\.json.*No space left on device.*Free some space"):
        write_json(path, {"a": 2})
    monkeypatch.undo()
    assert read_json(path) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["result.json"]


@pytest.mark.parametrize("file", [".lock", ""])
def test_a_folder_is_held_by_one_at_a_time(tmp_path, file):
    folder, taken = tmp_path / "new" / "folder", threading.Event()

    def refuse():
        raise UserError("taken")

    def wait_and_hold():
        with held_folder(folder, file=file, if_taken=taken.set):
            pass

    with held_folder(folder, file=file):
        assert [path.name for path in folder.iterdir()] == [name for name in (file,) if name]
        with (
            pytest.raises(UserError, match="taken"),
            held_folder(folder, file=file, if_taken=refuse),
        ):
            pass
        waiting = threading.Thread(target=wait_and_hold)
        waiting.start()
        assert taken.wait(5) and waiting.is_alive()
    waiting.join(5)
    assert not waiting.is_alive()


def test_text_is_kept_as_it_is(tmp_path):
    write_text(tmp_path / "a", "naïve\n日本\n")
    assert (tmp_path / "a").read_bytes() == "naïve\n日本\n".encode()


def test_json_that_is_missing_or_damaged_is_named(tmp_path):
    with pytest.raises(UserError, match=r"config\.json: not found.*--mode=train"):
        read_json(tmp_path / "config.json")
    for damaged in (b"{", b"", b"\xff\xfe"):
        (tmp_path / "config.json").write_bytes(damaged)
        with pytest.raises(UserError, match=r"config\.json: cannot be read as JSON"):
            read_json(tmp_path / "config.json")


def test_is_made_with_its_parents(tmp_path):
    with Workdir(tmp_path / "a" / "b") as directory:
        assert directory.path.is_dir()


@pytest.mark.parametrize("path", ["file", "file/below", "file/below/it"])
def test_a_file_in_the_path_is_refused_and_nothing_made(tmp_path, path):
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    with pytest.raises(UserError, match=r"--workdir=.*cannot be made.*Give another"):
        Workdir(tmp_path / path).__enter__()
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text(encoding="utf-8") == "mine"


def test_must_exist_refuses_and_makes_nothing(tmp_path):
    with pytest.raises(UserError, match=r"not a trained work directory.*--mode=train"):
        Workdir(tmp_path / "w", must_exist=True).__enter__()
    assert not (tmp_path / "w").exists()


def test_one_run_at_a_time(tmp_path):
    with Workdir(tmp_path), pytest.raises(UserError, match="another run is using it"):
        Workdir(tmp_path).__enter__()
    with Workdir(tmp_path):
        pass
    with pytest.raises(RuntimeError), Workdir(tmp_path):
        raise RuntimeError
    with Workdir(tmp_path):
        pass


def hold(path, is_held, is_over):
    with Workdir(path):
        is_held.set()
        is_over.wait(60)


def test_a_run_that_is_killed_lets_its_directory_go(tmp_path):
    context = multiprocessing.get_context("fork")
    is_held, is_over = context.Event(), context.Event()
    other = context.Process(target=hold, args=(tmp_path, is_held, is_over))
    other.start()
    assert is_held.wait(60)
    with pytest.raises(UserError, match="another run is using it"):
        Workdir(tmp_path).__enter__()
    other.kill()
    other.join()
    with Workdir(tmp_path):
        pass


def test_a_difference_to_what_ran_before_is_named(tmp_path):
    directory = Workdir(tmp_path)
    directory.check_same({"seed": 1})  # nothing ran before
    write_json(tmp_path / "config.json", {**RECORD, "identity": {"seed": 1, "backbone.width": 8}})
    directory.check_same({"seed": 1, "backbone.width": 8, "a later key": 3})
    with pytest.raises(UserError, match=r"backbone\.width 8, now 9\. Give another --workdir"):
        directory.check_same({"seed": 1, "backbone.width": 9})


def test_older_names_of_values_are_read_as_the_present_ones(tmp_path):
    """Of the policy alone: events that are repeated are still kept by that name."""
    config = {"memory": {"policy": "keep"}, "data": {"repeats": "keep"}, "split": 3}
    identity = {"memory.policy": "keep", "data.repeats": "keep", "seed": 1}
    write_json(tmp_path / "config.json", {**RECORD, "config": config, "identity": identity})
    found = read_record(tmp_path / "config.json")
    assert found["config"] == {**config, "memory": {"policy": "plain"}}
    assert found["identity"] == {**identity, "memory.policy": "plain"}
    Workdir(tmp_path).check_same({"memory.policy": "plain", "data.repeats": "keep"})
    with pytest.raises(UserError, match=r"memory\.policy 'plain', now 'replay'"):
        Workdir(tmp_path).check_same({"memory.policy": "replay"})


def line(step, **more):
    return {"step": step, "split": "validation", **more}


def test_metrics_are_cut_back_to_the_checkpoint(tmp_path):
    log = JsonLines(tmp_path / "metrics.jsonl")
    log.cut_after(10)  # no file yet
    for step in (4, 8, 8, 12, 16):
        log.append(line(step))
    log.cut_after(8)
    steps = [json.loads(text)["step"] for text in log.path.read_text().splitlines()]
    assert steps == [4, 8, 8]
    log.append(line(12))
    log.cut_after(100)
    assert len(log.path.read_text().splitlines()) == 4


@pytest.mark.parametrize("half", ['{"step": 8, "hr@', '{"split": "test"}', "\n\n", "[1]", "3"])
def test_a_half_written_line_goes(tmp_path, half):
    log = JsonLines(tmp_path / "metrics.jsonl")
    log.append(line(4))
    with log.path.open("a", encoding="utf-8") as file:
        file.write(half)
    log.cut_after(8)
    log.append(line(8))
    steps = [json.loads(text)["step"] for text in log.path.read_text().splitlines()]
    assert steps == [4, 8]


def test_a_line_after_half_a_line_is_a_line_of_its_own(tmp_path):
    log = JsonLines(tmp_path / "metrics.jsonl")
    log.append(line(4))
    with log.path.open("a", encoding="utf-8") as file:
        file.write('{"step": 8, "hr@')
    log.append(line(12))
    assert [value["step"] for value in log.read()] == [4, 12]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b'{"stop": 8, "split": "validation"}', "has no 'step'"),
        (b'{"step": 8, "smlit": "validation"}', "'smlit' is 'validation'"),
        (b'{"step": 8, "split": "validatiqn"}', "'split' is 'validatiqn'"),
        (b'{"step": 8, "split": "test", "mrr": "0.1"}', "'mrr' is '0.1'"),
        (b'{"step": null, "split": "test"}', "'step' is None"),
        (b'{"step": 8, "split" "test"}', "is no JSON"),
        (b'{"step": 8, "split": "t\xffst"}', "is no JSON"),
        (b"{" * 100_000 + b"}", "is no JSON"),
    ],
)
def test_a_damaged_line_is_named_and_what_is_wrong_with_it(tmp_path, text, reason):
    log = JsonLines(tmp_path / "metrics.jsonl")
    log.append(line(4))
    with log.path.open("ab") as file:
        file.write(text + b"\n")
    log.append(line(12))
    before = log.path.read_bytes()
    with pytest.raises(UserError, match=r"metrics\.jsonl, line 2: is damaged") as found:
        log.cut_after(12)
    assert reason in str(found.value)
    with pytest.raises(UserError, match=r"metrics\.jsonl, line 2: is damaged"):
        [(value["step"], value["split"]) for value in log.read()]
    assert log.path.read_bytes() == before


def test_a_key_that_a_line_lacks_is_named_where_it_is_read(tmp_path):
    log = JsonLines(tmp_path / "metrics.jsonl")
    log.append(line(4, **{"hr@1q": 0.5}))
    with pytest.raises(UserError, match=r"line 1: is damaged \(has no 'hr@10'\)"):
        log.read()[0]["hr@10"]
    assert log.read()[0].get("hr@10") is None


def test_a_full_disk_is_told_by_name(tmp_path):
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this system")
    (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
    with pytest.raises(UserError, match=r"metrics\.jsonl.*No space left on device"):
        JsonLines(tmp_path / "metrics.jsonl").append(line(4))


def test_half_of_a_surrogate_pair_is_written_and_read_back(tmp_path):
    write_json(tmp_path / "a.json", {"name \ud800": "é"})
    assert read_json(tmp_path / "a.json") == {"name \ud800": "é"}


def refuse_writing(monkeypatch):
    """As on a disk that may only be read; root may write to any other folder."""
    monkeypatch.setattr(files.os, "access", lambda path, mode: not mode & os.W_OK)


def test_a_check_before_long_work_makes_nothing(tmp_path, monkeypatch):
    check_workdir(tmp_path / "a" / "b")
    check_workdir(tmp_path)
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    with pytest.raises(UserError, match=r"cannot be made or written to.*Give another"):
        check_workdir(tmp_path / "file" / "below")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    with Workdir(tmp_path / "w"), pytest.raises(UserError, match="another run is using it"):
        check_workdir(tmp_path / "w")
    with Workdir(tmp_path / "w"):
        check_workdir(tmp_path / "w", is_shared=True)
    refuse_writing(monkeypatch)
    with pytest.raises(UserError, match="cannot be made or written to"):
        check_workdir(tmp_path / "a")
    with pytest.raises(UserError, match=r"--config\.export\.path=FOLDER"):
        check_folder(tmp_path / "a", key="export.path")


def test_readers_do_not_exclude_each_other(tmp_path):
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    directory = Workdir(tmp_path, must_exist=True)
    with directory:
        assert is_in_use(tmp_path)
        with pytest.raises(UserError, match="another run is using it"), Workdir(tmp_path).read():
            pass
    with directory.read(), Workdir(tmp_path, must_exist=True).read():
        assert not is_in_use(tmp_path)
        with pytest.raises(UserError, match="another run is using it"):
            Workdir(tmp_path).__enter__()


def test_a_directory_that_may_only_be_read_is_read(tmp_path, monkeypatch):
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    directory = Workdir(tmp_path, must_exist=True)
    with directory.held_if_writable():
        assert is_in_use(tmp_path)
    (tmp_path / ".lock").unlink()
    refuse_writing(monkeypatch)
    with directory.held_if_writable():
        assert not is_in_use(tmp_path)
    assert not (tmp_path / ".lock").exists()
