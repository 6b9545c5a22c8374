"""What is given and not used is named: keys by their conditions, flags and keys by the mode."""

import re
from fnmatch import fnmatchcase

import pytest

from tests.helpers.runs import PLANTED, pairs_text, run
from ufnrec_tf.cli.counterparts import COUNTERPARTS, counterpart
from ufnrec_tf.cli.main import _parse
from ufnrec_tf.cli.modes import (
    ALL_SECTIONS,
    COMMON_FLAGS,
    FLAGS,
    MODES,
    _is_read,
    check_flags,
    unused_flags,
)
from ufnrec_tf.common.errors import UserError
from ufnrec_tf.config import (
    AllBut,
    conditions,
    default_config,
    load_config,
    option_table,
    unmet_condition,
)
from ufnrec_tf.data.log_description import LogDescription
from ufnrec_tf.method.policies import POLICIES
from ufnrec_tf.training.unused_settings import unused_settings

TABLE = option_table()
KEYS = [f"{section}.{key}" for section, options in TABLE.items() for key in options]
CONDITIONS = {
    (pattern, number): condition
    for pattern, alternatives in conditions().items()
    for number, condition in enumerate(alternatives)
}


def unused(*settings, **arguments):
    pairs = [tuple(setting.split("=", 1)) for setting in settings]
    return unused_settings(load_config("", pairs), dict(pairs), **arguments)


@pytest.mark.parametrize(
    ("settings", "key", "reason"),
    [
        (["memory.policy=plain", "memory.patience=3"], "memory.patience", "memory.policy is plain"),
        (["memory.policy=keep", "memory.slots=3"], "memory.slots", "memory.policy is plain"),
        (["memory.policy=replay", "memory.flip=sticky"], "memory.flip", "memory.policy is replay"),
        (["memory.policy=flip", "teacher.weight=1"], "teacher.weight", "memory.policy is flip"),
        (["memory.policy=flip", "teacher.decay=1"], "teacher.decay", "memory.policy is flip"),
        (["memory.safe_period=3"], "memory.safe_period", "memory.policy is ufnrec"),
        (["gate.kind=never", "memory.patience=3"], "memory.patience", "gate.kind is never"),
        (["gate.kind=never", "gate.epochs=3"], "gate.epochs", "gate.kind is never"),
        (["gate.kind=plateau", "gate.patience=3"], "gate.patience", "gate.kind is plateau"),
        (
            ["gate.kind=epochs", "gate.epochs=0", "training.num_epochs=9", "gate.patience=3"],
            *("gate.patience", "gate.kind is epochs"),
        ),
        (["loss.calibration=1"], "loss.calibration", "loss.name is pooled_bce"),
        (["loss.name=bce", "negatives.count=9"], "negatives.count", "loss.name is bce"),
        (["data.cache=x"], "data.cache", "data.name is empty"),
        (["data.name=planted", "data.format=csv"], "data.format", "data.name is planted"),
        (["data.planted_users=9"], "data.planted_users", "data.name is empty"),
        (["data.rating_column=r"], "data.rating_column", "data.min_rating is 0"),
        (["split.seed=1"], "split.seed", "split.name is leave_one_out"),
        (["split.test_share=.2"], "split.test_share", "split.name is leave_one_out"),
        (["training.monitor=", "training.patience=3"], "training.patience", "monitor is empty"),
        (["training.finish=false", "export.top_k=3"], "export.top_k", "training.finish is false"),
        (["distribution.start_minutes=3"], "distribution.start_minutes", "strategy is one"),
    ],
)
def test_a_key_whose_condition_is_not_met(settings, key, reason):
    found = unused(*settings)
    assert list(found) == [key]
    assert reason in found[key]


@pytest.mark.parametrize(
    "settings",
    [
        ["memory.patience=3", "teacher.weight=1", "gate.patience=2", "gate.least_rise=0"],
        ["memory.policy=plain", "teacher.always=true", "teacher.decay=0.9"],
        ["memory.policy=ufnrec_safe", "memory.safe_period=3", "teacher.decay=0.9"],
        ["memory.policy=plain", "gate.popularity_lift=1"],
        ["loss.name=cross_entropy", "negatives.probes=3"],
        ["loss.name=mine.py:Own", "loss.scale=3", "loss.calibration=1"],
        ["split.name=temporal", "split.test_time=2024-01-01", "split.validation_share=0.2"],
        ["split.name=user_holdout", "split.seed=1", "split.test_share=0.2"],
        ["data.min_rating=3", "data.rating_column=r"],
        ["data.rating_column=none", "data.separator=;", "data.user_column=u"],
        ["memory.policy=plain", "comparison.arms=ufnrec", "memory.patience=3"],
    ],
)
def test_a_key_whose_condition_is_met(settings):
    assert unused(*settings) == {}


