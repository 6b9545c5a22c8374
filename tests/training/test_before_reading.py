"""What needs no data is refused before the log is opened, in every mode."""

from collections.abc import Iterable

import pytest

from tests.helpers.runs import run
from ufnrec_tf import objectives
from ufnrec_tf.backbones import BACKBONES
from ufnrec_tf.backbones.base import setting_names
from ufnrec_tf.common.distribution import STRATEGIES
from ufnrec_tf.config import option_table
from ufnrec_tf.data.splits import SPLITS
from ufnrec_tf.evaluation.baselines import BASELINES
from ufnrec_tf.evaluation.metrics import FURTHER_METRICS, METRICS
from ufnrec_tf.method.gate import GATES
from ufnrec_tf.method.policies import POLICIES
from ufnrec_tf.training.before_reading import OF_ALL_BACKBONES

NAMED: dict[str, Iterable[str]] = {
    "backbone.name": BACKBONES,
    "loss.name": objectives.OBJECTIVES,
    "memory.policy": POLICIES,
    "gate.kind": GATES,
    "split.name": SPLITS,
    "distribution.strategy": STRATEGIES,
    "evaluation.metrics": {**METRICS, **FURTHER_METRICS},
    "comparison.baselines": BASELINES,
}
"""Keys whose values are names in a table."""
OPTIONS = {
    f"{section}.{key}": option
    for section, options in option_table().items()
    for key, option in options.items()
}


def choices_of(key: str) -> tuple[str, ...]:
    option = OPTIONS[key]
    return option.choices or (option.parts.choices if option.parts else ())


@pytest.mark.parametrize("key", NAMED)
def test_the_configuration_names_what_the_table_has(key):
    """A new backbone, loss, policy ... is a line of its table and a choice of configs/base.py."""
    assert sorted(choices_of(key)) == sorted(NAMED[key])


def test_settings_of_all_backbones_need_no_class():
    for kind in BACKBONES.values():
        assert set(OF_ALL_BACKBONES) - {"name"} <= set(setting_names(kind))


@pytest.fixture(autouse=True)
def _unread(tmp_path, monkeypatch):
    """A log that must not be opened."""

    def load(*_, **__):
        raise AssertionError("the log was opened")

    monkeypatch.chdir(tmp_path)
    (tmp_path / "log").write_text("u i\n", encoding="utf-8")
    monkeypatch.setattr("ufnrec_tf.reading.sources.load", load)


def refused(capfd, *flags):
    code = run("--data=log", "--workdir=w", *flags)
    line = capfd.readouterr().err
    assert code in (1, 2) and line.count("\n") == 1, line
    return line


WRONG = {
    **{key: "no-such-name" for key in OPTIONS if choices_of(key)},
    **{key: "-7" for key, option in OPTIONS.items() if (option.minimum or 0) > -7},
    "comparison.seeds": "-7",
    "evaluation.cutoffs": "0",
}
WRONG = {
    key: value
    for key, value in WRONG.items()
    if choices_of(key) or OPTIONS[key].minimum is not None or OPTIONS[key].parts
}


def test_every_wrong_name_and_number_is_refused_first(capfd):
    assert len(WRONG) > 100
    for key, value in WRONG.items():
        line = refused(capfd, f"--config.{key}={value}")
        assert key in line and value in line, line


SPACE = "--config.sweep.space=optimizer.learning_rate=1e-4|1e-3"
MODES = {"train": (), "compare": ("--config.comparison.arms=base,ufnrec",), "sweep": (SPACE,)}
CASES = {
    "loss.name=cross_entropi": "Did you mean 'cross_entropy'",
    "backbone.name=sasrek": "Did you mean 'sasrec'",
    "evaluation.metrics=hr,ndgc": "Did you mean 'ndcg'",
    "training.monitor=ndcg@11": "training.monitor",
    "comparison.baselines=popularty": "Did you mean 'popularity'",
    "distribution.strategy=mirored": "Did you mean 'mirrored'",
    "backbone.num_heads=3": "must divide `backbone.width`",
    "backbone.time=both": "must be one of none, gaps",
    "backbone.hidden_width=9": "which backbone 'sasrec' does not read",
    "backbone.name=bsarec": "training.windows=prefixes",
    "backbone.name=no.py:Net": "no.py: no such file",
    "loss.name=no.py:Loss": "no.py: no such file",
    "evaluation.metrics=no.py:m": "no.py: no such file",
    "split.num_targets=2": "leave_last_n",
    "split.name=user_holdout split.test_share=0.9 split.validation_share=0.1": "below 1",
    "split.name=temporal split.test_time=soon": "must be an ISO 8601 date",
    "split.name=temporal split.validation_time=2024-02-01 split.test_time=2024-01-01": "before",
    "data.start=2024-02-01 data.end=2024-01-01": "`data.start` must lie before `data.end`",
    "data.k_core=3 data.min_user_events=2": "data.k_core",
    "training.max_steps=7 training.steps_per_execution=2": "must be a divisor of 7",
    "memory.policy=ufnrec_soft teacher.kind=runs teacher.runs=gone": "of a finished run",
    "evaluation.weights=teacher memory.policy=plain": "Set --config.teacher.always=true",
}


@pytest.mark.parametrize("mode", MODES)
def test_what_contradicts_itself_is_refused_first(mode, capfd):
    for settings, words in CASES.items():
        keys = [f"--config.{setting}" for setting in settings.split()]
        if mode == "compare" and "memory.policy" in settings:
            continue  # each arm has its own policy
        assert words in refused(capfd, f"--mode={mode}", *MODES[mode], *keys), settings


@pytest.mark.parametrize(
    ("mode", "setting", "words"),
    [
        ("train", "comparison.arms=a:loss.name=bcee", "arm 'a'"),
        ("compare", "comparison.arms=base", "at least two arms"),
        ("compare", "comparison.arms=base,m:backbone.hidden_width=9", "arm 'm'"),
        ("compare", "comparison.reference=bsae", "Did you mean 'base'"),
        ("compare", "comparison.seeds=1,1", "comparison.seeds"),
        ("compare", "comparison.run=base/9", "comparison.run"),
        ("compare", "distribution.strategy=multi_worker", "on one machine"),
        ("sweep", "distribution.strategy=multi_worker", "on one machine"),
        ("sweep", "sweep.space=memory.policy=plain|ufnrek", "Did you mean 'ufnrec'"),
        ("sweep", "sweep.space=loss.name=bce|nec", "Did you mean 'nce'"),
        ("sweep", "training.monitor=", "training.monitor"),
    ],
)
def test_what_only_one_mode_reads_is_refused_first(mode, setting, words, capfd):
    assert words in refused(capfd, f"--mode={mode}", *MODES[mode], f"--config.{setting}")


def test_an_endless_grid_is_refused_first(capfd):
    space = "--config.sweep.space=backbone.dropout=0.1:0.5"
    line = refused(capfd, "--mode=sweep", "--config.sweep.sampler=grid", space)
    assert "has no end of values" in line


def test_a_trained_run_is_not_read_for_a_metric_that_is_not_there(trained, capfd):
    metrics = "--config.evaluation.metrics=no.py:m"
    line = refused(capfd, "--mode=evaluate", f"--workdir={trained}", metrics)
    assert "evaluation.metrics" in line and "no.py: no such file" in line
