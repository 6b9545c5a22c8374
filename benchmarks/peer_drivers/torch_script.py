"""Runs the main script of the authors or of pmixer, which are built alike, for exactly N steps.

Both keep everything in module-level code: an endless sampler of three processes, then a loop over
epochs of `num_batch` steps. The script runs as it is; from outside are set
 - `num_batch` to N and `--num_epochs` to 1, so that one epoch is the run and nothing is evaluated;
 - the sampler's `close`, which first waits until its queue is full: N + 30 batches are then made in
   every run, and what differs between two numbers of steps holds no batch made ahead.
Threads are left at PyTorch's default.
"""

import importlib
import multiprocessing
import runpy
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.peer_drivers.common import SHAPES, Journal, UserError

Globals = dict[str, Any]

# Arguments that both scripts know.
SHAPE_OPTIONS: dict[str, object] = {
    "batch_size": SHAPES.batch_size,
    "maxlen": SHAPES.max_length,
    "hidden_units": SHAPES.width,
    "num_blocks": SHAPES.num_blocks,
    "num_heads": SHAPES.num_heads,
    "dropout_rate": SHAPES.dropout,
    "num_epochs": 1,
    "device": "cpu",
}
# A sampler process that waits in `put` has one more batch made: time to finish it.
SETTLE_SECONDS = 1.0


def run_script(
    script: Path,
    options: dict[str, object],
    *,
    sampler_module: str,
    num_steps: int,
    journal: Journal,
    before_step: Callable[[Globals, int], None] | None = None,
) -> None:
    """Runs `script` as `__main__` and fills the journal.

    Args:
        script: The peer's main script, whose folder is on sys.path.
        options: Its arguments.
        sampler_module: The peer's module that holds WarpSampler.
        num_steps: Optimizer steps.
        journal: Takes each step's loss and users.
        before_step: Gets the script's variables and the number of steps done, before each batch.
    """
    try:
        from torch.optim.optimizer import register_optimizer_step_post_hook
    except ImportError as error:
        raise UserError(f"{sys.executable} cannot import PyTorch 2: {error}.") from error
    # Workers of the sampler inherit the data; peers were written for that.
    multiprocessing.set_start_method("fork")
    module: Any = importlib.import_module(sampler_module)
    scripts: list[Globals] = []
    module.WarpSampler = _watched(
        module.WarpSampler, scripts=scripts, num_steps=num_steps, before_step=before_step
    )

    def note_step(*_: Any) -> None:
        # The script's variables still hold this step's loss and users.
        variables = scripts[0]
        journal.step(float(variables["loss"].detach()), num_users=len(variables["u"]))

    register_optimizer_step_post_hook(note_step)
    sys.argv = [str(script), *(f"--{name}={value}" for name, value in options.items())]
    runpy.run_path(str(script), run_name="__main__")


def _watched(
    sampler: type,
    *,
    scripts: list[Globals],
    num_steps: int,
    before_step: Callable[[Globals, int], None] | None,
) -> type:
    """Returns a subclass of the peer's sampler that limits its steps and leaves its batches."""

    # Ignored: a base class that is known only at run time cannot be checked.
    class Watched(sampler):  # type: ignore[misc, valid-type]
        """Notes the script's variables, sets their `num_batch`, closes when full."""

        def __init__(self, *args: Any, **options: Any) -> None:
            # The caller is the script, just past the line that computes `num_batch`.
            scripts.append(sys._getframe(1).f_globals)
            scripts[0]["num_batch"] = num_steps
            self.num_given = 0
            super().__init__(*args, **options)

        def next_batch(self) -> Any:
            """Returns the peer's next batch."""
            if before_step:
                before_step(scripts[0], self.num_given)
            self.num_given += 1
            return super().next_batch()

        def close(self) -> None:
            """Ends the sampler once it has made all that it can make ahead."""
            while not self.result_queue.full():
                time.sleep(0.1)
            time.sleep(SETTLE_SECONDS)
            super().close()

    return Watched
