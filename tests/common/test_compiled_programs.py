"""Tests of the folder of compiled programs: only whole ones of this machine and user are loaded."""

import os
import shutil
import sys

import pytest

from ufnrec_tf.cli import main as command_line
from ufnrec_tf.common import compiled_programs
from ufnrec_tf.common.compiled_programs import keep_programs, seal_programs


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Does what a new process does before it imports TensorFlow; returns the flags."""
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    monkeypatch.setattr(compiled_programs, "_kept_in", [])
    monkeypatch.setenv("UFNREC_PROGRAMS", str(tmp_path / "programs"))

    def start():
        monkeypatch.setenv("TF_XLA_FLAGS", "--tf_xla_max_cluster_size=9")
        keep_programs()
        first, *own = os.environ["TF_XLA_FLAGS"].split()
        assert first == "--tf_xla_max_cluster_size=9"
        return dict(flag.removeprefix("--tf_xla_persistent_cache_").split("=") for flag in own)

    return start


def _folder(tmp_path):
    (folder,) = (tmp_path / "programs").iterdir()
    return folder


def test_only_whole_programs_stay(start, tmp_path):
    flags = start()
    folder = _folder(tmp_path)
    assert flags["directory"] == str(folder)
    assert "read_only" not in flags
    for name in ("whole", "damaged", "cut"):
        (folder / f"{name}.pb").write_bytes(b"program of " + name.encode())
    seal_programs()
    (folder / "killed.pb").write_bytes(b"of a process that was killed before it wrote the hash")
    (folder / "damaged.pb").write_bytes(b"prOgram of damaged")
    (folder / "cut.pb").write_bytes(b"pro")
    (folder / "now.tmp").write_bytes(b"being written by another process")
    (folder / "old.tmp").write_bytes(b"left behind")
    os.utime(folder / "old.tmp", (0, 0))
    keep_programs()  # in a process that this one has started
    assert os.environ["TF_XLA_FLAGS"].count("directory") == 1
    left = sorted(path.name for path in folder.iterdir())
    assert left == ["now.tmp", "whole.pb", "whole.sha256"]


def test_another_processor_or_setting_has_a_folder_of_its_own(start, tmp_path, monkeypatch):
    first = start()["directory"]
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=true")
    second = start()["directory"]
    monkeypatch.setattr(os, "sched_getaffinity", lambda number: set(range(99)))
    assert len({first, second, start()["directory"]}) == 3


@pytest.mark.parametrize("way", ["off", "imported", "own flags", "of all", "a space", "no folder"])
def test_nothing_is_kept_where_it_cannot_be_trusted(start, tmp_path, monkeypatch, way):
    if way == "off":
        monkeypatch.setenv("UFNREC_PROGRAMS", "off")
    elif way == "imported":
        monkeypatch.setitem(sys.modules, "tensorflow", object())
    elif way == "own flags":
        monkeypatch.setenv("TF_XLA_FLAGS", "--tf_xla_persistent_cache_directory=/own")
        keep_programs()
        assert os.environ["TF_XLA_FLAGS"] == "--tf_xla_persistent_cache_directory=/own"
        return
    elif way == "of all":
        start()
        _folder(tmp_path).chmod(0o777)
    elif way == "a space":
        monkeypatch.setenv("UFNREC_PROGRAMS", str(tmp_path / "my programs"))
    else:
        (tmp_path / "programs").write_text("a file")
    assert start() == {}


def test_a_bug_leaves_no_program_behind(start, tmp_path, monkeypatch, capsys):
    start()
    (_folder(tmp_path) / "cause.pb").write_bytes(b"loads, and then does not run")
    seal_programs()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command_line, "_run", lambda arguments: 1 / 0)
    assert command_line.main(["main.py"]) == 1
    assert "internal error" in capsys.readouterr().err
    assert not list(_folder(tmp_path).iterdir())


def test_a_full_disk_is_only_read(start, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(9, 9, 0))
    assert start()["read_only"] == "true"


def test_the_oldest_programs_go(start, tmp_path, monkeypatch):
    start()
    folder = _folder(tmp_path)
    for age in range(4):
        (folder / f"{age}.pb").write_bytes(bytes(10))
        os.utime(folder / f"{age}.pb", (1000 - age, 1000 - age))
    seal_programs()
    monkeypatch.setattr(compiled_programs, "_MOST_BYTES", 39)
    start()
    assert sorted(path.name for path in folder.iterdir()) == ["0.pb", "0.sha256"]
