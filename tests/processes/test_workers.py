"""Two workers through the command line: lost, told to stop, gone on with, and by one alone."""

import shutil
import signal
import time

import pandas as pd
import pytest

from tests.helpers.runs import PLANTED, TINY, command, metric_lines, read
from tests.processes.distributed_run import processes, worker_environments
from tests.processes.forks import forks

SETTINGS = (
    *PLANTED,
    *TINY,
    "--config.backbone.num_blocks=0",
    # So exact that one worker and two rank alike; without dropout, whose streams differ.
    "--config.backbone.precision=float64",
    "--config.backbone.dropout=0",
    "--config.training.deterministic=true",
    "--config.training.num_epochs=14",
    "--config.training.patience=0",
    "--config.training.checkpoint_steps=3",
    "--config.training.checkpoint_minutes=0",
    "--config.comparison.baselines=",
    "--config.comparison.sample_users=0",
)
LOST_SECONDS = 60
"""TensorFlow notices within about ten."""


def arguments(workdir, strategy="multi_worker"):
    return command(f"--workdir={workdir}", f"--config.distribution.strategy={strategy}", *SETTINGS)


def start_two(workdir):
    return forks([arguments(workdir)] * 2, worker_environments(2))


def finish_all(started, timeout):
    outputs = ["".join(filter(None, process.communicate(timeout=timeout))) for process in started]
    return [process.returncode for process in started], outputs


def wait_for_lines(workdir, count, started):
    """Waits for so many evaluations, while all are at work."""
    for _ in range(2400):
        if (workdir / "metrics.jsonl").exists() and len(metric_lines(workdir)) >= count:
            return
        assert all(process.poll() is None for process in started)
        time.sleep(0.05)
    raise AssertionError("no progress")


def signal_one(workdir, *, number, index, lines):
    with start_two(workdir) as started:
        wait_for_lines(workdir, lines, started)
        started[index].send_signal(number)
        return finish_all(started, LOST_SECONDS)


def run_to_the_end(workdir):
    with start_two(workdir) as started:
        return finish_all(started, 280)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An undisturbed run, of a fork and of a process that shares nothing with it."""
    workdir = tmp_path_factory.mktemp("whole")
    environments = worker_environments(2)
    with (
        processes([arguments(workdir)], environments[:1]) as chief,
        forks([arguments(workdir)], environments[1:]) as other,
    ):
        codes, outputs = finish_all([*chief, *other], 280)
    assert codes == [0, 0], outputs
    return workdir, outputs


@pytest.fixture(scope="module")
def disturbed(tmp_path_factory):
    """A run whose worker 1 is told to stop, whose worker 1 is then lost, and that goes on."""
    folder = tmp_path_factory.mktemp("disturbed")
    workdir = folder / "two"
    stopped = signal_one(workdir, number=signal.SIGTERM, index=1, lines=3)
    shutil.copytree(workdir, folder / "one")
    lost = signal_one(workdir, number=signal.SIGKILL, index=1, lines=len(metric_lines(workdir)) + 2)
    return workdir, stopped, lost, run_to_the_end(workdir)


def assert_same_end(got, expected):
    for part in ("test", "validation", "protocol", "false_negatives", "totals", "beyond_accuracy"):
        assert read(got / "result.json")[part] == read(expected / "result.json")[part]
    ranks = [pd.read_parquet(path / "ranks.parquet") for path in (got, expected)]
    pd.testing.assert_frame_equal(ranks[0], ranks[1])
    found = [pd.read_parquet(path / "false_negatives.parquet") for path in (got, expected)]
    pd.testing.assert_frame_equal(found[0], found[1])
    memories = [read(path / "result.json")["memory"] for path in (got, expected)]
    for key in ("rows", "counted", "remembered", "evictions", "refusals", "table_bytes"):
        assert memories[0][key] == memories[1][key]


def test_only_the_chief_shows_and_writes(whole):
    workdir, (chief, other) = whole
    assert "2 devices of 2 workers" in chief and "Where things are" in chief
    assert "Worker 1 of 2; worker 0 shows the run." in other
    assert "Training" not in other
    newest = sorted((workdir / "checkpoints").glob("step-*"))[-1]
    assert len(list(newest.glob("worker-*-of-00002.json"))) == 2
    assert read(workdir / "result.json")["totals"]["flips"] > 0
    assert [line["epoch"] for line in metric_lines(workdir)] == list(range(1, 15))


def test_a_worker_told_to_stop_stops_all_after_a_checkpoint(disturbed):
    _, (codes, outputs), _, _ = disturbed
    assert codes == [143, 143]
    assert "checkpoint written" in outputs[0]


def test_a_lost_worker_stops_the_other_with_one_line(disturbed):
    _, _, (codes, outputs), _ = disturbed
    assert codes == [1, -9]
    last = outputs[0].strip().splitlines()[-1]
    assert last.startswith("error: worker 0 of 2 stopped: another worker of this run was lost")
    assert "Traceback" not in outputs[0]


def test_the_same_command_goes_on_and_ends_as_if_nothing_had_happened(disturbed, whole):
    workdir, _, _, (codes, outputs) = disturbed
    assert codes == [0, 0], outputs
    assert "resuming from step-" in outputs[0]
    assert_same_end(workdir, whole[0])
    assert metric_lines(workdir) == metric_lines(whole[0])


def test_one_worker_goes_on_from_the_checkpoint_of_two_and_two_finish(disturbed, whole):
    """The two have nothing to train: the newest checkpoint is that of the one."""
    workdir = disturbed[0].parent / "one"
    unfinished = [*arguments(workdir, "one"), "--config.training.finish=false"]
    with forks([unfinished], worker_environments(1)) as started:
        codes, outputs = finish_all(started, 280)
    assert codes == [0], outputs
    assert "resuming from step-" in outputs[0]
    codes, outputs = run_to_the_end(workdir)
    assert codes == [0, 0], outputs
    assert_same_end(workdir, whole[0])


def test_a_worker_whose_others_never_come_ends_with_one_line(tmp_path):
    short = [*arguments(tmp_path / "w"), "--config.distribution.start_minutes=0.05"]
    with forks([short], worker_environments(2)[:1]) as started:
        codes, outputs = finish_all(started, 120)
    assert codes == [1]
    last = outputs[0].strip().splitlines()[-1]
    assert last.strip() == (
        "waiting for all workers of this run; it ends with exit code 1 if they are not there in "
        "0.05 minutes"
    )
    assert not (tmp_path / "w").exists()
