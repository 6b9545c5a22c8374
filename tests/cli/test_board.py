"""--mode=board: TensorBoard on a folder of runs."""

import importlib
import time

import pytest

from tests.helpers.runs import run

program = importlib.import_module("tensorboard.program")  # the package only has a loader of it


class InThisProcess:
    """Stands for TensorBoard: keeps its arguments, and starts no server."""

    given: list[str]

    def configure(self, argv):
        type(self).given = argv[1:]

    def launch(self):
        if "--port=80" in self.given:
            raise program.TensorBoardPortInUseError("port 80 is in use")
        return "http://127.0.0.1:6006/"


@pytest.fixture(autouse=True)
def no_server(monkeypatch, tmp_path):
    def end(seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr(program, "TensorBoard", InThisProcess)
    monkeypatch.setattr(time, "sleep", end)
    monkeypatch.chdir(tmp_path)


def test_it_shows_a_folder_of_runs_until_it_is_ended(tmp_path, capsys):
    folder = tmp_path / "runs/a/tensorboard/train"
    folder.mkdir(parents=True)
    (folder / "events.out.tfevents.1").touch()
    assert run("--mode=board", "--workdir=runs", "--host=0.0.0.0") == 130
    assert InThisProcess.given[:3] == ["--logdir=runs", "--host=0.0.0.0", "--port=6006"]
    screen = capsys.readouterr()
    assert screen.out == "runs: TensorBoard at http://127.0.0.1:6006/; Ctrl-C ends it\n"
    assert screen.err == "stopped\n"
    assert run("--mode=board", "--workdir=runs", "--port=80") == 1
    assert (
        "--port=80: TensorBoard cannot start there (port 80 is in use)." in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--workdir=runs",), "--workdir=runs: not found."),
        (("--workdir=.",), "--workdir=.: has no TensorBoard files. Run --mode=train first."),
        ((), "--mode=board needs --workdir"),
        (("--workdir=.", "--config.export.top_k=3"), "has no effect with --mode=board"),
    ],
)
def test_wrong_calls(arguments, words, capsys):
    assert run("--mode=board", *arguments) == 1
    assert words in capsys.readouterr().err
