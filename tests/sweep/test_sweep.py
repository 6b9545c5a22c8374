"""Tests of a sweep: its space, order, continuation and reports; the trials are stubs."""

import json
import signal
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.helpers.runs import LIGHT, PLANTED, run
from ufnrec_tf.common.display import Display
from ufnrec_tf.common.errors import UserError
from ufnrec_tf.config import as_json, load_config
from ufnrec_tf.runs.child_process import Ended
from ufnrec_tf.runs.state import Interrupted
from ufnrec_tf.sweep.plan import grid, parse_space
from ufnrec_tf.sweep.summary import counts_text, ranked

pytest.importorskip("optuna")

from optuna.distributions import (  # only where it is installed
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

pytestmark = pytest.mark.usefixtures("eagerly")

SPACE = ("optimizer.learning_rate=log:1e-3:1e-1", "backbone.dropout=0.0:0.5", "loss.name=bce|nce")


def test_space_is_read_with_the_types_of_the_keys():
    space = parse_space(
        [
            "optimizer.learning_rate=log:1e-4:1e-2",
            "backbone.width=16:64:16",
            "backbone.dropout=0.1:0.5:0.2",
            "memory.policy=plain|ufnrec_safe",
            "teacher.always=true|false",
            "backbone.num_heads=1|2",
            "memory.slots=4:8",
        ]
    )
    assert space == {
        "optimizer.learning_rate": FloatDistribution(0.0001, 0.01, log=True),
        "backbone.width": IntDistribution(16, 64, step=16),
        "backbone.dropout": FloatDistribution(0.1, 0.5, step=0.2),
        "memory.policy": CategoricalDistribution(("plain", "ufnrec_safe")),
        "teacher.always": CategoricalDistribution((True, False)),
        "backbone.num_heads": CategoricalDistribution((1, 2)),
        "memory.slots": IntDistribution(4, 8),
    }


def test_grid_has_every_combination_in_order():
    space = parse_space(["backbone.width=8|16", "backbone.num_blocks=1:2"])
    assert grid(space) == [
        {"backbone.width": 8, "backbone.num_blocks": 1},
        {"backbone.width": 8, "backbone.num_blocks": 2},
        {"backbone.width": 16, "backbone.num_blocks": 1},
        {"backbone.width": 16, "backbone.num_blocks": 2},
    ]
    ranges = ["backbone.width=16:64:16", "backbone.dropout=0.1:0.5:0.2", "memory.slots=4:8"]
    points = grid(parse_space(ranges))
    assert len(points) == 4 * 3 * 5
    assert sorted({point["backbone.width"] for point in points}) == [16, 32, 48, 64]
    rates = sorted({point["backbone.dropout"] for point in points})
    assert rates == pytest.approx([0.1, 0.3, 0.5])
    assert sorted({point["memory.slots"] for point in points}) == [4, 5, 6, 7, 8]
    with pytest.raises(UserError, match=r"dropout has no end.*LOW:HIGH:STEP"):
        grid(parse_space(["backbone.dropout=0.1:0.5"]))


@pytest.mark.parametrize(
    ("texts", "words", "code"),
    [
        ([], ["nothing to search", "sweep_demo.py", "learning_rate=log"], 1),
        (["backbone.widht=1|2"], ["backbone.widht", "'backbone.width'"], 2),
        (["backbone.width"], ["expected SECTION.KEY="], 1),
        (["backbone.width=many|2"], ["a whole number", "'many'"], 1),
        (["backbone.width=8"], ["LOW:HIGH", "'8'"], 1),
        (["backbone.width=9:8"], ["LOW below HIGH", "'9:8'"], 1),
        (["optimizer.learning_rate=log:0:1"], ["above 0 for log"], 1),
        (["backbone.dropout=0.1:0.5:0"], ["STEP above 0"], 1),
        (["backbone.dropout=0.1:1.5"], ["at most 0.99", "1.5"], 1),
        (["optimizer.l2=0:inf"], ["optimizer.l2", "must be finite", "inf"], 1),
        (["backbone.dropout=0.1:nan"], ["at least 0", "nan"], 1),
        (["gate.kind=never|platau"], ["'platau'", "'plateau'"], 1),
        (["gate.kind=never"], ["A|B|C"], 1),
        (["backbone.width=8|8"], ["twice"], 1),
        (["backbone.width=8|9", "backbone.width=8|9"], ["backbone.width twice"], 1),
        (["training.num_epochs=1|2"], ["cannot vary training.num_epochs", "batch_size"], 1),
        (["data.repeats=keep|drop"], ["cannot vary data.repeats"], 1),
        ([3], ["Received: 3"], 1),
    ],
)
def test_space_that_is_refused(texts, words, code):
    with pytest.raises(UserError) as caught:
        parse_space(texts)
    assert caught.value.exit_code == code
    for word in words:
        assert word in str(caught.value)


class Trainer:
    """Stands in for the processes of trials: writes the lines of metrics.jsonl that they would.

    The curve of a trial rises to a peak that depends on its settings alone.
    """

    def __init__(self, num_epochs=4):
        self.num_epochs = num_epochs
        self.calls = []
        self.stop_in: Any = None  # (trial, epoch) at which a signal comes
        self.fails: Any = ()
        self.overruns = False  # a pruned trial evaluates once more before it ends
        self.peak: Any = self.peak_of

    def peak_of(self, settings):
        rate = float(settings["optimizer.learning_rate"])
        bonus = 0.05 if settings["loss.name"] == "nce" else 0.0
        return 0.5 - abs(np.log10(rate) + 2) / 4 - float(settings["backbone.dropout"]) / 10 + bonus

    def __call__(self, arguments, log_path, *, show=None, is_enough=None):
        given = dict(text.lstrip("-").split("=", 1) for text in arguments)
        settings = {key.removeprefix("config."): value for key, value in given.items()}
        folder = log_path.parent
        number = int(folder.name)
        finishes = settings["training.finish"] == "true"
        self.calls.append((number, finishes, settings))
        assert given["workdir"] == str(folder)
        if number in self.fails:
            return Ended(1, "error: out of luck. Have more.", 1.0)
        path = folder / "metrics.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        is_pruned = False
        for epoch in range(len(lines) + 1, self.num_epochs + 1):
            if self.stop_in == (number, epoch):
                raise Interrupted(130, epoch)
            value = self.peak(settings) * epoch / self.num_epochs
            line = {"step": epoch, "epoch": epoch, "split": "validation", "ndcg@10": value}
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
            if is_pruned or (is_enough is not None and is_enough()):
                if is_pruned or not self.overruns:
                    return Ended(143, "stopped", 1.0)
                is_pruned = True
        if finishes:
            test = {"hr@10": 0.25, "ndcg@10": 0.125}
            (folder / "result.json").write_text(json.dumps({"test": test}), encoding="utf-8")
        return Ended(0, "done", 1.0)


@pytest.fixture
def search(tmp_path, monkeypatch):
    """Runs a sweep whose trials are stubs, and returns it."""
    pytest.importorskip("tensorflow")
    from ufnrec_tf.sweep import search as module
    from ufnrec_tf.sweep.plan import make_sweep_plan

    record = {
        "identity": {"data of sha256": "0"},
        **{key: {} for key in ("versions", "git_commit", "command_line", "config")},
    }

    def run_search(trainer, *overrides, name="sweep", space=SPACE, seed=7, board=False):
        monkeypatch.setattr(module, "run_child", trainer)
        if not board:
            monkeypatch.setattr(module, "write_tensorboard", lambda *arguments: None)
        pairs = [("sweep.space", ",".join(space)), ("sweep.startup_trials", "3"), *overrides]
        plan = make_sweep_plan(
            load_config("", pairs),
            str(tmp_path / name),
            seed=seed,
            data_path="log.csv",
            config_path="",
            overrides=pairs,
        )
        plan.path.mkdir(exist_ok=True)
        sweep = module.Sweep(plan, record, display=Display())
        sweep.run()
        return sweep

    return run_search


def results_of(sweep):
    return [
        (o.number, o.state, tuple(sorted(o.settings.items())), o.value)
        for o in sweep.trials.outcomes()
    ]


TRIALS, MANY = ("sweep.trials", "6"), ("sweep.trials", "9")


@pytest.mark.slow
def test_search_finds_the_better_settings_and_scores_the_best_alone(search, capsys):
    trainer = Trainer()
    sweep = search(trainer, MANY)
    outcomes = sweep.trials.outcomes()
    assert [o.number for o in outcomes] == list(range(9))
    for o in outcomes:
        assert 1e-3 <= o.settings["optimizer.learning_rate"] <= 1e-1
        assert o.settings["loss.name"] in ("bce", "nce")
        if o.state == "complete":
            assert o.value == pytest.approx(trainer.peak(o.settings))
    assert "pruned" in {o.state for o in outcomes}
    best = ranked(outcomes)[0]
    assert [(number, finishes) for number, finishes, _ in trainer.calls if finishes] == [
        (best.number, True)
    ]
    assert best.value == max(o.value for o in outcomes if o.state == "complete")
    path = sweep.plan.path
    found = json.loads((path / "sweep.json").read_text(encoding="utf-8"))
    assert found["best"] == best.number
    assert found["tests"] == {str(best.number): {"hr@10": 0.25, "ndcg@10": 0.125}}
    screen = capsys.readouterr().out
    for words in ("NDCG@10 0.1250", "largest of 9 trials", "scored once", "best.py"):
        assert words in screen
    assert "| learning_rate |" in (path / "sweep.md").read_text(encoding="utf-8")


def test_no_trial_is_told_to_look_at_the_test_set(search):
    trainer = Trainer()
    search(trainer, TRIALS, ("evaluation.test_every", "1"), ("training.finish", "true"))
    for _, finishes, settings in trainer.calls:
        assert settings["evaluation.test_every"] == "0"
        assert settings["training.finish"] == str(finishes).lower()


def test_best_file_repeats_the_best_trial(search):
    sweep = search(Trainer(), TRIALS, ("backbone.width", "24"), ("comparison.arms", "plain"))
    best = ranked(sweep.trials.outcomes())[0]
    config = load_config(str(sweep.plan.path / "best.py"), [])
    expected = as_json(load_config("", [("backbone.width", "24"), ("comparison.arms", "")]))
    for key, value in best.settings.items():
        section, _, name = key.partition(".")
        expected[section][name] = value
    assert as_json(config) == expected


def test_another_seed_gives_another_search(search):
    few = ("sweep.trials", "2")
    first, other = search(Trainer(), few, name="a"), search(Trainer(), few, name="b", seed=8)
    rates = [
        [o.settings["optimizer.learning_rate"] for o in sweep.trials.outcomes()]
        for sweep in (first, other)
    ]
    assert len({*rates[0], *rates[1]}) == 4


@pytest.mark.slow
@pytest.mark.parametrize("place", [(0, 3), (4, 1)])
def test_search_that_was_stopped_goes_on_as_one_that_was_not(search, place):
    undisturbed = results_of(search(Trainer(), TRIALS, name="whole"))
    trainer = Trainer()
    trainer.stop_in = place
    with pytest.raises(Interrupted):
        search(trainer, TRIALS)
    trainer.stop_in = None
    assert results_of(search(trainer, TRIALS)) == undisturbed
    tried = [number for number, finishes, _ in trainer.calls if not finishes]
    assert tried == sorted([*range(6), place[0]])  # the one that was stopped, twice


@pytest.mark.slow
def test_finished_search_is_shown_again_and_goes_on_for_more_trials(search):
    trainer = Trainer()
    before = results_of(search(trainer, ("sweep.trials", "4")))
    count = len(trainer.calls)
    search(trainer, ("sweep.trials", "4"))
    assert len(trainer.calls) == count
    after = results_of(search(trainer, ("sweep.trials", "7")))
    assert after[:4] == before
    assert len(after) == 7


def test_failed_trials_are_kept_with_their_line_and_not_tried_again(search, capsys):
    trainer = Trainer()
    trainer.fails = (1,)
    sweep = search(trainer, ("sweep.trials", "3"))
    outcome = sweep.trials.outcomes()[1]
    assert (outcome.state, outcome.error) == ("failed", "out of luck. Have more.")
    assert [number for number, *_ in trainer.calls].count(1) == 1
    assert "out of luck" in capsys.readouterr().out
    assert counts_text(sweep.trials.outcomes()).startswith("3 trials: 2 complete")


def test_search_in_which_everything_fails_says_why_and_stops(search):
    trainer = Trainer()
    trainer.fails = range(9)
    with pytest.raises(UserError, match=r"all 3 trials failed, the first: out of luck.*log.txt"):
        search(trainer, TRIALS)
    assert len(trainer.calls) == 3


@pytest.mark.slow
def test_grid_runs_each_combination_once_and_no_more(search):
    space = ("optimizer.learning_rate=0.01|0.1", "backbone.dropout=0:0.2:0.1", "loss.name=bce|nce")
    trainer = Trainer()
    sweep = search(trainer, TRIALS, ("sweep.sampler", "grid"), ("sweep.trials", "99"), space=space)
    seen = [tuple(o.settings.values()) for o in sweep.trials.outcomes()]
    assert len(seen) == len(set(seen)) == 12
    assert seen[0] == (0.01, 0.0, "bce")


def test_importance_is_of_the_key_that_matters(search):
    trainer = Trainer()
    trainer.peak = lambda settings: (
        0.5 - abs(np.log10(float(settings["optimizer.learning_rate"])) + 2)
    )
    pairs = [("sweep.sampler", "random"), ("sweep.trials", "12"), ("sweep.prune_after", "-1")]
    importance = search(trainer, *pairs).trials.importance()
    assert sum(importance.values()) == pytest.approx(1.0)
    assert next(iter(importance)) == "optimizer.learning_rate"
    assert importance["optimizer.learning_rate"] > 0.6


@pytest.mark.slow
@pytest.mark.parametrize("overruns", [False, True])
def test_median_pruner_stops_what_is_below_the_median_of_the_others(search, overruns):
    trainer = Trainer()
    trainer.overruns = overruns
    rates = {0: 0.4, 1: 0.3, 2: 0.2, 3: 0.1, 4: 0.5}
    trainer.peak = lambda settings: rates[trainer.calls[-1][0]]
    sweep = search(trainer, ("sweep.trials", "5"), ("sweep.startup_trials", "3"))
    # After three trials whose epoch 1 gave .1, .075 and .05, the fourth gives .025, the fifth .125.
    states = [o.state for o in sweep.trials.outcomes()]
    assert states == ["complete", "complete", "complete", "pruned", "complete"]
    assert sweep.trials.outcomes()[3].epochs == 1
    kept = search(Trainer(), TRIALS, ("sweep.prune_after", "-1"), name="kept")
    assert {o.state for o in kept.trials.outcomes()} == {"complete"}


def test_minutes_end_a_search(search, monkeypatch):
    from ufnrec_tf.sweep import search as module

    clock = iter(np.arange(0.0, 10000.0, 60.0))
    fake = SimpleNamespace(monotonic=lambda: float(next(clock)), sleep=None)
    monkeypatch.setattr(module, "time", fake)
    sweep = search(Trainer(), TRIALS, ("sweep.minutes", "2.5"), ("sweep.prune_after", "-1"))
    # Each trial takes a minute by this clock.
    assert len(sweep.trials.outcomes()) == 3


def test_tensorboard_has_a_run_a_trial_with_its_settings(search):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import plugin_data_pb2

    sweep = search(Trainer(), ("sweep.trials", "3"), board=True)
    for outcome in sweep.trials.outcomes():
        folder = sweep.plan.path / "tensorboard" / f"{outcome.number:04}"
        events = EventAccumulator(str(folder))
        events.Reload()
        metadata = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
        info = plugin_data_pb2.HParamsPluginData.FromString(metadata).session_start_info
        assert info.hparams["loss.name"].string_value == outcome.settings["loss.name"]
        assert info.hparams["backbone.dropout"].number_value == pytest.approx(
            outcome.settings["backbone.dropout"]
        )
        assert events.Tensors("sweep/validation")[0].step == outcome.epoch


def test_study_that_optuna_itself_wrote_is_continued(search, tmp_path):
    """A sweep's directory of an earlier version holds such a file."""
    import optuna

    (tmp_path / "sweep").mkdir()
    study = optuna.create_study(
        storage=f"sqlite:///{tmp_path}/sweep/sweep.db", study_name="sweep", direction="maximize"
    )
    trial = study.ask()
    settings = {
        "optimizer.learning_rate": trial.suggest_float(
            "optimizer.learning_rate", 1e-3, 1e-1, log=True
        ),
        "backbone.dropout": trial.suggest_float("backbone.dropout", 0.0, 0.5),
        "loss.name": trial.suggest_categorical("loss.name", ["bce", "nce"]),
    }
    trial.report(0.25, 1)
    trial.set_user_attr("seconds", 3.0)
    study.tell(trial, 0.25)
    outcomes = search(Trainer(), ("sweep.trials", "2")).trials.outcomes()
    assert outcomes[0] == (0, "complete", settings, 0.25, 1, 1, 3.0, "")
    assert [outcome.state for outcome in outcomes] == ["complete", "complete"]


def test_damaged_file_of_trials_is_one_line(search, tmp_path):
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "sweep.db").write_bytes(b"no database at all, but long enough" * 40)
    with pytest.raises(UserError, match=r"sweep.db: cannot be read.*another --workdir"):
        search(Trainer(), TRIALS)


