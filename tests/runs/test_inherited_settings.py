"""The settings that a new run takes from an older one: by a warm start, or by --config."""

import json
from pathlib import Path

import pytest

from tests.helpers.runs import read, run
from ufnrec_tf.common.errors import UserError
from ufnrec_tf.config import as_json, load_config
from ufnrec_tf.runs import inherited_settings

pytestmark = pytest.mark.usefixtures("eagerly")

OLD = {
    "data.user_column": "reader",
    "data.separator": ";",
    "backbone.name": "gru4rec",
    "backbone.width": "24",
    "backbone.dropout": "0.2",
    "loss.name": "cross_entropy",
    "memory.policy": "plain",
    "training.num_epochs": "7",
    "training.finish": "false",
    "evaluation.mask": "none",
    "export.path": "served",
    "comparison.arms": "base",
    "distribution.strategy": "mirrored",
}
WARM = ("training.warm_start", "old")


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def write_run(path="old", settings=OLD, data_path="/logs/old.csv", **changes):
    """Writes a work directory as far as the settings of a new run need it."""
    (Path(path) / "checkpoints" / "best").mkdir(parents=True)
    record = {
        "config": as_json(load_config("", list(settings.items()))),
        "seed": 5,
        "data_path": data_path,
        "identity": {},
        "versions": {"ufnrec_tf": "0.0"},
        "git_commit": "0",
        "command_line": ["main.py"],
    }
    (Path(path) / "config.json").write_text(json.dumps(record | changes), encoding="utf-8")
    return record["config"]


def run_settings(path, overrides, **arguments):
    config = load_config(path, overrides)
    return inherited_settings.run_settings(config, path, overrides, **arguments)


def refuse(*words, overrides=(WARM,), path="", code=1, **arguments):
    with pytest.raises(UserError) as caught:
        run_settings(path, list(overrides), **arguments)
    assert caught.value.exit_code == code
    for word in words:
        assert word in str(caught.value)


def test_a_warm_start_inherits_what_is_not_given():
    write_run()
    given = [WARM, ("optimizer.learning_rate", "0.0005"), ("evaluation.mask", "seen")]
    config, data_path, lines = run_settings("", given, data_path="new.csv")
    assert (config.backbone.name, config.backbone.width) == ("gru4rec", 24)
    assert (config.loss.name, config.memory.policy) == ("cross_entropy", "plain")
    assert (config.data.user_column, config.data.separator) == ("reader", ";")
    assert config.training.num_epochs == 7
    assert data_path == "new.csv"
    assert lines == [
        "Settings that differ from old: optimizer.learning_rate 0.001 -> 0.0005, "
        "evaluation.mask none -> seen"
    ]


def test_what_each_run_says_for_itself_is_not_inherited():
    write_run()
    config = run_settings("", [WARM], data_path="new.csv").config
    assert config.training.warm_start == "old"
    assert config.training.finish
    assert config.export.path == ""
    assert config.comparison.arms == ()
    assert config.distribution.strategy == "one"


def test_the_older_run_s_data_are_those_of_a_warm_start_without_data():
    write_run()
    config, data_path, lines = run_settings("", [WARM])
    assert data_path == "/logs/old.csv"
    assert lines == ["All settings are those of old"]
    assert config.data.name == ""


def test_a_file_and_flags_come_before_the_older_run(write):
    write_run()
    body = "def configure(c):\n    c.loss.name = 'nce'\n    c.data.user_column = 'buyer'\n"
    config = run_settings(str(write(body, "mine.py")), [WARM, ("loss.name", "bce")]).config
    assert (config.loss.name, config.data.user_column) == ("bce", "buyer")
    assert config.backbone.width == 24


def test_the_file_may_ask_for_the_warm_start(write):
    write_run()
    path = write("def configure(c):\n    c.training.warm_start = 'old'\n", "mine.py")
    assert run_settings(str(path), [], data_path="x").config.backbone.name == "gru4rec"


def test_a_value_that_was_given_as_the_default_is_given():
    write_run()
    config = run_settings("", [WARM, ("backbone.dropout", "0.5")]).config
    assert config.backbone.dropout == 0.5


def test_a_named_log_gives_way_to_given_data():
    write_run(settings={"data.name": "planted", "data.planted_users": "60"}, data_path="")
    config, data_path, lines = run_settings("", [WARM])
    assert (config.data.name, config.data.planted_users, data_path) == ("planted", 60, "")
    config, data_path, lines = run_settings("", [WARM], data_path="new.csv")
    assert (config.data.name, data_path) == ("", "new.csv")
    assert lines == ["Settings that differ from old: data.name planted -> ''"]


def test_a_prepared_folder_has_its_columns_behind_it():
    write_run()
    Path("prepared").mkdir()
    Path("prepared/manifest.json").write_text("{}", encoding="utf-8")
    config = run_settings("", [WARM], data_path="prepared").config
    assert (config.data.user_column, config.data.separator) == ("", "")


def test_every_setting_of_another_backbone_is_named():
    write_run()
    others = [WARM, ("backbone.width", "8"), ("backbone.num_blocks", "1")]
    refuse(
        *("warm_start=old", "backbone.width 24, now 8", "backbone.num_blocks 2, now 1"),
        "--config.backbone.width=24 --config.backbone.num_blocks=2",
        overrides=others,
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"overrides": [("training.warm_start", "none")]}, ["has no record (config.json)"]),
        ({"workdir": "old"}, ["own work directory"]),
        ({"workdir": "./old/"}, ["own work directory"]),
    ],
)
def test_no_older_run(arguments, words):
    write_run()
    refuse(*words, **arguments)


