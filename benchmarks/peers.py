"""Our training against other people's, on one machine, data and shape.

    python -m benchmarks.peers --peer=authors --path=DIR --data=FILE [--python=INTERPRETER]
    python -m benchmarks.peers --peer=packages [--path=DIR] --data=FILE [--output=FILE.json]

The second form is for RecTools, RePlay and RecBole, which pip installs; peer_packages.py says how.
The rest here is about the first. DIR is where you fetched the peer's code and INTERPRETER one that
has the packages it needs; none of its code is here (what the drivers in peer_drivers/ set, each
says in its docstring). Theirs and ours take turns, round after round. A figure is the CPU seconds
(user and system, of whole processes and their children) of 2 N steps less those of N, so that
start-up and end fall out, per 1,000 users trained. RecBole trains a sample for every prefix: there
1,000 users are all prefixes of 1,000 users.

Batch 128, max length 50, width 50, 2 blocks, 1 head, dropout 0.5. A peer on PyTorch gets one
thread, which costs it the fewest CPU seconds on a small model, and threads that wait passively
(OMP_WAIT_POLICY): by default they spin, and whatever else runs on the machine would be counted as
theirs. --peer-threads=0 leaves their number to PyTorch. TensorFlow is left as it is, on both sides.

N is small, to be done in minutes. Ours starts in 40 CPU seconds and takes little a step, so its N
is larger. Where memory is on that counts against ours, which then has rows full from several
visits while the authors' first 120 steps mostly meet users for the first time; the same state on
both sides needs epochs: --num-steps=600 --our-steps=600 (175 steps an epoch of Beauty).
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from benchmarks import peer_packages
from benchmarks.common import ROOT, Cost, machine, measure, median, train_command
from benchmarks.peer_drivers.common import REPORT, SHAPES, package_versions

Settings = dict[str, object]
PACKAGES = "packages"


class Case(NamedTuple):
    """One comparison.

    Attributes:
        theirs: The method of the peer.
        driver_options: Further arguments of its driver.
        config: Our configuration file; empty: the defaults.
        ours: Our settings.
        num_steps: N of the peer.
        our_steps: N of ours; larger where a step costs little beside the start of a process.
    """

    theirs: str
    driver_options: tuple[str, ...]
    config: str
    ours: Settings
    num_steps: int
    our_steps: int


ONE_NEGATIVE: Settings = {"memory.policy": "plain", "negatives.count": 1}
CROSS_ENTROPY: Settings = {"memory.policy": "plain", "loss.name": "cross_entropy"}
UFNREC: Settings = {"gate.kind": "epochs", "gate.epochs": 0, "memory.slots": 128}
# Settings of ours that answer each peer.
CASES: dict[str, tuple[Case, ...]] = {
    "authors": (
        Case("memory and teacher on, 100 negatives", (), "configs/paper.py", UFNREC, 60, 600),
        Case("off, 100 negatives", ("--off",), "", {"memory.policy": "plain"}, 60, 800),
    ),
    "pmixer": (Case("1 negative", (), "", ONE_NEGATIVE, 300, 900),),
    "recbole": (Case("full cross-entropy", (), "", CROSS_ENTROPY, 300, 500),),
    "keras_rs": (Case("1 negative", (), "", ONE_NEGATIVE, 300, 900),),
}
SHAPE_SETTINGS: Settings = {
    "data.format": "sequences",
    "training.batch_size": SHAPES.batch_size,
    "backbone.max_length": SHAPES.max_length,
    "backbone.width": SHAPES.width,
    "backbone.num_blocks": SHAPES.num_blocks,
    "backbone.num_heads": SHAPES.num_heads,
    "backbone.dropout": SHAPES.dropout,
}


class Run(NamedTuple):
    """One process: its cost, the users it trained, its own report."""

    cost: Cost
    num_users: float
    report: dict[str, object]


class Figure(NamedTuple):
    """CPU seconds per 1,000 users, peak memory, and the report of the longer run."""

    cpu_seconds: float
    peak_rss_bytes: int
    report: dict[str, object]


def run_theirs(case: Case, num_steps: int, *, flags: argparse.Namespace) -> Run:
    """Runs the peer's driver for `num_steps` steps."""
    command = [flags.python, "-m", f"benchmarks.peer_drivers.{flags.peer}"]
    command += [f"--path={flags.path}", f"--data={flags.data}", f"--num-steps={num_steps}"]
    environment = {"OMP_WAIT_POLICY": "PASSIVE"}
    if flags.peer_threads:
        environment["OMP_NUM_THREADS"] = str(flags.peer_threads)
    cost = measure([*command, *case.driver_options], env=environment)
    lines = [line for line in cost.output.splitlines() if line.startswith(REPORT)]
    report = json.loads(lines[-1].removeprefix(REPORT))
    return Run(cost, float(report["num_users"]), report)


