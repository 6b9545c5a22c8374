"""Weak scaling: users a second of two workers of one thread against one worker of one thread.

    python -m benchmarks.scaling --data=FILE [--repeats=3]

Each worker is held to a core of its own and has the same number of users a step, so that the
global batch grows with the workers. Needs two idle cores: with other work beside it, the waiting
of one worker for the other is that work's. Besides the ratio it prints what their talking costs by
itself.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.processes.distributed_run import ROOT, processes, worker_environments

TRAIN_TIMES = ("train_seconds", "train_cpu_seconds", "train_users")
BATCH_SIZE = 128
STEPS = 300, 900
"""A run of the second number less one of the first: compiling falls out."""
CASES = {"one": 1, "two": 2}
SETTINGS = (
    "--config=configs/beauty.py",
    "--config.evaluation.every=1000",
    "--config.training.monitor=",
    "--config.training.patience=0",
    "--config.comparison.baselines=",
    "--config.comparison.arms=",
    "--config.comparison.sample_users=0",
    "--config.gate.kind=never",
    "--config.memory.policy=plain",
    "--config.training.checkpoint_minutes=0",
)


def run(case: str, data: str, extra: list[str], folder: Path, steps: int) -> dict[str, Any]:
    """Trains a case for some steps and returns the chief's result.json."""
    count = CASES[case]
    workdir = folder / f"{case.replace(' ', '_')}_{time.time_ns()}"
    command = [
        sys.executable,
        "main.py",
        f"--data={data}",
        f"--workdir={workdir}",
        *SETTINGS,
        f"--config.training.batch_size={BATCH_SIZE * count}",
        f"--config.training.max_steps={steps}",
        "--config.distribution.strategy=multi_worker",
        *extra,
    ]
    environments = [
        {**environment, "TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}
        for environment in worker_environments(count)
    ]
    commands = [["taskset", "-c", str(core), *command] for core in range(count)]
    with processes(commands, environments, cwd=ROOT) as started:
        for process in started:
            output, _ = process.communicate(timeout=3600)
            if process.returncode:
                raise SystemExit(f"{case}: {output[-3000:]}")
    return json.loads((workdir / "result.json").read_text(encoding="utf-8"))


def talk(num_weights: int) -> dict[str, float]:
    """Returns the milliseconds in which two workers add up `num_weights` numbers, and one."""
    code = (
        "import sys, time, numpy as np\n"
        "from ufnrec_tf.common.tensorflow_setup import import_tensorflow\n"
        "import_tensorflow()\n"
        "import tensorflow as tf\n"
        "from ufnrec_tf.common.distribution import make_strategy, sum_over_replicas\n"
        "strategy = make_strategy('multi_worker')\n"
        "for size in (int(sys.argv[1]), 1):\n"
        "    with strategy.scope():\n"
        "        value = tf.Variable(tf.ones([size]))\n"
        "    step = tf.function(lambda: strategy.run(lambda: sum_over_replicas(value + 0.0)))\n"
        "    for _ in range(20):\n"
        "        step()\n"
        "    wall, cpu = time.perf_counter(), time.process_time()\n"
        "    for _ in range(200):\n"
        "        step()\n"
        "    print((time.perf_counter() - wall) * 5, (time.process_time() - cpu) * 5)\n"
    )
    commands = [
        ["taskset", "-c", str(core), sys.executable, "-c", code, str(num_weights)]
        for core in range(2)
    ]
    with processes(commands, worker_environments(2), cwd=ROOT) as started:
        outputs = [process.communicate(timeout=600)[0] for process in started]
    lines = [line.split() for line in outputs[0].strip().splitlines()[-2:]]
    names = ("gradient_wall", "gradient_cpu", "number_wall", "number_cpu")
    return dict(zip(names, (float(word) for line in lines for word in line), strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--repeats", type=int, default=3)
    arguments, extra = parser.parse_known_args()
    rates: dict[str, list[float]] = {case: [] for case in CASES}
    steps: dict[str, list[float]] = {case: [] for case in CASES}
    cpu: dict[str, list[float]] = {case: [] for case in CASES}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(arguments.repeats):
            for case, count in CASES.items():
                few, many = (
                    run(case, arguments.data, extra, Path(folder), steps)["timing"]
                    for steps in STEPS
                )
                timing = {name: many[name] - few[name] for name in TRAIN_TIMES}
                num_steps = timing["train_users"] / (BATCH_SIZE * count)
                rates[case].append(timing["train_users"] / timing["train_seconds"])
                steps[case].append(1e3 * timing["train_seconds"] / num_steps)
                cpu[case].append(1e3 * timing["train_cpu_seconds"] / num_steps / count)
                print(f"{case}: {rates[case][-1]:,.0f} users/s", flush=True)
    print("| case | users/s | ms a step | CPU ms a step and worker |\n|---|---|---|---|")
    for case in CASES:
        middle = [statistics.median(values[case]) for values in (rates, steps, cpu)]
        print(f"| {case} | {middle[0]:,.0f} | {middle[1]:.1f} | {middle[2]:.1f} |")
    ratio = statistics.median(rates["two"]) / statistics.median(rates["one"])
    print(f"two against one: {ratio:.2f}")
    print("only the sums, ms:", json.dumps({k: round(v, 2) for k, v in talk(640_000).items()}))
    print("load:", os.getloadavg(), "commit:", _commit())


def _commit() -> str:
    done = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip()


if __name__ == "__main__":
    main()
