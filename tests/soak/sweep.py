"""Compares a real sweep that is killed at random and continued with one that is not killed.

python -m tests.soak.sweep --kills=4 --seed=0
"""

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.helpers.runs import LIGHT, PLANTED, TINY, command, environment, read

SPACE = "optimizer.learning_rate=log:1e-3:1e-1,backbone.dropout=0.0:0.5,memory.policy=plain|ufnrec"
SETTINGS = (
    f"--config.sweep.space={SPACE}",
    "--config.sweep.trials=5",
    "--config.sweep.startup_trials=3",
    "--config.training.num_epochs=6",
    "--config.training.deterministic=true",
    "--config.training.checkpoint_steps=3",
)


def start(workdir, log):
    return subprocess.Popen(
        command("--mode=sweep", f"--workdir={workdir}", *PLANTED, *TINY, *LIGHT, *SETTINGS),
        stdout=log,
        stderr=subprocess.STDOUT,
        env=environment(),
    )


def results_of(workdir):
    """Returns the results that must not depend on where a sweep was killed: all but the times."""
    found = read(workdir / "sweep.json")
    trials = [
        {key: value for key, value in trial.items() if key != "seconds"}
        for trial in found["trials"]
    ]
    best = (workdir / "best.py").read_text(encoding="utf-8").replace(str(workdir), "DIR")
    return trials, found["best"], found["tests"], found["importance"], best.splitlines()[3:]


def soak(options, folder):
    pick, log_path = random.Random(options.seed), folder / "log.txt"
    with log_path.open("ab") as log:
        began = time.monotonic()
        assert start(folder / "whole", log).wait() == 0, log_path.read_text(encoding="utf-8")
        seconds, kills = time.monotonic() - began, 0
        while True:
            process = start(folder / "killed", log)
            left = kills < options.kills
            try:
                code = process.wait(pick.uniform(0.1, 0.6) * seconds if left else None)
            except subprocess.TimeoutExpired:
                # Half of them as a scheduler does, half as a machine that is lost.
                process.send_signal(pick.choice([signal.SIGKILL, signal.SIGTERM]))
                assert process.wait() in (-signal.SIGKILL, 143)
                kills += 1
                print(f"  killed, {kills} of {options.kills}", flush=True)
                continue
            assert code == 0, log_path.read_text(encoding="utf-8")
            break
    assert results_of(folder / "killed") == results_of(folder / "whole")
    print(f"a sweep that was killed {kills} times has the results of one that was not")


def main(argv):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    with tempfile.TemporaryDirectory() as folder:
        soak(parser.parse_args(argv), Path(folder).absolute())


if __name__ == "__main__":
    main(sys.argv[1:])
