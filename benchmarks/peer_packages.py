"""Peers that pip installs, in turns with ours: `python -m benchmarks.peers --peer=packages`.

Each peer gets a virtual environment of its own, `DIR/rectools` and so on, made where there is
none. A process trains N steps, reads its own CPU clock (user and system, all threads), trains N
more and reads it again, so that start and end fall out; where lists are compared too it then ranks
the whole catalogue for all users twice and times the second time. The start is the CPU time up to
the end of the first step; beside the steps lies all that the first N steps took beyond N times what
a step takes, start included. Peak memory is that up to the last step.

All contenders of a loss take turns, round after round. A peer on PyTorch gets one thread that waits
passively, which costs it the fewest CPU seconds; TensorFlow is left as it is. Each is set to what
is cheapest on a CPU: see the drivers' docstrings.
"""

import argparse
import json
import shutil
import sys
import venv
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.common import measure, median
from benchmarks.peer_drivers.common import REPORT

Json = dict[str, Any]

PACKAGES = {
    "rectools": "rectools[torch]==0.19.*",
    "replay": "replay-rec[torch]==0.22.*",
    "recbole": "recbole==1.2.*",
}
FIGURES = {
    "train": "CPU s / 1,000 users trained",
    "rank": "CPU s / 1,000 users ranked",
    "start_cpu_seconds": "CPU s to the first step",
    "one_time_cpu_seconds": "CPU s beside the steps",
    "peak_rss_bytes": "peak RSS, bytes",
}


class Contender(NamedTuple):
    """One side of a comparison: its name, driver, steps (N and 2 N) and the driver's variant."""

    name: str
    driver: str
    steps: tuple[int, int]
    variant: str = ""


class Comparison(NamedTuple):
    """A loss and who trains with it; `ranks`: lists are timed after training."""

    title: str
    options: tuple[str, ...]
    contenders: tuple[Contender, ...]
    ranks: bool = False


# Ours begins after the second epoch of Beauty, 350 steps: TensorFlow prepares once more behind it.
COMPARISONS = (
    Comparison(
        "BCE, 1 negative",
        ("--loss=bce", "--num-negatives=1"),
        (
            Contender("ours", "ours", (400, 800)),
            Contender("RePlay, one negative a batch", "replay", (100, 200), "best"),
            Contender("RePlay, one negative a position", "replay", (100, 200), "position"),
            Contender("RecTools SASRecModel", "rectools", (40, 80), "model"),
            Contender("RecTools FlatSASRecNet", "rectools", (40, 80), "fast"),
        ),
        ranks=True,
    ),
    Comparison(
        "full cross-entropy",
        ("--loss=cross_entropy",),
        (
            Contender("ours", "ours", (400, 600)),
            Contender("RePlay", "replay", (30, 60), "best"),
            Contender("RecTools SASRecModel", "rectools", (5, 10), "model"),
            Contender("RecTools FlatSASRecNet", "rectools", (30, 60), "fast"),
            Contender("RecBole", "recbole", (100, 200)),
        ),
    ),
    Comparison(
        "BCE, 100 negatives",
        ("--loss=bce", "--num-negatives=100"),
        (
            Contender("ours", "ours", (400, 700)),
            Contender("RePlay, 100 negatives a batch", "replay", (100, 200), "best"),
            Contender("RePlay, 100 negatives a position", "replay", (60, 120), "position"),
            Contender("RecTools SASRecModel", "rectools", (20, 40), "model"),
            Contender("RecTools FlatSASRecNet", "rectools", (20, 40), "fast"),
        ),
    ),
)


def interpreter(driver: str, folder: Path) -> str:
    """Returns the interpreter for a driver, and makes the peer's environment if it is not there.

    Raises:
        RuntimeError: If pip cannot install the peer.
    """
    if driver not in PACKAGES:
        return sys.executable
    python = folder / driver / "bin" / "python"
    if not python.exists():
        print(f"installing {PACKAGES[driver]} into {folder / driver}", flush=True)
        venv.create(folder / driver, with_pip=True, symlinks=True)
        try:
            measure([str(python), "-m", "pip", "install", "--quiet", PACKAGES[driver]])
        except RuntimeError as error:
            shutil.rmtree(folder / driver)
            last = str(error).strip().splitlines()[-1]
            raise RuntimeError(f"pip cannot install {PACKAGES[driver]}: {last}") from error
    return str(python)


def run(contender: Contender, comparison: Comparison, flags: argparse.Namespace) -> Json:
    """Runs a contender's driver once and returns its report."""
    half, whole = contender.steps
    command = [interpreter(contender.driver, flags.path), "-W", "ignore", "-m"]
    command += [f"benchmarks.peer_drivers.{contender.driver}", f"--data={flags.data}"]
    command += [f"--num-steps={whole}", f"--timed-from={half}", *comparison.options]
    command += [f"--variant={contender.variant}"] * bool(contender.variant)
    command += ["--num-rankings=2"] * comparison.ranks
    environment = {}
    if contender.driver in PACKAGES:
        environment = {"OMP_WAIT_POLICY": "PASSIVE"}
        if flags.peer_threads:
            environment["OMP_NUM_THREADS"] = str(flags.peer_threads)
    output = measure(command, env=environment).output
    lines = [line for line in output.splitlines() if line.startswith(REPORT)]
    report: Json = json.loads(lines[-1].removeprefix(REPORT))
    return report


def compare(comparison: Comparison, found: Json, flags: argparse.Namespace) -> None:
    """Runs the rounds of a comparison and adds their figures to `found`, by contender."""
    for number in range(1, flags.rounds + 1):
        for contender in comparison.contenders:
            report = run(contender, comparison, flags)
            row = found.setdefault(contender.name, {"steps": contender.steps, "rounds": {}})
            row["packages"] = report["packages"]
            for figure in FIGURES:
                if figure in report:
                    row["rounds"].setdefault(figure, []).append(round(report[figure], 4))
            row["median"] = {name: median(values) for name, values in row["rounds"].items()}
            print(
                f"  round {number}: {contender.name}: {report['train']:.3f} CPU s / 1,000 users, "
                f"loss {report['first_loss']:.3f} to {report['last_loss']:.3f}",
                flush=True,
            )


def compare_all(about: Json, flags: argparse.Namespace) -> Json:
    """Compares every loss that `--case` names, and prints the tables.

    Rounds that an output file of the same data and processor holds are kept: those of now are added
    to them.
    """
    command = f"python -m benchmarks.peers --peer={flags.peer} --data={flags.data.name}"
    result: Json = {"command": command, "about": about, "figures": FIGURES, "losses": {}}
    if flags.output and flags.output.exists():
        before = json.loads(flags.output.read_text(encoding="utf-8"))
        same = ("processor", "cores", "data_sha256", "peer_threads")
        if [before["about"][name] for name in same] != [about[name] for name in same]:
            raise ValueError(f"{flags.output} is of other data or another machine: move it away.")
        result["losses"] = before["losses"]
    for comparison in COMPARISONS:
        if flags.case not in comparison.title:
            continue
        print(f"\n{comparison.title}", flush=True)
        compare(comparison, result["losses"].setdefault(comparison.title, {}), flags)
    for title, rows in result["losses"].items():
        print(f"\n{title}\n| | {' | '.join(FIGURES.values())} |\n|---|{'---|' * len(FIGURES)}")
        for name, row in rows.items():
            values = [f"{row['median'].get(figure, float('nan')):.3g}" for figure in FIGURES]
            print(f"| {name} | {' | '.join(values)} |")
    return result