def run_ours(case: Case, num_steps: int, *, flags: argparse.Namespace) -> Run:
    """Trains ours for `num_steps` steps in a directory that is gone afterwards."""
    with tempfile.TemporaryDirectory() as name:
        workdir = Path(name) / "run"
        settings = {**SHAPE_SETTINGS, **case.ours}
        command = train_command(workdir, data=flags.data, num_steps=num_steps, settings=settings)
        if case.config:
            command.insert(2, f"--config={case.config}")
        cost = measure(command)
        result = json.loads((workdir / "result.json").read_text(encoding="utf-8"))
    if result["steps"] != num_steps:
        raise RuntimeError(f"Ours did {result['steps']} steps, not {num_steps}.")
    # It leaves the same first steps out of every run: good for differences.
    return Run(cost, result["timing"]["train_users"], {"flips": result["false_negatives"]["flips"]})


def figure(once: Run, twice: Run) -> Figure:
    """Returns the cost of the steps that only the longer run did."""
    users = twice.num_users - once.num_users
    seconds = twice.cost.cpu_seconds - once.cost.cpu_seconds
    peak = max(once.cost.peak_rss_bytes, twice.cost.peak_rss_bytes)
    return Figure(1000 * seconds / users, peak, {**twice.report, "users_differenced": users})


def compare(case: Case, *, flags: argparse.Namespace) -> dict[str, object]:
    """Runs all rounds of a case, printing each figure as it comes."""
    their_steps = flags.num_steps or case.num_steps
    our_steps = flags.our_steps or case.our_steps
    overrides = "".join(f" --config.{name}={value}" for name, value in case.ours.items())
    print(f"\n{flags.peer}: {case.theirs}; N = {their_steps}", flush=True)
    print(f"ours:{f' --config={case.config}' * bool(case.config)}{overrides}; N = {our_steps}")
    theirs: list[Figure] = []
    ours: list[Figure] = []
    for number in range(1, flags.rounds + 1):
        once, twice = (run_theirs(case, n * their_steps, flags=flags) for n in (1, 2))
        theirs.append(figure(once, twice))
        once, twice = (run_ours(case, n * our_steps, flags=flags) for n in (1, 2))
        ours.append(figure(once, twice))
        print(
            f"  round {number}: {flags.peer} {theirs[-1].cpu_seconds:.3f}, "
            f"ours {ours[-1].cpu_seconds:.3f} CPU s / 1,000 users",
            flush=True,
        )
        print(f"    {flags.peer}: {json.dumps(theirs[-1].report)}", flush=True)
        print(f"    ours: {json.dumps(ours[-1].report)}", flush=True)
    return _summary(case, theirs, ours, name=flags.peer, steps=(their_steps, our_steps))


def _summary(
    case: Case, theirs: list[Figure], ours: list[Figure], *, name: str, steps: tuple[int, int]
) -> dict[str, object]:
    """Prints and returns medians, the ratio and the peaks."""
    their_median = median([figure.cpu_seconds for figure in theirs])
    our_median = median([figure.cpu_seconds for figure in ours])
    their_peak = max(figure.peak_rss_bytes for figure in theirs)
    our_peak = max(figure.peak_rss_bytes for figure in ours)
    print(f"  median: {name} {their_median:.3f}, ours {our_median:.3f} CPU s / 1,000 users")
    print(f"  ratio {name} / ours: {their_median / our_median:.2f}")
    print(f"  peak RSS: {name} {their_peak / 1e6:.0f} MB, ours {our_peak / 1e6:.0f} MB")
    return {
        "theirs": {
            "what": case.theirs,
            "num_steps": steps[0],
            "rounds": [figure._asdict() for figure in theirs],
            "cpu_seconds_per_1000_users": their_median,
            "peak_rss_bytes": their_peak,
        },
        "ours": {
            "config": case.config,
            "settings": case.ours,
            "num_steps": steps[1],
            "rounds": [figure._asdict() for figure in ours],
            "cpu_seconds_per_1000_users": our_median,
            "peak_rss_bytes": our_peak,
        },
        "ratio": their_median / our_median,
    }


