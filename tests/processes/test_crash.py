"""Tests of runs that are killed, told to end, or find a damaged checkpoint: exact, in one line."""

import json
import os
import signal
from pathlib import Path

import pytest

from tests.helpers.crashes import KILLED
from tests.helpers.runs import LIGHT, metric_lines, train
from tests.processes.crash_short import DAMAGED_BEFORE, KILLS
from tests.processes.forks import run_module
from ufnrec_tf.common.display import ProgressBar
from ufnrec_tf.runs import state as run_state
from ufnrec_tf.runs.checkpoints import CheckpointStore
from ufnrec_tf.training import finish
from ufnrec_tf.training.loop import TrainingLoop

pytestmark = pytest.mark.usefixtures("eagerly")

EPOCHS = "--config.training.num_epochs=2"


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("case", KILLS)
def test_a_run_killed_at_its_writes_ends_as_one_that_was_not(tmp_path, case):
    run_module("tests.processes.crash_short", tmp_path, case)  # it compares the two
    lives = json.loads((tmp_path / "lives.json").read_text(encoding="utf-8"))
    assert [life["code"] for life in lives] == [0, *[KILLED] * len(KILLS[case]), 0]
    told = [life["out"].count("Passed over; trying an older one.") for life in lives[1:]]
    is_damaged = case == "ufnrec"
    assert told == [int(is_damaged and place == DAMAGED_BEFORE) for place in range(len(told))]
    damaged = list((tmp_path / "killed/checkpoints").glob("damaged-*"))
    assert bool(damaged) == is_damaged
    assert json.loads((tmp_path / "leftovers.json").read_text(encoding="utf-8")) == []


def call_first(monkeypatch, owner, name, act):
    """Makes `act` run before the first call of a function."""
    original = getattr(owner, name)

    def first(*arguments, **keywords):
        monkeypatch.setattr(owner, name, original)
        act(*arguments, **keywords)
        return original(*arguments, **keywords)

    monkeypatch.setattr(owner, name, first)


def terminate(*arguments, **keywords):
    os.kill(os.getpid(), signal.SIGTERM)


def files(folder):
    return sorted(path.name for path in Path(folder).rglob("*") if path.is_file())


TOLD = "terminated; run the same command again to resume\n"


def test_termination_before_the_first_step_ends_at_once(monkeypatch, capfd):
    call_first(monkeypatch, TrainingLoop, "on_epoch_begin", terminate)
    before = signal.getsignal(signal.SIGTERM)
    assert train("w", *LIGHT, EPOCHS) == 143
    assert capfd.readouterr().err == TOLD
    ids = ["events.parquet", "histories.parquet", "items.parquet", "rows.parquet"]
    kept = [".lock", "config.json", *ids]
    assert files("w") == kept
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("name", ["export", "write_result"])
def test_termination_after_training_ends_at_once_and_the_command_goes_on(monkeypatch, capfd, name):
    call_first(monkeypatch, finish, name, terminate)
    assert train("w", *LIGHT, EPOCHS) == 143
    assert capfd.readouterr().err == TOLD
    assert not Path("w/result.json").exists()
    assert not list(Path("w").rglob("*.new"))
    steps = [line["step"] for line in metric_lines("w")]
    if name == "export":
        assert not Path("w/export/1").exists()
        return
    assert train("w", *LIGHT, EPOCHS) == 0
    assert Path("w/result.json").exists()
    assert [line["step"] for line in metric_lines("w")] == steps == [4, 8]


def test_a_signal_after_the_last_look_is_not_lost(monkeypatch, capfd):
    call_first(monkeypatch, ProgressBar, "close", terminate)
    assert train("w", *LIGHT, EPOCHS) == 143
    assert capfd.readouterr().err == TOLD
    assert files("w/checkpoints").count("state.json") == 3  # the last step, the best, the gate
    assert not Path("w/result.json").exists()


def test_a_second_interrupt_ends_at_once(monkeypatch, capfd):
    original = TrainingLoop.on_train_batch_end

    def on_train_batch_end(loop, batch, logs=None):
        if loop.progress.step == 2:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
        original(loop, batch, logs)

    monkeypatch.setattr(TrainingLoop, "on_train_batch_end", on_train_batch_end)
    assert train("w", *LIGHT, EPOCHS) == 130
    assert capfd.readouterr().err == "interrupted\n"
    assert not Path("w/checkpoints").exists()


@pytest.mark.usefixtures("without_export")
def test_a_signal_in_the_last_step_within_an_epoch_leaves_it_evaluated(monkeypatch):
    original = TrainingLoop.on_train_batch_end

    def on_train_batch_end(loop, batch, logs=None):
        if loop.progress.step == 5:
            os.kill(os.getpid(), signal.SIGTERM)
        original(loop, batch, logs)

    limits = ("--config.training.max_steps=6", "--config.training.checkpoint_steps=3")
    monkeypatch.setattr(TrainingLoop, "on_train_batch_end", on_train_batch_end)
    assert train("w", *LIGHT, EPOCHS, *limits) == 143
    monkeypatch.setattr(TrainingLoop, "on_train_batch_end", original)
    assert train("w", *LIGHT, EPOCHS, *limits) == 0
    assert [line["step"] for line in metric_lines("w")] == [4, 6]


class Clock:
    """A clock that stands still, but for a checkpoint, which takes an hour."""

    now = 0.0

    def perf_counter(self):
        return self.now

    process_time = monotonic = time = perf_counter


@pytest.mark.usefixtures("without_export")
def test_checkpoints_by_time_within_an_epoch_are_kept_and_not_timed(monkeypatch):
    clock, saved = Clock(), []
    monkeypatch.setattr(run_state, "time", clock)
    monkeypatch.setattr("ufnrec_tf.training.loop.time", clock)
    original_save, original_step = CheckpointStore.save_step, TrainingLoop.on_train_batch_end

    def save_step(store, step, state):
        original_save(store, step, state)
        saved.append(step)
        clock.now += 3600.0

    def on_train_batch_end(loop, batch, logs=None):
        clock.now += 40.0
        original_step(loop, batch, logs)

    monkeypatch.setattr(CheckpointStore, "save_step", save_step)
    monkeypatch.setattr(TrainingLoop, "on_train_batch_end", on_train_batch_end)
    minutes = "--config.training.checkpoint_minutes=2"
    kept = "--config.training.checkpoints_kept=3"
    assert train("w", *LIGHT, "--config.training.num_epochs=5", minutes, kept) == 0
    # Every third step, of 40 seconds; the time of the saving itself does not count.
    assert saved == [3, 6, 9, 12, 15, 18, 20]
    names = sorted(path.name for path in Path("w/checkpoints").glob("step-*"))
    assert names == ["step-00000015", "step-00000018", "step-00000020"]
    timing = json.loads(Path("w/result.json").read_text(encoding="utf-8"))["timing"]
    assert timing["train_seconds"] == 10 * 40.0  # the first ten steps are not timed
