"""Common code of the benchmarks: the cost of a process, our training command, the machine."""

import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]


class Cost(NamedTuple):
    """The cost of a process and its children.

    Attributes:
        cpu_seconds: User and system time of all threads, from the start of the interpreter on.
        wall_seconds: Wall time.
        peak_rss_bytes: Largest resident set of the process; Linux counts that of the caller, from
            which it forks, so callers should be small.
        output: The output of the process, errors included.
    """

    cpu_seconds: float
    wall_seconds: float
    peak_rss_bytes: int
    output: str


def measure(command: list[str], *, cwd: Path = ROOT, env: dict[str, str] | None = None) -> Cost:
    """Runs a command to its end and returns its cost.

    Each process compiles its own programs, so that two can be compared; `env` may change that.

    Raises:
        RuntimeError: If it fails; the message ends with what it printed.
    """
    started = time.perf_counter()
    process = subprocess.Popen(
        command,
        cwd=cwd,
        env={
            **os.environ,
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "UFNREC_PROGRAMS": "off",
            **(env or {}),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert_pipe = process.stdout
    output = assert_pipe.read() if assert_pipe else ""
    # Of only this child, unlike the sums over all children that `getrusage` keeps.
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{output[-4000:]}")
    return Cost(
        cpu_seconds=usage.ru_utime + usage.ru_stime,
        wall_seconds=time.perf_counter() - started,
        peak_rss_bytes=usage.ru_maxrss * 1024,
        output=output,
    )


def train_command(
    workdir: Path, *, data: Path, num_steps: int, settings: dict[str, object] | None = None
) -> list[str]:
    """Returns the command that trains, or resumes, up to `num_steps` steps, and does little else.

    Evaluation runs only once, at the end, so that the difference between two numbers of steps
    holds only training.

    Args:
        workdir: The work directory of the run.
        data: The log.
        num_steps: Steps of the run, those that the directory holds already included.
        settings: Key to value of the configuration, `memory.slots` and the like.
    """
    values: dict[str, object] = {
        "training.recipe": "base",  # else the size of the log chooses loss and network
        "evaluation.every": 100_000,
        "training.monitor": "",
        "gate.popularity_lift": 0,
        "comparison.baselines": "()",
        "comparison.sample_users": 0,
        "training.num_epochs": 1000,
        "training.max_steps": num_steps,
        **(settings or {}),
    }
    options = [f"--config.{name}={value}" for name, value in values.items()]
    return [sys.executable, "main.py", f"--data={data}", f"--workdir={workdir}", *options]


def machine() -> dict[str, object]:
    """Returns the facts of the machine: processor, cores, memory, load."""
    model = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    return {
        "processor": model,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(pages * size / 1e9, 1),
        "python": platform.python_version(),
        "load_at_start": os.getloadavg()[0],
    }


def median(values: list[float]) -> float:
    """Returns the median."""
    return statistics.median(values)
