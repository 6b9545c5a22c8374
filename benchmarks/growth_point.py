"""Cost of a step, of an evaluated user and the memory at one size of everything; for growth.py.

python -m benchmarks.growth_point --users=2000 --items=10000 --length=20 ...
"""

import argparse
import json
import resource
import sys
import time
from typing import Any

TIMED = 24
"""Steps on the clock; as many before it, on the same batches, which compile."""


def settings_of(flags: argparse.Namespace) -> list[tuple[str, str]]:
    """Returns the configuration's overrides."""
    values: dict[str, Any] = {
        "data.name": "planted",
        "data.planted_users": flags.users,
        "data.planted_items": flags.items,
        "data.planted_mean_length": flags.length,
        "backbone.max_length": flags.length,
        "negatives.count": flags.negatives,
        "memory.slots": flags.slots,
        "training.batch_size": flags.batch,
        "training.num_epochs": 1,
        "gate.kind": "epochs",
        "gate.epochs": 0,
    }
    given = [part.split("=", 1) for part in flags.set.split(",") if part]
    return [(name, str(value)) for name, value in (values | dict(given)).items()]


def train(experiment: Any) -> dict[str, float]:
    """Returns CPU milliseconds and real positions a step."""
    import tensorflow as tf

    model, batches = experiment.model, iter(experiment.dataset(0))
    step = tf.function(model.train_step)
    experiment.host.open_gate(0)
    kept = [next(batches) for _ in range(TIMED)]
    for batch in kept:
        loss = step(batch)["loss"]
    float(loss)
    experiment.host.read_sums(clear=True)
    started = time.process_time()
    for batch in kept:
        next(batches)  # made and paid for, but it could need another program
        loss = step(batch)["loss"]
    float(loss)
    seconds = time.process_time() - started
    sums = experiment.host.read_sums()
    return {
        "step_cpu_ms": seconds / TIMED * 1000,
        "positions": sums["positions"] / TIMED,
        "shown": sums["shown"] / TIMED,
    }


def evaluate(config: Any, experiment: Any, split: Any) -> dict[str, float]:
    """Returns CPU milliseconds a user, all of them ranked twice, the second time timed."""
    from ufnrec_tf.training.build import make_evaluator

    evaluator = make_evaluator(config, split, "test", 0)
    evaluator.ranks(experiment.model.backbone)
    started = time.process_time()
    evaluator.ranks(experiment.model.backbone)
    return {
        "evaluated_user_cpu_ms": (time.process_time() - started) / len(split.users("test")) * 1000
    }


def main() -> int:
    """Prints the figures as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (
        ("users", 2000),
        ("items", 10000),
        ("length", 20),
        ("negatives", 100),
        ("slots", 16),
        ("batch", 128),
    ):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--set", default="", help="KEY=VALUE,... of the configuration")
    flags = parser.parse_args()
    from ufnrec_tf.config import load_config
    from ufnrec_tf.data.splits import leave_one_out
    from ufnrec_tf.reading import sources
    from ufnrec_tf.training.build import build, prepare_tensorflow

    config = load_config("", settings_of(flags))
    split = leave_one_out(sources.load(config, "").interactions)
    experiment = build(config, split, 0, strategy=prepare_tensorflow(config, 0))
    found = {"interactions": float(split.interactions.num_events), **train(experiment)}
    found |= evaluate(config, experiment, split)
    found["peak_rss_gb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
