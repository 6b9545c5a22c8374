"""`make soak`, its second part: a run on 1, 2 and 3 workers in turns, one of which is always lost.

    python -m tests.soak.workers --kills=6 --seed=0

Each turn goes on from the newest checkpoint with another number of workers, and loses one of them
to SIGKILL, or tells one to stop by SIGTERM, at a random moment. What comes out in the end is held
against an undisturbed run of one worker: all metrics, flips and ranks equal, in float64. Then two
workers train a teacher in two folds, and their labels are held against those of one.
"""

import argparse
import random
import signal
import tempfile
import time
from pathlib import Path

import numpy as np

from tests.helpers.runs import read
from tests.processes.distributed_run import processes, worker_environments
from tests.processes.test_workers import LOST_SECONDS, arguments, finish_all
from ufnrec_tf.method.soft_labels import ITEMS_FILE, SHARES_FILE

TOLD = "another worker of this run was lost", "waiting for all workers of this run"
MORE = ("--config.distribution.start_minutes=0.5", "--config.training.num_epochs=600")
"""So many epochs that no turn comes to the end."""
MOST_SECONDS = 18.0
"""A turn is disturbed after so long at most: start, some epochs, checkpoints."""


def run(workdir, num_workers, *, pick=None):
    """Runs so many workers; disturbs one at a random moment if `pick` is given.

    Returns:
        The exit codes, what was done, and the outputs.
    """
    environments = worker_environments(num_workers)
    with processes([[*arguments(workdir), *MORE]] * num_workers, environments) as started:
        if pick is None:
            return (*finish_all(started, 600), "nothing")
        victim = pick.randrange(num_workers)
        number = pick.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM])
        time.sleep(pick.uniform(4.0, MOST_SECONDS))
        started[victim].send_signal(number)
        return (*finish_all(started, LOST_SECONDS), f"{number.name} to worker {victim}")


def check_teacher(folder):
    """Holds the labels of two workers, row by row in any order, against those of one."""
    soft = {"memory.policy": "ufnrec_soft", "teacher.folds": 2, "teacher.num_epochs": 2}
    flags = [f"--config.{key}={value}" for key, value in {**soft, "training.max_steps": 2}.items()]
    found = []
    for count in (1, 2):
        command = [*arguments(folder / str(count)), *flags]
        with processes([command] * count, worker_environments(count)) as started:
            codes, outputs = finish_all(started, 600)
        assert codes == [0] * count, outputs
        rows = []
        for items in sorted((folder / str(count) / "teacher").rglob(ITEMS_FILE)):
            shares = np.fromfile(items.with_name(SHARES_FILE), "<f4").reshape(-1, 40)
            order = np.fromfile(items, "<i4").reshape(shares.shape).argsort(axis=1)
            rows.append(np.take_along_axis(shares, order, axis=1))
        assert len(rows) == count
        whole = np.concatenate(rows)
        found.append(whole[np.lexsort(whole.T.round(4))])
    np.testing.assert_allclose(found[1], found[0], atol=1e-3)
    print(f"two workers: the labels of {len(found[0])} transitions as of one")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    pick = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as name:
        whole, workdir = Path(name) / "whole", Path(name) / "disturbed"
        codes, outputs, _ = run(whole, 1)
        assert codes == [0], outputs
        for turn in range(options.kills):
            num_workers = 1 + (turn + 1) % 3
            codes, outputs, what = run(workdir, num_workers, pick=pick)
            print(f"{num_workers} workers, {what}: exit codes {codes}", flush=True)
            assert set(codes) <= {1, 143, -9, -15}, outputs
            for code, output in zip(codes, outputs, strict=True):
                assert "Traceback" not in output, output
                assert code != 1 or any(words in output for words in TOLD), output
        codes, outputs, _ = run(workdir, 2)
        assert codes == [0, 0], outputs
        got, expected = (read(path / "result.json") for path in (workdir, whole))
        for part in ("test", "validation", "totals"):
            assert got[part] == expected[part], part
        for key in ("rows", "counted", "remembered", "evictions", "refusals"):
            assert got["memory"][key] == expected["memory"][key], key
        check_teacher(Path(name))
    print(f"{options.kills} disturbances: ended as the undisturbed run")


if __name__ == "__main__":
    main()
