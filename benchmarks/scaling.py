"""Weak scaling: users a second of two workers of one thread against one worker of one thread.

    python -m benchmarks.scaling --data=FILE [--users=128] [--steps=700] [--repeats=3] KEY=VALUE...

Each worker is held to a core of its own and has the same number of users a step, so that the
global batch grows with the workers. Needs two idle cores: with other work beside it, the waiting
of one worker for the other is that work's. Besides the ratio it prints what their talking costs by
itself. KEY=VALUE are settings of a run, by default those of plain training.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys

from tests.processes.distributed_run import ROOT, processes, worker_environments

CASES = {"one": 1, "two": 2}
PLAIN = ("memory.policy=plain", "gate.kind=never")


def run(count: int, arguments: argparse.Namespace) -> dict[str, float]:
    """Trains with some workers and returns what the first one measured."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.scaling_point",
        f"--data={os.path.abspath(arguments.data)}",
        f"--users={arguments.users * count}",
        f"--steps={arguments.steps}",
        *(arguments.settings or PLAIN),
    ]
    environments = [
        {**environment, "TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}
        for environment in worker_environments(count)
    ]
    commands = [["taskset", "-c", str(core), *command] for core in range(count)]
    with processes(commands, environments, cwd=ROOT) as started:
        outputs = [process.communicate(timeout=3600)[0] for process in started]
        if any(process.returncode for process in started):
            raise SystemExit(f"{count} workers: {outputs[0][-3000:]}")
    return json.loads(outputs[0].strip().splitlines()[-1])


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
    parser.add_argument("--users", type=int, default=128, help="users a worker and step")
    parser.add_argument("--steps", type=int, default=700)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("settings", nargs="*", help="of a run, in place of plain training's")
    arguments = parser.parse_args()
    found: dict[str, list[dict[str, float]]] = {case: [] for case in CASES}
    for _ in range(arguments.repeats):
        for case, count in CASES.items():
            found[case].append(run(count, arguments))
            print(case, json.dumps(found[case][-1]), flush=True)
    print("| case | users/s | ms a step | CPU ms a step and worker |\n|---|---|---|---|")
    rates = {}
    for case, count in CASES.items():
        wall, cpu = (
            statistics.median(each[k] for each in found[case]) for k in ("wall_ms", "cpu_ms")
        )
        rates[case] = 1e3 * arguments.users * count / wall
        print(f"| {case} | {rates[case]:,.0f} | {wall:.1f} | {cpu:.1f} |")
    print(f"two against one: {rates['two'] / rates['one']:.2f}")
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
