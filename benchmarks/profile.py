"""The time of a step by its parts, in a run's own state.

    python -m benchmarks.profile --workdir=DIR --data=FILE [--steps=40] [--trace=DIR]

Continues the run of DIR in memory (nothing is written to it) and times each part of the step by
itself, CPU milliseconds of all threads; what lies between the parts shows as the rest. --trace
writes TensorFlow's own trace of whole steps, for TensorBoard's or xprof's profile page.
"""

import argparse
import functools
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorflow as tf
from ml_collections import ConfigDict

from ufnrec_tf.common.files import read_json
from ufnrec_tf.method.candidates import count_entries, propose
from ufnrec_tf.method.positions import pack_batch
from ufnrec_tf.reading import sources
from ufnrec_tf.training.build import Experiment, build, prepare_tensorflow


def load(workdir: Path, data: str) -> tuple[Experiment, int]:
    """Returns the run of a directory at its newest checkpoint, and its step."""
    record = read_json(workdir / "config.json")
    config = ConfigDict(record["config"])
    split = sources.make_split(config, sources.load(config, data).interactions)
    strategy = prepare_tensorflow(config, record["seed"])
    experiment = build(config, split, record["seed"], strategy=strategy)
    store, _ = experiment.stores(workdir)
    newest = store.newest()
    if not newest:
        raise SystemExit(f"error: {workdir}: no checkpoint there; train with max_steps first.")
    progress = store.restore(newest, "progress")["progress"]
    return experiment, progress["step"]


def cpu_ms(call: Callable[[Any], Any], values: list[Any]) -> tuple[float, list[Any]]:
    """Returns CPU milliseconds a call, and the results of the calls."""
    for value in values:  # batches differ in shape: traced until none is new
        call(value)
    started = time.process_time()
    results = [call(value) for value in values]
    # The last result is there only when all is done.
    tf.nest.map_structure(lambda x: x.numpy() if hasattr(x, "numpy") else x, results[-1])
    return (time.process_time() - started) / len(values) * 1000, results


def parts(experiment: Experiment, batches: list[dict[str, tf.Tensor]]) -> dict[str, float]:
    """Returns part to CPU milliseconds; the model is changed by it."""
    model = experiment.model
    found: dict[str, float] = {}
    graph = functools.partial(tf.function, reduce_retracing=True)
    step = graph(model.train_step)
    found["whole step"], _ = cpu_ms(step, batches)
    pack = graph(lambda batch: pack_batch(batch, model.capacities))
    found["pack"], packed = cpu_ms(pack, batches)
    pairs = list(zip(batches, packed, strict=True))
    draw = graph(
        lambda pair: model._draw(
            users=pair[0]["user"],
            visits=pair[0]["visit"],
            batch_index=pair[1].batch_rows(),
            positions=pair[1].indices,
        )
    )
    found["draw negatives"], fresh = cpu_ms(draw, pairs)
    look = graph(lambda pair: model._lookup(*pair))
    found["memory lookup"], lookups = cpu_ms(look, list(zip(packed, fresh, strict=True)))
    enter = graph(lambda pair: propose(model.policy, *pair))
    _, proposals = cpu_ms(enter, list(zip(packed, lookups, strict=True)))
    teach = graph(lambda pair: model._teach(*pair))
    found["teacher"], taught = cpu_ms(teach, list(zip(packed, proposals, strict=True)))
    judge = graph(lambda pair: model._judge(pair[0], pair[1][1]))
    _, entries = cpu_ms(judge, list(zip(proposals, taught, strict=True)))

    @graph
    def learn(value: Any) -> Any:
        where, entry, (logits, is_taught, _) = value
        is_softened = is_taught & entry.is_flipped
        is_soft_only = model.objective.uses_soft_label_only
        divisors = count_entries(entry, is_softened, is_soft_only)
        return model._learn(where.inputs, entry, is_softened, logits, divisors, None)

    found["encode, score, gradients"], students = cpu_ms(
        learn, list(zip(packed, entries, taught, strict=True))
    )
    follow = graph(lambda student: model._follow(0, student.gradients, tf.constant(9, tf.int64)))
    found["Adam and teacher's average"], _ = cpu_ms(follow, students)
    record = graph(lambda value: model._record(value[0], value[1], value[2].is_hard, value[3]))
    found["memory record"], _ = cpu_ms(
        record, list(zip(packed, lookups, students, entries, strict=True))
    )
    return found


def main() -> int:
    """Prints the parts."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profile", description=__doc__)
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--data", default="")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--trace", type=Path)
    flags = parser.parse_args()
    experiment, first = load(flags.workdir, flags.data)
    stream = iter(experiment.dataset(first))
    next(stream)  # draws the epoch's order
    started = time.process_time()
    batches = [next(stream) for _ in range(flags.steps)]
    data_ms = (time.process_time() - started) / flags.steps * 1000
    found = parts(experiment, batches)
    users = sum(int(tf.math.count_nonzero(batch["user"] >= 0)) for batch in batches) / len(batches)
    whole = found.pop("whole step")
    found["the rest"] = whole - sum(found.values())
    found["batch, made by tf.data"] = data_ms
    whole += data_ms
    for name, value in [*found.items(), ("whole step", whole)]:
        share, cost = value / whole, value / users
        print(f"{name:<28} {value:8.2f} ms {share:6.0%}   {cost:.4f} CPU s / 1,000 users")
    if flags.trace:
        step = tf.function(experiment.model.train_step)
        step(batches[0])
        with tf.profiler.experimental.Profile(str(flags.trace)):
            for batch in batches[:10]:
                step(batch)
    return 0


if __name__ == "__main__":
    sys.exit(main())