def refused(capsys, *arguments):
    code = run("--mode=sweep", *arguments)
    return code, capsys.readouterr().err


def test_bad_searches_are_one_line_before_anything_is_made(capsys, tmp_path, monkeypatch):
    workdir = f"--workdir={tmp_path}/w"
    code, text = refused(capsys, workdir, *PLANTED)
    assert code == 1
    assert "nothing to search" in text
    code, text = refused(capsys, workdir, *PLANTED, "--config.sweep.space=backbone.wdth=1|2")
    assert code == 2
    assert "'backbone.width'" in text
    space = "--config.sweep.space=loss.name=bce|nec"
    code, text = refused(capsys, workdir, *PLANTED, space)
    assert code == 1
    assert "'nec'" in text
    monkeypatch.setitem(sys.modules, "optuna", None)
    code, text = refused(capsys, workdir, *PLANTED, "--config.sweep.space=loss.name=bce|nce")
    assert code == 1
    assert "pip install '.[sweep]'" in text
    assert len(text.splitlines()) == 1
    assert not (tmp_path / "w").exists()


@pytest.mark.slow
def test_training_that_does_not_finish_leaves_the_test_set_and_goes_on_later(tmp_path):
    from tests.helpers.runs import metric_lines, train

    light = [*LIGHT, "--config.training.num_epochs=1"]
    assert train(tmp_path / "w", *light, "--config.training.finish=false") == 0
    assert not (tmp_path / "w" / "result.json").exists()
    assert {line["split"] for line in metric_lines(tmp_path / "w")} == {"validation"}
    before = metric_lines(tmp_path / "w")
    assert train(tmp_path / "w", *light) == 0
    assert (tmp_path / "w" / "result.json").exists()
    assert metric_lines(tmp_path / "w") == before


def test_child_is_ended_once_when_it_is_enough(tmp_path):
    from ufnrec_tf.runs import child_process

    asked = []

    def is_enough():
        asked.append(1)
        return (tmp_path / "ready").exists()

    program = (
        "import pathlib, signal, sys, time\n"
        f"signal.signal({int(signal.SIGTERM)}, lambda *_: (print('told'), sys.exit(143)))\n"
        f"pathlib.Path({str(tmp_path / 'ready')!r}).touch()\ntime.sleep(60)\n"
    )
    import subprocess

    start = lambda arguments, log: subprocess.Popen(  # noqa: E731
        [sys.executable, "-c", program], stdout=log, stderr=subprocess.STDOUT
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(child_process, "_start", start)
        ended = child_process.run_child([], tmp_path / "log.txt", is_enough=is_enough)
    assert (ended.exit_code, ended.last_words) == (143, "told")
    assert asked
