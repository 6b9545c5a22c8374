"""A short training on whatever device TensorFlow takes; for check_gpu.py.

    python -m benchmarks.gpu_point --batch=128 --precision=float32

Prints one line of JSON: losses and ranks of a run without dropout, and users a second.
"""

import argparse
import json
import resource
import sys
import time
from typing import Any

STEPS = 40
"""Steps whose losses are compared."""
TIMED = 60


def settings_of(flags: argparse.Namespace) -> list[tuple[str, str]]:
    """Returns the configuration's overrides."""
    values: dict[str, Any] = {
        "data.name": "planted",
        "data.planted_users": flags.users,
        "data.planted_items": flags.items,
        "backbone.dropout": 0.0,
        "backbone.precision": flags.precision,
        "training.batch_size": flags.batch,
        "training.num_epochs": 1,
        "training.jit_compile": flags.compile,
        "gate.kind": "epochs",
        "gate.epochs": 0,
        "memory.patience": 1,
    }
    return [(name, str(value)) for name, value in values.items()]


def device_memory_bytes() -> int:
    """Returns the peak of the first GPU's memory, or of this process without one."""
    import tensorflow as tf

    if tf.config.list_logical_devices("GPU"):
        return int(tf.config.experimental.get_memory_info("GPU:0")["peak"])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> int:
    """Trains, evaluates, times; prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=2000)
    parser.add_argument("--items", type=int, default=3000)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--compile", default="true")
    flags = parser.parse_args()
    import tensorflow as tf

    from ufnrec_tf.config import load_config
    from ufnrec_tf.data.splits import leave_one_out
    from ufnrec_tf.reading import sources
    from ufnrec_tf.training.build import build, make_evaluator, prepare_tensorflow

    config = load_config("", settings_of(flags))
    split = leave_one_out(sources.load(config, "").interactions)
    experiment = build(config, split, 0, strategy=prepare_tensorflow(config, 0))
    experiment.host.open_gate(0)
    step, batches = tf.function(experiment.model.train_step), iter(experiment.dataset(0))
    losses = [float(step(next(batches))["loss"]) for _ in range(STEPS)]
    memory = experiment.model.memory
    assert memory is not None
    result = make_evaluator(config, split, "test", 0).evaluate(experiment.model.backbone)
    sums = experiment.host.read_sums(clear=True)
    started = time.perf_counter()
    for _ in range(TIMED):
        loss = step(next(batches))["loss"]
    float(loss)
    seconds = time.perf_counter() - started
    found = {
        "devices": [device.name for device in tf.config.list_logical_devices()],
        "weights_on": experiment.model.backbone.item_table.value.device,
        "memory_on": memory.items.device,
        "losses": losses,
        "flips": sums["flips"],
        "remembered": memory.read_counters()["written"],
        "ndcg@10": result.metrics["ndcg@10"],
        "users_per_second": experiment.host.read_sums()["users"] / seconds,
        "peak_memory_bytes": device_memory_bytes(),
    }
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