def test_an_older_run_without_weights_or_with_a_damaged_record():
    write_run(identity=3)
    refuse("old/config.json", "'identity'")
    write_run("older")
    Path("older/checkpoints/best").rmdir()
    refuse("selected weights", overrides=[("training.warm_start", "older")])


def test_a_run_that_resumes_does_without_the_older_run():
    write_run("new", settings=OLD | {"training.warm_start": "old"})
    config = run_settings("", [WARM], workdir="new").config
    assert config.backbone.width == 24
    refuse(
        "has no record (config.json)", overrides=[("training.warm_start", "other")], workdir="new"
    )


@pytest.mark.parametrize("form", ["old/config.json", "old", "old/"])
def test_a_run_is_the_configuration_of_another(form):
    before = write_run()
    config, data_path, lines = run_settings(form, [])
    assert as_json(config) == before
    assert (data_path, lines) == ("", [])
    config = run_settings(form, [("backbone.width", "9")]).config
    assert config.backbone.width == 9
    assert config.loss.name == "cross_entropy"


def test_a_copied_record_under_another_name_is_taken_too():
    before = write_run()
    Path("old/config.json").rename("settings.json")
    assert as_json(load_config("settings.json", [])) == before


def test_data_that_are_given_come_before_those_of_the_record():
    write_run(settings={"data.name": "planted"})
    config, data_path, lines = run_settings("old", [], data_path="new.csv")
    assert (config.data.name, data_path) == ("", "new.csv")
    assert lines == ["data.name planted of old is not used: other data are given"]
    # Two that are both given are an error, as before.
    assert run_settings("old", [("data.name", "planted")], data_path="x").config.data.name


def test_older_names_of_values_and_keys_that_came_later():
    before = write_run()
    record = read("old/config.json")
    record["config"]["memory"]["policy"] = "keep"
    del record["config"]["gate"]
    Path("old/config.json").write_text(json.dumps(record), encoding="utf-8")
    assert as_json(load_config("old", [])) == before
    assert run_settings("", [WARM]).config.memory.policy == "plain"


@pytest.mark.parametrize(
    ("text", "words", "code"),
    [
        ("{", ["cannot be read as JSON"], 1),
        ("", ["cannot be read as JSON"], 1),
        ("[" * 100_000, ["cannot be read as JSON"], 1),
        ("[]", ["no settings of a run"], 1),
        ("3", ["no settings of a run"], 1),
        ('{"model": {"width": 3}}', ["no settings of a run"], 1),
        ('{"config": {"backbone": 3}}', ["no settings of a run"], 1),
        ('{"config": {"backbone": {"widht": 3}}}', ["'backbone.widht'", "'backbone.width'"], 2),
        ('{"config": {"bakbone": {"width": 3}}}', ["'bakbone.width'", "'backbone.width'"], 2),
        ('{"config": {"backbone": {"width": "3"}}}', ["`backbone.width`", "int", "'3'"], 1),
        ('{"config": {"backbone": {"width": null}}}', ["`backbone.width`", "int"], 1),
        ('{"config": {"backbone": {"width": 0}}}', ["`backbone.width`", "at least 1"], 1),
        ('{"config": {"backbone": {"dropout": NaN}}}', ["`backbone.dropout`", "finite"], 1),
        ('{"config": {"gate": {"kind": "no"}}}', ["`gate.kind`", "one of"], 1),
        ('{"config": {"comparison": {"seeds": ["a"]}}}', ["`comparison.seeds`", "whole"], 1),
    ],
)
def test_a_json_file_that_is_no_record(write, text, words, code):
    path = str(write(text, "x.json"))
    refuse(f"--config={path}", *words, overrides=[], path=path, code=code)


def test_a_folder_that_is_no_run():
    Path("folder").mkdir()
    refuse("--config=folder", "without config.json", overrides=[], path="folder")


@pytest.mark.slow
@pytest.mark.usefixtures("without_export")
def test_a_run_of_another_s_settings_has_its_results(trained, capsys):
    assert run("--mode=train", f"--config={trained}", "--workdir=w") == 0, capsys.readouterr().err
    old, new = (read(path / "config.json") for path in (trained, Path("w")))
    assert new["config"] == old["config"]
    assert new["identity"] == old["identity"]
    assert read("w/result.json")["test"] == read(trained / "result.json")["test"]


def test_a_warm_start_by_its_flag_alone(trained, capsys, monkeypatch):
    calls = []
    monkeypatch.setattr("ufnrec_tf.training.train.train", lambda *_, **named: calls.append(named))
    arguments = (f"--config.training.warm_start={trained}", "--config.training.max_steps=1")
    assert run(*arguments, "--workdir=w") == 0, capsys.readouterr().err
    first = capsys.readouterr().out.splitlines()[0].strip()
    assert first == f"Settings that differ from {trained}: training.max_steps 0 -> 1"
    assert [call["workdir"] for call in calls] == ["w"]
    assert run(*arguments) == 0
    assert calls[-1]["workdir"] == "runs/planted"  # not the demo's
