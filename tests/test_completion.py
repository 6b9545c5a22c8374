"""Tests of tab completion: what a shell offers that has read the script."""

import shutil
import subprocess

import pytest

from tests.helpers.runs import ROOT, run
from ufnrec_tf.cli.main import MODES
from ufnrec_tf.config import option_table

TABLE = option_table()


@pytest.fixture
def script(capsys):
    """Returns the script of a shell as the command line prints it."""

    def print_script(shell):
        assert run(f"--completion={shell}") == 0
        return capsys.readouterr().out

    return print_script


def ask(shell, text, cwd):
    done = subprocess.run(
        [shell, *(["--norc", "--noprofile"] if shell == "bash" else [])],
        input=text,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
    return done.stdout.splitlines()


def bash(script, line, cwd, *, function="_ufnrec", breaks=" \t\n=:"):
    """Returns what bash offers at the end of a line, as it calls a completion function."""
    words = line.replace("=", " = ").split() + ([""] if line.endswith(("=", " ")) else [])
    quoted = " ".join(f"'{word}'" for word in words)
    return ask(
        "bash",
        f"{script}\nCOMP_WORDBREAKS=$'{breaks.encode('unicode_escape').decode()}'\n"
        f"COMP_LINE='{line}' COMP_POINT={len(line)}\nCOMP_WORDS=({quoted})\n"
        f"COMP_CWORD={len(words) - 1}\n{function} x\n"
        '((${#COMPREPLY[@]})) && printf "%s\\n" "${COMPREPLY[@]}"\n',
        cwd,
    )


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("ufnrec --mode=tr", ["train"]),
        ("ufnrec --mode=", None),
        ("ufnrec --mo", ["--mode="]),
        ("ufnrec --data=log.csv --wo", ["--workdir="]),
        ("ufnrec --qu", ["--quiet"]),
        ("ufnrec --config.mem", ["--config.memory."]),
        ("ufnrec --config.memory.pat", ["--config.memory.patience="]),
        ("ufnrec --config.gate.kind=p", ["plateau"]),
        ("ufnrec --config.teacher.always=", ["true", "false"]),
        ("ufnrec --config.memory.policy=ufn", ["ufnrec", "ufnrec_safe"]),
        ("ufnrec --config.backbone.width=", []),
        ("ufnrec --config=configs/pap", ["configs/paper.py"]),
        ("ufnrec --config=mi", ["mine one.py"]),
        ("ufnrec --data=lo", ["log.csv"]),
        ("ufnrec --help=memory.pat", ["memory.patience"]),
    ],
)
def test_bash_offers(script, tmp_path, line, offered):
    (tmp_path / "log.csv").touch()
    (tmp_path / "mine one.py").touch()
    got = bash(script("bash"), line, tmp_path)
    assert sorted(got) == sorted(list(MODES) if offered is None else offered)


def test_bash_offers_all_keys_of_a_section(script, tmp_path):
    got = bash(script("bash"), "ufnrec --config.gate.", tmp_path)
    assert set(got) == {f"--config.gate.{key}=" for key in TABLE["gate"]}


def test_bash_keeps_the_flag_where_an_equals_sign_ends_no_word(script, tmp_path):
    got = bash(script("bash"), "ufnrec --mode=tr", tmp_path, breaks=" \t\n")
    assert got == ["--mode=train"]


def test_bash_completes_our_main_py_and_leaves_other_programs_alone(script, tmp_path):
    text = script("bash")
    line = f"python {ROOT}/main.py --mode=tr"
    assert bash(text, line, tmp_path, function="_ufnrec_python") == ["train"]
    (tmp_path / "main.py").write_text("print('another')", encoding="utf-8")
    assert bash(text, "python main.py --mode=tr", tmp_path, function="_ufnrec_python") == []
    before = f"_theirs() {{ COMPREPLY=(theirs); }}\ncomplete -F _theirs python\n{text}\n{text}"
    assert bash(before, "python -", tmp_path, function="_ufnrec_python") == ["theirs"]


@pytest.mark.skipif(not shutil.which("fish"), reason="fish is not installed")
def test_fish_offers(script, tmp_path):
    (tmp_path / "log.csv").touch()
    asked = ["ufnrec --mode=tr", "ufnrec --config.memory.pat", "ufnrec --data=lo"]
    asked.append(f"python {ROOT}/main.py --config.gate.kind=p")
    lines = "\n".join(f"complete -C '{line}'" for line in asked)
    got = ask("fish", f"{script('fish')}\n{lines}\n", tmp_path)
    assert [line.split("\t")[0] for line in got] == [
        "--mode=train",
        "--config.memory.patience=",
        "--data=log.csv",
        "--config.gate.kind=plateau",
    ]


def test_unknown_shell_names_the_known_ones(capsys):
    assert run("--completion=bsh") == 2
    assert "Did you mean 'bash'?" in capsys.readouterr().err
