"""Flags that are none of ours: the hint names the flag or key that is meant."""

import pytest

from tests.helpers.runs import run
from ufnrec_tf.cli.modes import FLAGS
from ufnrec_tf.config import likely_names, named_settings, option_table

TABLE = option_table()


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def refused(capsys, *arguments, code=2):
    """Returns the line that refuses the arguments, which is the only one."""
    assert run(*arguments) == code
    screen = capsys.readouterr()
    assert screen.out == ""
    (line,) = screen.err.splitlines()
    assert line.startswith("error: ")
    return line


MEANT = {
    "--epochs=2": "'--config.training.num_epochs=2'",
    "--EPOCHS=2": "'--config.training.num_epochs=2'",
    "--num-epochs=2": "'--config.training.num_epochs=2'",
    "--ephocs=2": "'--config.training.num_epochs=2'",
    "--lr=0.1": "'--config.optimizer.learning_rate=0.1'",
    "--learning_rate=0.1": "'--config.optimizer.learning_rate=0.1'",
    "--learning_rte=0.1": "'--config.optimizer.learning_rate=0.1'",
    "--batch_size=8": "'--config.training.batch_size=8'",
    "--hidden_units=8": "'--config.backbone.width=8'",
    "--num_layers=2": "'--config.backbone.num_blocks=2'",
    "--heads=2": "'--config.backbone.num_heads=2'",
    "--dropout=0.2": "'--config.backbone.dropout=0.2'",
    "--maxlen=20": "'--config.backbone.max_length=20'",
    "--gpu=0": "'--config.distribution.strategy=auto'",
    "--topk=5": "'--top_k=5'",
    "--model=gru4rec": "'--config.backbone.name=gru4rec'",
    "--mask=none": "'--config.evaluation.mask=none'",
    "--memory.patience=3": "'--config.memory.patience=3'",
    "-config.memory.patience=3": "'--config.memory.patience=3'",
    "--weights=teacher": "'--config.evaluation.weights=teacher'",
    "--name=x": "'--config.data.name=x', '--config.split.name=x', '--config.backbone.name=x' or",
    "--train_dir=w": "'--workdir=w'",
    "--dataset=log": "'--data=log'",
    "\u2014data=log": "'--data=log'",
    "\u2013seed=1": "'--seed=1'",
    "training.num_epochs=2": "'--config.training.num_epochs=2'",
    "train": "'--mode=train'",
    "evalute": "'--mode=evaluate'",
    "help": "'--help'",
}


@pytest.mark.parametrize("argument", MEANT)
def test_the_hint_names_what_is_meant(capsys, argument):
    line = refused(capsys, argument)
    assert f"unknown flag {argument}. Did you mean {MEANT[argument]}" in line
    assert line.endswith("`--help` lists them.")


def test_the_value_may_be_an_argument_of_its_own(capsys):
    assert "'--config.optimizer.learning_rate=0.1'" in refused(capsys, "--lr", "0.1")
    assert "'--config.training.num_epochs'?" in refused(capsys, "--epochs", "--quiet")


def test_a_path_without_its_flag(capsys, write):
    assert f"'--data={write('a b')}'" in refused(capsys, write("a b"))
    assert "'--config=" in refused(capsys, write("", "mine.py"))


@pytest.mark.parametrize(
    "argument",
    [
        *("extra", "--zzz", "--flagfile=x", "--undefok=epochs", "--", "-x"),
        pytest.param("y" * 300, id="longer than a file's name"),
    ],
)
def test_no_hint_is_better_than_a_wrong_one(capsys, argument):
    assert "Did you mean" not in refused(capsys, argument)


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("epochs", "'training.num_epochs'"),
        ("training.epochs", "'training.num_epochs'"),
        ("training.lr", "'optimizer.learning_rate'"),
        ("gate.epoch", "'gate.epochs'"),
        ("seed", "'--seed'"),
        ("data", "'--data'"),
        ("data.path", "'--data'"),
        ("model.dropout", "'backbone.dropout'"),
    ],
)
def test_the_hint_of_an_unknown_key(capsys, key, meant):
    assert f"Did you mean {meant}?" in refused(capsys, f"--config.{key}=1")


def test_a_setting_after_config_as_if_it_were_a_file(capsys):
    line = refused(capsys, "--config", "backbone.width=8", code=1)
    assert "Did you mean '--config.backbone.width=8'?" in line


@pytest.mark.parametrize("flag", ["data", "workdir", "seed", "top_k", "config.backbone.width"])
def test_a_flag_without_its_value(capsys, flag):
    for arguments in ([f"--{flag}"], [f"--{flag}", "--quiet"]):
        line = refused(capsys, *arguments, code=1)
        assert f"--{flag} needs a value: --{flag}=VALUE" in line


@pytest.mark.parametrize("flag", ["data", "config", "workdir", "histories", "output", "export"])
def test_an_empty_value_is_no_value(capsys, flag):
    assert f"--{flag}= is empty" in refused(capsys, f"--{flag}=", code=1)


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("--seed=1e3", "--seed must be a whole number. Received: '1e3'."),
        ("--seed=", "--seed must be a whole number. Received: ''."),
        ("--port=70000", "--port must be at most 65535"),
        ("--top_k=0", "--top_k must be at least 1"),
        ("--quiet=maybe", "--quiet must be true or false. Received: 'maybe'."),
    ],
)
def test_a_wrong_value_of_a_flag(capsys, argument, words):
    assert words in refused(capsys, argument, code=1)


def test_words_name_what_there_is():
    keys = {f"{section}.{key}" for section, options in TABLE.items() for key in options}
    for word, names in named_settings().items():
        assert word == word.lower()
        for name in names:
            assert name.partition("=")[0] in keys or name.removeprefix("--") in FLAGS, word
    for key in keys:
        assert likely_names(key) == [key]
