"""Messages in the terms of Python."""

import warnings

import numpy as np
import pytest

from ufnrec_tf.common.arguments import path_text, shown, true_or_false, whole_number
from ufnrec_tf.common.display import Display
from ufnrec_tf.common.errors import UserError
from ufnrec_tf.common.python_terms import in_python, speaks_python, warn
from ufnrec_tf.runs.state import Interrupted


@pytest.mark.parametrize(
    ("flags", "python"),
    [
        (
            "name them with --config.data.user_column=NAME --config.data.item_column=NAME, or",
            'name them with settings={"data.user_column": "NAME", "data.item_column": "NAME"}, or',
        ),
        ("--config.data.k_core must be", 'settings["data.k_core"] must be'),
        ("unknown flag --config.data.k. Known", 'unknown key settings["data.k"]. Known'),
        ("unknown flag --config.k_core. Known", 'unknown key settings["k_core"]. Known'),
        ("Set --config.teacher.always=true.", 'Give settings={"teacher.always": True}.'),
        ("a lower --config.a.rate=0.01, or", 'a lower settings={"a.rate": 0.01}, or'),
        ("no --config.data.*_column and", 'no settings["data.*_column"] and'),
        ("(--config.data.separator=CHARACTER).", '(settings={"data.separator": "CHARACTER"}).'),
        (
            "a date, --config.data.start=2019-01-01.",
            'a date, settings={"data.start": "2019-01-01"}.',
        ),
        (
            "--config.data.exclude_users=~/x.txt: no",
            'settings={"data.exclude_users": "~/x.txt"}: no',
        ),
        ("--workdir=/a/b: x. Give another --workdir.", "workdir=/a/b: x. Give another workdir."),
        ("Run --mode=train first.", "Run ufnrec_tf.train first."),
        ("--mode=compare needs two arms", "ufnrec_tf.compare needs two arms"),
        ("another place: --output=FILE.html.", "another place: output=FILE.html."),
        ("that --mode=prepare made", "that the command line's --mode=prepare made"),
        ("(`--help=all` lists them)", "(`python main.py --help=all` lists them)"),
        (
            "Copy it. --verify=false reads it as it is.",
            "Copy it. The command line's --verify=false reads it as it is.",
        ),
        ("The same command resumes it.", "The same call resumes it."),
        ("--config=x.py: no such file", "config=x.py: no such file"),
        ("a--data-b, x--workdir, --database", "a--data-b, x--workdir, --database"),
    ],
)
def test_flags_become_arguments_and_settings(flags, python):
    assert in_python(flags) == python
    assert in_python(python) == python


def test_a_function_and_a_display_speak_python(capsys):
    @speaks_python
    def refuse():
        raise UserError("Give another --workdir.", exit_code=2)

    with pytest.raises(UserError, match=r"^Give another workdir\.$") as caught:
        refuse()
    assert caught.value.exit_code == 2 and caught.value.__suppress_context__
    assert refuse.__name__ == "refuse"
    for display in (Display(in_python=True), Display()):
        display.heading("Give --data=FILE")
        display.block(["or --config.data.name=planted"])
    lines = capsys.readouterr().out.split("\n")
    assert lines[1:3] == ["Give data=FILE", '  or settings={"data.name": "planted"}']
    assert lines[4:6] == ["Give --data=FILE", "  or --config.data.name=planted"]


def test_a_warning_names_the_line_that_called():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn("Leave --data out.")
    assert (str(caught[0].message), caught[0].filename) == ("Leave data out.", __file__)


def test_ipython_shows_the_message_without_a_traceback(capsys):
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell()
    cell = "from ufnrec_tf.common.errors import UserError\nraise UserError('no such file')"
    assert isinstance(shell.run_cell(cell).error_in_exec, UserError)
    shown_text = "".join(capsys.readouterr()).strip()
    assert shown_text == "UserError: no such file"
    cell = "from ufnrec_tf.runs.state import Interrupted\nraise Interrupted(130, 5)"
    assert isinstance(shell.run_cell(cell).error_in_exec, Interrupted)
    assert "".join(capsys.readouterr()).strip() == "Interrupted: stopped at step 5"


@pytest.mark.parametrize("value", [3, np.int64(3), np.array(3), 3.0, np.float32(3)])
def test_whole_numbers(value):
    number = whole_number(value, "top_k", minimum=1)
    assert number == 3 and type(number) is int


@pytest.mark.parametrize(
    "value",
    [True, np.bool_(True), "3", 0, -1, 6, None, 3.5, float("nan"), float("inf"), [3], 3j],
)
def test_what_is_no_whole_number(value):
    with pytest.raises(UserError, match=r"^`top_k` must be a whole number from 1 to 5\. Received"):
        whole_number(value, "top_k", minimum=1, maximum=5)


def test_other_arguments(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert path_text("~/x", "workdir") == "/home/me/x"
    assert true_or_false(np.bool_(False), "shows") is False
    for value in (None, "", 3, b"x", ["x"]):
        with pytest.raises(UserError, match=r"^`workdir` must be a path"):
            path_text(value, "workdir")
    for value in (1, "no", None):
        with pytest.raises(UserError, match=r"^`shows` must be True or False"):
            true_or_false(value, "shows")
    assert len(shown(list(range(10**6)))) < 100
