"""Run by test_end_to_end in a process of its own: runs that are stopped and go on, to the bit.

Deterministic operations stay on for the rest of a process, hence not in that of the tests.
"""

import json
import signal
import sys
from pathlib import Path

from tests.helpers.runs import STEPS, train
from ufnrec_tf.training import finish
from ufnrec_tf.training.loop import TrainingLoop

SETTINGS = (
    "--config.training.jit_compile=true",
    "--config.training.deterministic=true",
    "--config.backbone.dropout=0.3",
    "--config.gate.kind=validation",
    "--config.gate.patience=1",
    "--config.gate.popularity_lift=0",
    "--config.training.patience=0",
    "--config.comparison.baselines=",
    "--config.comparison.sample_users=0",
)
EPOCHS = "--config.training.num_epochs=6"


def stop_at(step):
    """Makes the next run get a Ctrl-C in the middle of a step."""
    name = "on_train_batch_end"
    original = TrainingLoop.on_train_batch_end

    def on_train_batch_end(loop, batch, logs=None):
        if loop.progress.step + 1 == step:
            setattr(TrainingLoop, name, original)
            loop.ask_to_stop(signal.SIGINT)
        original(loop, batch, logs)

    setattr(TrainingLoop, name, on_train_batch_end)


def main(folder):
    # A copy of weights that are compared.
    setattr(finish, "export", lambda *_: None)  # noqa: B010
    limit = f"--config.training.max_steps={STEPS}"
    codes = [
        train(folder / "whole", *SETTINGS, EPOCHS),
        train(folder / "stopped", *SETTINGS, EPOCHS, limit),  # finishes, and is asked for more
    ]
    stop_at(4 * STEPS + 3)  # within an epoch; the limit was an epoch's end
    codes.append(train(folder / "stopped", *SETTINGS, EPOCHS))
    codes.append(train(folder / "stopped", *SETTINGS, EPOCHS))
    (folder / "codes.json").write_text(json.dumps(codes), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
