"""One worker's steps for `benchmarks.scaling`, which starts it; prints a JSON object.

    TF_CONFIG=... python -m benchmarks.scaling_point --data=FILE --users=N --steps=N KEY=VALUE...

It trains `configs/beauty.py` with the settings KEY=VALUE. The first 100 steps, with the compiling,
are left out; of the others the median of ten at a time is taken, which a burst of other work on
the machine does not move.
"""

import argparse
import json
import time
from typing import Any

import keras
import numpy as np

from ufnrec_tf.config import load_config
from ufnrec_tf.reading.sources import load, make_split
from ufnrec_tf.training.build import build, prepare_tensorflow

NUM_WARM, WINDOW = 100, 10


class Clock(keras.callbacks.Callback):
    """Wall and CPU seconds of the process at the end of each step."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[tuple[float, float]] = []

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Notes the times."""
        self.seconds.append((time.perf_counter(), time.process_time()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--users", type=int, required=True, help="users a step of all workers")
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("settings", nargs="*")
    arguments = parser.parse_args()
    settings = {
        "distribution.strategy": "multi_worker",
        "training.batch_size": str(arguments.users),
        **dict(setting.split("=", 1) for setting in arguments.settings),
    }
    config = load_config("configs/beauty.py", list(settings.items()))
    strategy = prepare_tensorflow(config, 0)
    split = make_split(config, load(config, arguments.data).interactions)
    experiment = build(config, split, 0, strategy=strategy)
    clock = Clock()
    experiment.model.fit(
        experiment.dataset(0), steps_per_epoch=arguments.steps, callbacks=[clock], verbose=0
    )
    windows = np.diff(np.array(clock.seconds)[NUM_WARM::WINDOW], axis=0) * 1e3 / WINDOW
    wall, cpu = np.median(windows, axis=0)
    print(json.dumps({"wall_ms": wall, "cpu_ms": cpu}))


if __name__ == "__main__":
    main()
