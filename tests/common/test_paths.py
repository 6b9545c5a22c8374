"""`~` in paths stands for a home folder: of flags, keys and arguments."""

import os
from pathlib import Path

import pytest

from tests.helpers.runs import run
from ufnrec_tf.cli.main import _parse
from ufnrec_tf.cli.modes import FLAGS
from ufnrec_tf.common.errors import UserError
from ufnrec_tf.common.paths import expanded
from ufnrec_tf.config import load_config
from ufnrec_tf.reading.published.cache import cache_folder
from ufnrec_tf.training.arms import configure_arm, parse_arms

PATHS = ("data", "config", "workdir", "histories", "users", "similar", "output", "export")
KEYS = (
    *("data.cache", "data.titles", "data.exclude_users"),
    *("training.warm_start", "export.path", "backbone.name"),
)


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def value_of(config, key):
    section, _, name = key.partition(".")
    return config[section][name]


@pytest.mark.parametrize("rest", ["", "/x", "/a/~b", "/é ü/x.csv"])
def test_a_tilde_at_the_start_is_the_home(home, rest):
    assert expanded(f"~{rest}") == f"{home}{rest}"
    assert expanded(Path(f"~{rest}")) == f"{home}{rest}"


@pytest.mark.parametrize("path", ["", "a/~b", "./~", "a~", "/~/x", "train", "ml-1m"])
def test_a_tilde_elsewhere_stays(home, path):
    assert expanded(path) == path


def test_users_without_a_home(home, monkeypatch):
    assert expanded("~root/x") == os.path.expanduser("~root/x") != "~root/x"
    with pytest.raises(UserError, match=r"~nobody_such/x: no home folder of 'nobody_such'.*\./~n"):
        expanded("~nobody_such/x")
    monkeypatch.chdir(home)
    (home / "~nobody_such").mkdir()
    assert expanded("~nobody_such/x") == "~nobody_such/x"  # there it is a folder's name


def test_a_name_that_no_file_can_have(capsys):
    with pytest.raises(UserError, match=r"^/é/aaa.*\.\.\.: has a name of more than 255 bytes"):
        expanded("/é/" + 256 * "a")
    assert run("--mode=inspect", f"--data={300 * 'a'}") == 1
    assert "error: aaa" in capsys.readouterr().err


def test_flags_that_are_paths(home):
    flags, _ = _parse(["main.py", *(f"--{name}=~/{name}.x" for name in PATHS)])
    assert {name: getattr(flags, name) for name in PATHS} == {n: f"{home}/{n}.x" for n in PATHS}
    assert {name for name, option in FLAGS.items() if option.is_path} == set(PATHS)
    spaced, _ = _parse(["main.py", "--workdir", "~/x"])
    assert spaced.workdir == f"{home}/x"


@pytest.mark.parametrize("key", KEYS)
def test_keys_that_are_paths(home, write, key):
    assert value_of(load_config("", [(key, "~/x.py:C")]), key) == f"{home}/x.py:C"
    file = write(f"def configure(config):\n    config.{key} = '~/y.py:C'\n", "own.py")
    assert value_of(load_config(str(file), []), key) == f"{home}/y.py:C"


def test_a_key_of_an_arm(home):
    (arm,) = parse_arms(("own:backbone.name=~/x.py:C",))
    assert configure_arm(load_config("", []), arm).backbone.name == f"{home}/x.py:C"


def test_the_cache_of_the_environment(home, monkeypatch):
    monkeypatch.setenv("UFNREC_CACHE", "~/cache")
    assert cache_folder() == home / "cache"


def test_files_of_a_run_of_the_program(home, write, monkeypatch, capsys):
    monkeypatch.chdir(home)
    write("user,item\nu,a\nu,b\nv,a\nv,b\n", "log.csv")
    assert run("--mode=inspect", "--data=~/log.csv", "--output=~/found.json") == 0
    assert (home / "found.json").is_file() and not (home / "~").exists()
    assert run("--mode=inspect", "--data=~nobody_such/log.csv") == 1
    assert "no home folder of 'nobody_such'" in capsys.readouterr().err