def test_a_gate_that_opens_too_late():
    found = unused("gate.kind=epochs", "training.num_epochs=20")
    assert found == {"gate.kind": "training.num_epochs is 20: it stays shut"}
    found = unused("gate.kind=epochs", "gate.epochs=5", "training.num_epochs=5")
    assert set(found) == {"gate.kind", "gate.epochs"}
    assert unused("gate.kind=epochs", "gate.epochs=4", "training.num_epochs=5") == {}


def test_what_an_arm_or_a_trial_sets_or_reads():
    arms = "comparison.arms=base,ufnrec"
    found = unused(arms, "memory.policy=replay", "memory.patience=3", is_compared=True)
    assert found == {"memory.policy": "every arm sets it"}
    assert unused("memory.policy=plain", arms, "memory.patience=3") == {}
    plain = ("memory.policy=plain", "memory.patience=3")
    assert unused(*plain, varied=["memory.policy"]) == {"memory.policy": "sweep.space varies it"}
    assert "memory.patience" in unused(*plain, varied=["memory.patience"])


@pytest.mark.parametrize(
    ("log", "setting", "reason"),
    [
        (LogDescription("parquet", {"time": "t"}), "data.separator=;", "the log is Parquet"),
        (LogDescription("jsonl", {"time": "t"}), "data.separator=;", "the log is JSON lines"),
        (LogDescription("dataframe", {"time": "t"}), "data.format=csv", "a DataFrame"),
        (LogDescription("pairs", {}), "data.time_unit=ms", "no column of times"),
        (LogDescription("csv", {"time": "t"}), "data.separator=;", ""),
        (LogDescription("csv", {"time": "t"}), "data.time_unit=ms", ""),
    ],
)
def test_a_key_that_a_form_does_not_read(log, setting, reason):
    assert reason in " ".join(unused(setting, log=log).values())
    assert bool(reason) == bool(unused(setting, log=log))


SOMETHING = {str: "other", int: 1, float: 1.0, tuple: ("other",)}


@pytest.mark.parametrize(("pattern", "number"), CONDITIONS)
def test_conditions_can_be_met(pattern, number):
    keys = [key for key in KEYS if fnmatchcase(key, pattern)]
    assert keys
    config = default_config(TABLE)
    for key, allowed in CONDITIONS[pattern, number].items():
        section, _, name = key.partition(".")
        option = TABLE[section][name]
        values = allowed.values if isinstance(allowed, AllBut) else allowed
        known = POLICIES if key == "memory.policy" else option.choices
        assert all(type(value) is type(option.default) or option.or_text for value in values)
        assert not known or set(values) <= set(known)
        if not isinstance(allowed, AllBut):
            config[section][name] = values[0]
        elif config[section][name] in values:
            config[section][name] = SOMETHING[type(option.default)]
    for key in keys:
        assert unmet_condition(config, key) == ""


# Flags and keys by the mode.


SAMPLES = {
    "split": "test",
    "seed": "3",
    "top_k": "3",
    "diversity": "0.3",
    "port": "80",
    "mode": "train",
}


@pytest.mark.parametrize("mode", MODES)
def test_every_flag_is_read_refused_or_named(mode):
    use = MODES[mode]
    needed = [f"--{name}=x" for name in use.needs]
    of_all_modes = set(COMMON_FLAGS) - {"data", "config", "workdir", "seed"}
    for name in FLAGS.keys() - {*of_all_modes, *use.needs, *use.takes}:
        flag = f"--{name}={SAMPLES.get(name, 'x')}"
        values, overrides = _parse(["main.py", f"--mode={mode}", *needed, flag])
        try:
            check_flags(mode, values, overrides)
        except UserError as error:
            assert f"--{name} has no effect with --mode={mode}" in str(error)
        else:
            ((given, reason),) = unused_flags(values, overrides).items()
            assert given == f"--{name}"
            assert reason.startswith(f"--mode={mode} does not read it")
            assert reason.endswith(counterpart(name, mode, values[name].value))


PARTED = [
    (name, mode, counterpart(name, mode, "7"))
    for name, texts in COUNTERPARTS.items()
    for modes in texts
    for mode in modes.split()
]


def test_a_flag_is_refused_with_what_does_it_in_that_mode():
    """Each counterpart is a flag or key that the mode takes, which the flag itself is not."""
    for name, mode, text in PARTED:
        use = MODES[mode]
        assert name not in (*use.needs, *use.takes)
        assert "." not in name or not _is_read(mode, name)
        for flag in re.findall(r"--([\w.]+)=?", text.partition("--mode=")[0]):
            if flag.startswith("config."):
                section = flag.split(".")[1]
                assert use.sections == ALL_SECTIONS or section in use.sections
            else:
                assert flag in (*use.needs, *use.takes)


