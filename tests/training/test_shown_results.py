"""The next steps that a finished run shows; the table itself is tested by whole runs."""

from pathlib import Path

from tests.helpers.runs import ROOT
from ufnrec_tf.common.display import Display
from ufnrec_tf.training.shown_results import _show_next

RUN = Path("runs/mine")


def shown(capsys, display, is_own_log=False):
    _show_next(RUN, display, is_own_log=is_own_log)
    return capsys.readouterr().out.partition("\nNext\n")[2]


def test_make_is_named_only_where_our_makefile_is(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    assert "  make tensorboard LOGDIR=runs/mine\n" in shown(capsys, Display())
    monkeypatch.chdir(tmp_path)
    for makefile in (None, "all:\n\techo no tensorboard\n"):
        if makefile:
            Path("Makefile").write_text(makefile, encoding="utf-8")
        steps = shown(capsys, Display())
        assert " --mode=board --workdir=runs/mine " in steps and "--mode=serve" in steps
        assert "tensorboard" not in steps


def test_the_way_to_an_own_log_is_for_those_who_had_none(capsys):
    assert "--data=YOUR_FILE" in shown(capsys, Display())
    assert "--data=" not in shown(capsys, Display(), is_own_log=True)


def test_python_gets_the_next_steps_in_python(capsys):
    steps = shown(capsys, Display(in_python=True))
    assert "run = ufnrec_tf.Run('runs/mine')" in steps and "%tensorboard --logdir=" in steps
    assert "--mode" not in steps and "make" not in steps
