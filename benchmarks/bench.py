"""The cost of training, evaluation, start-up and memory; `make bench` runs it.

    python -m benchmarks.bench --data=DIR [--rows=ufnrec,plain] [--repeats=5] [--output=FILE.json]

DIR holds beauty.txt and ml-100k.inter; rows whose file is missing are left out, and said so. A
training figure is the CPU time (user and system, of the whole process) of a run of 2 N steps less
that of a run of N steps, per 1,000 users of those steps: start-up, compilation and the end fall
out, nothing that a step needs can have been prepared elsewhere. UFNRec starts from a directory
in which each user was visited 8 times with the gate open. Medians of the repeats.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.common import ROOT, Cost, machine, measure, median, train_command
from benchmarks.rows import BEAUTY, ROWS, SHAPE, Row
from ufnrec_tf.common.errors import UserError

Json = dict[str, Any]


def run_to(workdir: Path, row: Row, num_steps: int, *, data: Path) -> tuple[Cost, Json]:
    """Trains, or resumes, a row up to `num_steps` steps; returns the cost and its result."""
    command = train_command(
        workdir, data=data / row.data, num_steps=num_steps, settings={**SHAPE, **row.settings}
    )
    if row.config:
        command.insert(2, f"--config={row.config}")
    cost = measure(command)
    return cost, json.loads((workdir / "result.json").read_text(encoding="utf-8"))


def _steps_of(row: Row, data: Path) -> int:
    """Returns the steps of the epochs that come before the timed ones."""
    if not row.visits:
        return 0
    with (data / row.data).open(encoding="utf-8") as file:
        lines = file.read().splitlines()
    # One user a line, or one event a line after a header.
    sequences = row.data == BEAUTY
    users = len(lines) if sequences else len({line.split("\t")[0] for line in lines[1:]})
    batch = int(str(SHAPE["training.batch_size"]))
    return row.visits * -(-users // batch)


def measure_training(row: Row, scratch: Path, *, data: Path, repeats: int) -> Json:
    """Returns a row's figures, one for each repeat, and the state that they were measured in."""
    state, begin = scratch / "state", _steps_of(row, data)
    if begin:
        run_to(state, row, begin, data=data)
    figures: list[float] = []
    in_process: list[float] = []
    last: Json = {}
    for _ in range(repeats):
        pair = []
        for times in (1, 2):
            workdir = scratch / "run"
            if begin:
                shutil.copytree(state, workdir)
            pair.append(run_to(workdir, row, begin + times * row.num_steps, data=data))
            shutil.rmtree(workdir)
        (once, first), (twice, last) = pair
        users = last["totals"]["users"] - first["totals"]["users"]
        figures.append((twice.cpu_seconds - once.cpu_seconds) / users * 1000)
        seconds = [result["timing"]["train_cpu_seconds"] for _, result in pair]
        timed = [result["timing"]["train_users"] for _, result in pair]
        in_process.append((seconds[1] - seconds[0]) / (timed[1] - timed[0]) * 1000)
    shutil.rmtree(state, ignore_errors=True)
    return {
        "cpu_seconds_per_1000_users": figures,
        "median": median(figures),
        "in_process": median(in_process),
        "peak_rss_gb": twice.peak_rss_bytes / 1e9,
        "state": _state(first, last, row.num_steps),
    }


def _state(first: Json, last: Json, num_steps: int) -> Json:
    """Returns the fill of the memory at the end, and the flips and users of the timed steps."""
    memory = last["memory"]
    done = {name: last["totals"][name] - first["totals"][name] for name in last["totals"]}
    return {
        "slots": memory["slots"],
        "fill": memory.get("fill", 0.0),
        "bytes_per_slot": memory.get("bytes_per_slot", 0),
        "evictions": memory.get("evictions", 0),
        "flips_per_step": done["flips"] / num_steps,
        "share_of_users_taught": done["teacher_users"] / done["users"],
        "positions_per_user": done["positions"] / done["users"],
    }


def measure_evaluation(data: Path, repeats: int) -> Json:
    """Returns the CPU seconds of ranking the whole catalogue for 1,000 users."""
    command = [sys.executable, "-m", "benchmarks.evaluation", f"--data={data / BEAUTY}"]
    figures = []
    for _ in range(repeats):
        # Differenced like training: 4 and 8 evaluations of all users in a process.
        once, twice = (measure([*command, f"--times={times}"]) for times in (4, 8))
        users = float(once.output.splitlines()[-1])
        figures.append((twice.cpu_seconds - once.cpu_seconds) / (4 * users) * 1000)
    return {"cpu_seconds_per_1000_users": figures, "median": median(figures)}


