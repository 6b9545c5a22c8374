"""Runs that are killed and started again until they end, by fork or as the command line."""

import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from tests.helpers.runs import PLANTED, ROOT, STEPS, TINY, command, environment

KILLED = -9
COMMON = (
    *PLANTED,
    *TINY,
    "--config.training.deterministic=true",
    "--config.training.num_epochs=12",
    "--config.training.patience=6",
    "--config.training.checkpoint_steps=3",
    "--config.backbone.dropout=0.3",
    "--config.gate.kind=validation",
    "--config.gate.patience=1",
    "--config.gate.popularity_lift=0",
    "--config.comparison.baselines=",
)
"""The gate opens after a few epochs; a checkpoint within every epoch."""
CASES = {
    "ufnrec": (),
    "ufnrec_safe": (
        "--config.memory.policy=ufnrec_safe",
        "--config.memory.safe_period=2",
        "--config.memory.safe_patience=0",
        "--config.evaluation.test_every=2",
    ),
    "ufnrec_soft": (
        "--config.memory.policy=ufnrec_soft",
        "--config.teacher.num_epochs=2",
        "--config.teacher.left_out=0.2",
    ),
    "lazy": ("--config.optimizer.lazy_rows=true", "--config.negatives.shared=true"),
    # The last step is within an epoch and has a checkpoint of its own.
    "arms": (
        "--config.comparison.arms=base",
        "--config.gate.kind=epochs",
        f"--config.training.max_steps={4 * STEPS + 2}",
        "--config.training.checkpoint_steps=2",
    ),
    "compiled": ("--config.training.jit_compile=true",),
}


class Life(NamedTuple):
    """How a process of a run ended: its exit code, or minus a signal's number; what it said."""

    code: int
    out: str
    err: str


def flags(case, workdir):
    return [f"--workdir={workdir}", *COMMON, *CASES[case]]


def fork(kill, notes, arguments):
    """Runs `tests.processes.crash_run` in a fork, which need not import TensorFlow again.

    This process must not have used TensorFlow before.
    """
    from tests.processes import crash_run

    notes = Path(notes)
    streams = [notes.with_suffix(end) for end in (".out", ".err")]
    child = os.fork()
    if not child:
        code = 1
        try:
            for number, path in enumerate(streams, start=1):
                os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
            code = crash_run.run(kill, notes, arguments)
            sys.stdout.flush()
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return Life(code, *(path.read_text(encoding="utf-8") for path in streams))


def start(arguments, *, kill="", notes=None, seconds=None):
    """Runs the command line in a process of its own, to its end or for so many seconds.

    Args:
        arguments: Flags of main.py.
        kill: The write at which it kills itself; see tests/crash_run.py.
        notes: Where it notes its writes; None for main.py itself, unwatched.
        seconds: When it is killed from outside, None for not.
    """
    whole = command(*arguments)
    if notes is not None:
        own = [f"--kill={kill}", f"--writes={notes}", "--"]
        whole = [sys.executable, "-m", "tests.processes.crash_run", *own, *arguments]
    with subprocess.Popen(
        whole,
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            out, err = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
    return Life(process.returncode, out, err)
