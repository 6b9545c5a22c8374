"""Tests of what is printed where: results alone under --quiet, plain lines outside a terminal."""

import pytest

from tests.helpers.runs import run, train
from ufnrec_tf.common.display import Display, ProgressBar, set_quiet


@pytest.fixture(autouse=True)
def _loud_again():
    yield
    set_quiet(False)


def test_quiet_shows_results_and_no_notes(capsys):
    set_quiet(True)
    display = Display()
    display.heading("Test")
    display.notes.line("on the way")
    display.notes.heading("also on the way")
    display.notes.table(["a"], [["b"]])
    display.line("0.5")
    bar = ProgressBar(display, label="train", total=2, done=0)
    bar._printed = -100.0
    bar.update(1, "loss")
    bar.close(2, is_over=True)
    assert capsys.readouterr().out == "\nTest\n0.5\n"
    set_quiet(False)
    Display().notes.line("on the way")
    assert capsys.readouterr().out == "on the way\n"


def test_a_worker_that_shows_nothing_has_no_notes_either(capsys):
    Display(is_shown=False).notes.line("on the way")
    assert capsys.readouterr().out == ""


def test_quiet_run_prints_its_table_alone(capsys, trained):
    assert train(trained, "--config.training.num_epochs=3", "--quiet") == 0
    quiet = capsys.readouterr().out
    assert train(trained, "--config.training.num_epochs=3") == 0
    loud = capsys.readouterr().out
    for words in ("Test, full ranking", "HR@10", "Recommendations"):
        assert words in quiet
    for words in (
        "This run is done",
        "Where things are",
        "Next",
        "--mode=serve",
        "--mode=report",
        "users,",
    ):
        assert words in loud
        assert words not in quiet
    assert set(quiet.splitlines()) <= set(loud.splitlines())


def test_quiet_keeps_errors(capsys, tmp_path):
    assert run("--quiet", f"--data={tmp_path}/none", f"--workdir={tmp_path}/w") == 1
    screen = capsys.readouterr()
    assert screen.out == ""
    assert "no such file" in screen.err


def test_no_colour_and_no_moving_bar_outside_a_terminal(capsys, monkeypatch):
    """Not even where a variable asks for colours, as in many services that run tests."""
    for name in ("FORCE_COLOR", "CLICOLOR_FORCE", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "40")
    display = Display()
    display.heading("Test")
    display.table(["model", "ndcg@10"], [["a model with a name of many words", "0.1234"]])
    with display.console.status("busy"):
        display.line("working")
    bar = ProgressBar(display, label="SASRec", total=2, done=0)
    bar.update(1, "loss")
    bar.close(2, is_over=True)
    text = capsys.readouterr().out
    assert "\x1b" not in text
    assert "\r" not in text
    # A file has no edge at which a table would be cut off.
    assert "a model with a name of many words     0.1234" in text