def measure_whole_run(data: Path, scratch: Path, repeats: int) -> Json:
    """Returns the cost of two epochs with all that a run does, and of its start.

    Each is measured twice: the second process finds the programs that the first has compiled.
    """
    runs: dict[str, list[Json]] = {"first": [], "second": []}
    for number in range(repeats):
        programs = {"UFNREC_PROGRAMS": str(scratch / f"programs{number}")}
        for name, found in runs.items():
            workdir = scratch / f"whole-{name}{number}"
            command = [sys.executable, "main.py", "--config=configs/beauty.py"]
            command += [f"--data={data / BEAUTY}", f"--workdir={workdir}"]
            started = time.time()
            cost = measure([*command, "--config.training.num_epochs=2"], env=programs)
            result = json.loads((workdir / "result.json").read_text(encoding="utf-8"))
            found.append(
                {
                    "first_step_seconds": result["timing"]["first_step_at"] - started,
                    "first_step_cpu_seconds": result["timing"]["first_step_cpu_seconds"],
                    "cpu_seconds": cost.cpu_seconds,
                    "peak_rss_gb": cost.peak_rss_bytes / 1e9,
                }
            )
            shutil.rmtree(workdir)
    medians = {
        name: {key: median([run[key] for run in found]) for key in found[0]}
        for name, found in runs.items()
    }
    return {"runs": runs, "median": medians}


def show_whole_run(found: Json) -> None:
    """Prints the lines of the start and of a whole run."""
    for name, cost in found["median"].items():
        print(
            f"python main.py, {name} process of these shapes: first step after "
            f"{cost['first_step_seconds']:.1f} s and {cost['first_step_cpu_seconds']:.1f} CPU s; "
            f"two epochs with everything {cost['cpu_seconds']:.1f} CPU s; "
            f"peak {cost['peak_rss_gb']:.2f} GB"
        )


def show_training(row: Row, found: Json) -> None:
    """Prints a line of the table."""
    figures, state = found["cpu_seconds_per_1000_users"], found["state"]
    print(
        f"{row.label:<56} {found['median']:6.3f}  ({min(figures):.3f} to {max(figures):.3f}; "
        f"by its own clock {found['in_process']:.3f})  reach {row.reach:g}, stretch "
        f"{row.stretch:g}; elsewhere {row.elsewhere}; peak {found['peak_rss_gb']:.2f} GB"
    )
    if state["slots"]:
        print(
            f"{'':<4}{state['slots']} slots a row of {state['bytes_per_slot']} bytes, "
            f"{state['fill']:.0%} full, {state['evictions']:,} evictions; "
            f"{state['flips_per_step']:,.0f} flips a step; the teacher ran for "
            f"{state['share_of_users_taught']:.0%} of the users"
        )
    sys.stdout.flush()


def parse_flags(arguments: list[str] | None) -> argparse.Namespace:
    """Returns the checked flags.

    Raises:
        UserError: For unknown rows or a folder without data.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench", description=__doc__)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--rows", default=",".join(["evaluation", "run", *ROWS]))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", type=Path, default=ROOT / "runs" / "bench.json")
    flags = parser.parse_args(arguments)
    flags.rows = flags.rows.split(",")
    unknown = set(flags.rows) - {*ROWS, "evaluation", "run"}
    if unknown or flags.repeats < 1:
        raise UserError(
            f"--rows must be of {', '.join([*ROWS, 'evaluation', 'run'])}, --repeats 1 or more. "
            f"Received: {', '.join(unknown) or flags.repeats}."
        )
    if not (flags.data / BEAUTY).exists():
        raise UserError(
            f"{flags.data}: no {BEAUTY} there. Say where the data is: make bench "
            'ARGS="--data=DIR" (one user a line: user item item ...).'
        )
    flags.data = flags.data.resolve()
    return flags


def run(flags: argparse.Namespace) -> Json:
    """Measures and prints everything asked for; returns it."""
    found: Json = {"machine": machine(), "repeats": flags.repeats, "rows": {}}
    print(", ".join(f"{key} {value}" for key, value in found["machine"].items()))
    print("CPU seconds per 1,000 users, median (least to most):")
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        for key in flags.rows:
            if key == "evaluation":
                row = measure_evaluation(flags.data, flags.repeats)
                print(
                    f"{'evaluation, whole catalogue, seen items masked':<56} {row['median']:6.3f}  "
                    "reach 0.1, stretch 0.06; elsewhere 0.35 (RecBole)"
                )
            elif key == "run":
                row = measure_whole_run(flags.data, scratch, min(flags.repeats, 3))
                show_whole_run(row)
            elif not (flags.data / ROWS[key].data).exists():
                print(f"{ROWS[key].label}: left out, no {ROWS[key].data} in {flags.data}")
                continue
            else:
                row = measure_training(ROWS[key], scratch, data=flags.data, repeats=flags.repeats)
                show_training(ROWS[key], row)
            found["rows"][key] = row
            flags.output.write_text(json.dumps(found, indent=1), encoding="utf-8")
    return found


def main(arguments: list[str] | None = None) -> int:
    """Runs the benchmark; returns the exit code."""
    try:
        flags = parse_flags(arguments)
        flags.output.parent.mkdir(parents=True, exist_ok=True)
        run(flags)
    except (UserError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"written to {flags.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