def test_the_counterpart_has_the_value_as_it_was_given():
    values, overrides = _parse(["main.py", "--data=log", "--output=runs/my x"])
    with pytest.raises(UserError, match=r"--mode=train\. Give --workdir='runs/my x', the folder"):
        check_flags("train", values, overrides)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--mode=evaluate", "--workdir=w", "--seed=3"], {"--seed"}),
        (["--mode=evaluate", "--workdir=w", "--config.export.top_k=3"], {"export.top_k"}),
        (["--mode=evaluate", "--workdir=w", "--config.evaluation.every=3"], {"evaluation.every"}),
        (["--mode=evaluate", "--workdir=w", "--config.evaluation.mask=none"], set()),
        (["--mode=export", "--workdir=w", "--config.evaluation.mask=none"], {"evaluation.mask"}),
        (["--mode=inspect", "--config.optimizer.l2=1"], {"optimizer.l2"}),
        (["--mode=inspect", "--config.split.seed=1", "--workdir=w"], {"--workdir"}),
        (["--mode=train", "--config.export.path=x"], {"export.path"}),
        (["--mode=train", "--config.serving.max_k=3"], {"serving.max_k"}),
        (["--mode=train", "--config.comparison.seeds=3"], {"comparison.seeds"}),
        (["--mode=train", "--config.comparison.arms=base"], set()),
        (["--mode=compare", "--config.comparison.baselines=itemknn"], set()),
        (["--mode=sweep", "--config.training.finish=false"], {"training.finish"}),
        (["--data=a", "--data=b", "--seed=1"], {"--data"}),
        (["--config.backbone.width=8", "--config.backbone.width=9"], {"backbone.width 8"}),
        (["--config.backbone.width=8", "--config.backbone.width=8"], set()),
        (["--mode=recommend", "--data=a", "--histories=h"], {"--data"}),
        (["--mode=recommend", "--data=a", "--histories=train"], set()),
        (["--mode=serve", "--export=e", "--data=a"], {"--data"}),
    ],
)
def test_what_a_mode_does_not_read_is_named(arguments, expected):
    assert set(unused_flags(*_parse(["main.py", *arguments]))) == expected


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["backbone.width=50", "backbone.num_heads=3"], "`backbone.num_heads` must divide"),
        (["memory.policy=plain", "evaluation.weights=teacher"], "`evaluation.weights` is teacher"),
        (["memory.policy=ufnrek"], "`memory.policy` must be one of"),
        (["backbone.dropout=1.5"], "`backbone.dropout` must be at most 0.99"),
        (["teacher.decay=1.1"], "`teacher.decay` must be at most 1"),
    ],
)
def test_settings_are_checked_before_the_data_are_read(settings, words, capsys):
    assert run("--data=none", *(f"--config.{setting}" for setting in settings)) == 1
    assert words in capsys.readouterr().err


def test_a_comparison_is_checked_before_the_data_are_read(capsys):
    for setting, words in {
        "comparison.seeds=1,1": "`comparison.seeds` must be different",
        "comparison.seeds=": "Received: none",
        "comparison.arms=base,wide:backbone.num_heads=7": "arm 'wide': `backbone.num_heads`",
    }.items():
        assert run("--mode=compare", "--data=none", f"--config.{setting}") == 1
        assert words in capsys.readouterr().err


def test_the_heading_names_them(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ufnrec_tf.training.train.train", lambda *_, **named: None)
    settings = ("memory.policy=plain", "memory.patience=3", "serving.max_k=3")
    flags = [f"--config.{setting}" for setting in settings]
    assert run(*PLANTED, "--workdir=w", *flags) == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert lines[:2] == [
        "given but not used: serving.max_k (--mode=train does not read it)",
        "given but not used: memory.patience (memory.policy is plain)",
    ]
    assert run(*PLANTED, "--workdir=w", *flags, "--quiet") == 0
    assert capsys.readouterr().out == ""
    (tmp_path / "log").write_text(pairs_text(), encoding="utf-8")
    assert run("--data=log", "--workdir=w", "--config.data.time_unit=ms") == 0
    assert "data.time_unit (the log has no column of times)" in capsys.readouterr().out


def test_inspect_names_them_too(write, capsys):
    flags = ("--config.data.cache=x", "--config.split.seed=3", "--config.memory.slots=3")
    assert run("--mode=inspect", f"--data={write(pairs_text())}", *flags) == 0
    shown = capsys.readouterr().out
    assert "given but not used: memory.slots (--mode=inspect does not read it)" in shown
    assert "data.cache (data.name is empty), split.seed (split.name is leave_one_out)" in shown


@pytest.mark.parametrize(
    ("mode", "key", "words"),
    [
        ("evaluate", "data.k_core=2", "cannot change a trained model"),
        ("export", "memory.slots=9", "cannot change a trained model"),
        ("prepare", "memory.slots=9", "has no effect with --mode=prepare"),
        ("prepare", "data.planted_users=9", "has no effect with --mode=prepare"),
        ("serve", "memory.slots=9", "has no effect with --mode=serve"),
    ],
)
def test_a_key_that_is_refused_is_not_also_named_as_unused(capsys, mode, key, words):
    assert run(f"--mode={mode}", "--workdir=w", "--data=d", f"--config.{key}") == 1
    screen = capsys.readouterr()
    assert words in screen.err and screen.out == ""
