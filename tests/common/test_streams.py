"""Faults of the screen, the disk and the memory are reported as what they are, in one line."""

import errno
import os
import subprocess
import sys

import pytest

from tests.helpers.runs import command, environment, run
from ufnrec_tf.cli import start
from ufnrec_tf.cli.main import main
from ufnrec_tf.cli.modes import MODES
from ufnrec_tf.common.memory_errors import is_out_of_memory


class Full:
    """A stream whose disk is full: at each write, or only when it is flushed."""

    encoding = "utf-8"

    def __init__(self, *, at_flush, number=errno.ENOSPC):
        self._at_flush, self._number = at_flush, number

    def isatty(self):
        return False

    def write(self, text):
        if not self._at_flush:
            self.flush()
        return len(text)

    def flush(self):
        raise OSError(self._number, os.strerror(self._number))


@pytest.fixture
def log(write):
    return write("user_id,item_id\n" + "".join(f"u{n % 5},i{n % 7}\n" for n in range(60)))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EBADF, errno.EDQUOT])
@pytest.mark.parametrize("at_flush", [True, False])
@pytest.mark.parametrize("topic", ["--help", "--help=all", "--mode=inspect"])
def test_a_screen_that_takes_nothing_is_one_line(
    log, monkeypatch, capsys, tmp_path, topic, at_flush, number
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdout", Full(at_flush=at_flush, number=number))
    code = run(topic, *([f"--data={log}"] if "inspect" in topic else []))
    errors = capsys.readouterr().err
    assert code == 1
    assert errors.startswith(f"error: stdout: could not be written to ({os.strerror(number)}).")
    assert errors.count("\n") == 1
    assert not (tmp_path / "error.log").exists()


def test_a_full_stderr_changes_no_exit_code(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Full(at_flush=False))
    assert run("--mode=nothing") == 2


@pytest.mark.parametrize("closed", [">&-", ">/dev/full"])
def test_a_process_without_a_screen(closed, tmp_path):
    ended = subprocess.run(
        ["bash", "-c", f'exec "$@" {closed}', "bash", *command("--help")],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment(),
        check=False,
    )
    assert ended.returncode == 1
    assert ended.stderr.startswith("error: stdout: ")
    assert ended.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


SEGMENT = "libarrow_acero.so.2600: failed to map segment from shared object"


def numpy_like():
    try:
        raise ImportError(SEGMENT)
    except ImportError as error:
        raise ImportError("Importing the numpy C-extensions failed.") from error


def raising(error):
    def fail(*arguments):
        raise error

    return fail


OUT_OF_MEMORY = [
    MemoryError(),
    ImportError(SEGMENT),
    OSError(errno.ENOMEM, "Cannot allocate memory"),
    RuntimeError("can't start new thread"),
    RuntimeError("OOM when allocating tensor with shape[9,9] [Op:Add]"),
]


@pytest.mark.parametrize("fail", [*map(raising, OUT_OF_MEMORY), numpy_like])
def test_memory_that_runs_out_is_no_bug(fail, log, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    mode = MODES["inspect"]._replace(run=lambda *arguments: fail())
    monkeypatch.setitem(MODES, "inspect", mode)
    assert run("--mode=inspect", f"--data={log}") == 1
    errors = capsys.readouterr().err
    assert errors.startswith("error: memory or address space ran out.")
    assert errors.count("\n") == 1
    assert not (tmp_path / "error.log").exists()


def test_another_error_is_not_about_memory():
    assert not is_out_of_memory(ValueError("no room"))
    assert not is_out_of_memory(OSError(errno.ENOSPC, "No space left on device"))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ImportError(SEGMENT), "memory or address space ran out"),
        (MemoryError(), "memory or address space ran out"),
        (ImportError("No module named 'rich'"), "cannot be imported (No module named 'rich')"),
    ],
)
def test_what_keeps_the_program_from_starting_is_one_line(error, words, monkeypatch, capsys):
    class Finder:
        """Finds no module, as the error says."""

        def find_spec(self, name, path=None, target=None):
            if name == main.__module__:
                raise error

    monkeypatch.delitem(sys.modules, main.__module__)
    monkeypatch.setattr(sys, "meta_path", [Finder(), *sys.meta_path])
    assert start.run() == 1
    errors = capsys.readouterr().err
    assert errors.startswith("error: ") and words in errors and errors.count("\n") == 1