def commit_of(path: Path) -> str:
    """Returns the commit of a directory's repository, empty if it is not the top of one."""
    if not (path / ".git").exists():
        return ""
    command = ["git", "-C", str(path), "rev-parse", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Returns the flags, checked.

    Raises:
        ValueError: If a directory, file or interpreter is not there, or a number is too small.
    """
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--peer", choices=[*sorted(CASES), PACKAGES], required=True)
    parser.add_argument("--path", type=Path, help="the peer's code, or a folder of environments")
    parser.add_argument("--data", type=Path, default=Path("beauty.txt"), help="user item item ...")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--python", default=sys.executable, help="interpreter for the peer")
    parser.add_argument("--output", type=Path, help="a JSON file")
    parser.add_argument("--num-steps", type=int, default=0, help="N of the peer; 0: the case's")
    parser.add_argument("--our-steps", type=int, default=0, help="N of ours; 0: the case's")
    parser.add_argument("--peer-threads", type=int, default=1, help="OpenMP; 0: PyTorch's default")
    parser.add_argument("--case", default="", help="only cases whose description has this in it")
    flags = parser.parse_args(arguments)
    if flags.peer == PACKAGES:
        known = [comparison.title for comparison in peer_packages.COMPARISONS]
    else:
        known = [case.theirs for case in CASES[flags.peer]]
        if not flags.path or not flags.path.is_dir():
            raise ValueError("--path must be the directory to which you fetched the peer's code.")
    if not flags.data.is_file():
        raise ValueError(f"{flags.data} does not exist: --data names a log, user item item ...")
    if flags.rounds < 1 or min(flags.num_steps, flags.our_steps, flags.peer_threads) < 0:
        raise ValueError("`--rounds` must be positive, and no number negative.")
    if flags.output and not flags.output.absolute().parent.is_dir():
        raise ValueError(f"{flags.output.parent} does not exist: --output names a file in it.")
    if not any(flags.case in title for title in known):
        titles = "; ".join(known)
        raise ValueError(f"`--case` must be part of one of: {titles}. Received: {flags.case}.")
    flags.path, flags.data = flags.path and flags.path.resolve(), flags.data.resolve()
    if os.sep in flags.python:  # not resolved: an environment's interpreter is a link
        flags.python = os.path.abspath(flags.python)
    return flags


def main(arguments: list[str] | None = None) -> int:
    """Compares and prints; an error that the user can mend is one line and exit code 1."""
    try:
        flags = parse(arguments)
        about = {
            **machine(),
            **SHAPES._asdict(),
            "our_packages": package_versions(),
            "peer": flags.peer,
            "data": flags.data.name,
            "data_sha256": hashlib.sha256(flags.data.read_bytes()).hexdigest()[:12],
            "peer_threads": flags.peer_threads or "default",
        }
        if flags.peer == PACKAGES:
            found = _compare_packages(about, flags)
        else:
            _check_driver(flags)
            about["commit"] = commit_of(flags.path) or "unknown"
            print(", ".join(f"{name} {value}" for name, value in about.items()))
            cases = [case for case in CASES[flags.peer] if flags.case in case.theirs]
            found = {"about": about, "cases": [compare(case, flags=flags) for case in cases]}
    except (ValueError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if flags.output:
        flags.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


def _compare_packages(about: dict[str, object], flags: argparse.Namespace) -> dict[str, object]:
    """Compares the peers that pip installs, in environments that stay only if --path names them."""
    print(", ".join(f"{name} {value}" for name, value in about.items()))
    if flags.path:
        return peer_packages.compare_all(about, flags)
    with tempfile.TemporaryDirectory() as name:
        flags.path = Path(name)
        return peer_packages.compare_all(about, flags)


def _check_driver(flags: argparse.Namespace) -> None:
    """Raises ValueError if the peer's driver cannot do one step."""
    command = [flags.python, "-m", f"benchmarks.peer_drivers.{flags.peer}"]
    command += [f"--path={flags.path}", f"--data={flags.data}", "--num-steps=1"]
    try:
        process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    except OSError as error:
        raise ValueError(f"`--python={flags.python}` does not run: {error.strerror}.") from error
    if process.returncode:
        last = process.stderr.strip().splitlines()[-1:] or ["it printed nothing"]
        raise ValueError(f"The {flags.peer} driver failed: {last[0].removeprefix('error: ')}")


if __name__ == "__main__":
    sys.exit(main())
