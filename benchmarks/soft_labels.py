"""The cost of a training step with stored soft labels, beside plain training's.

    python -m benchmarks.soft_labels [--data=FILE] [--losses=bce,nce] [--set KEY=VALUE ...]

Both variants run in one process and in turns: a bare loop of the compiled step over the same
prepared batches, CPU milliseconds of all threads, the median over repeats. Plain training averages
its weights too (`teacher.always`), as training with soft labels always does. Labels are random
items: a step costs the same whatever they are. Without --data the log is planted: 1,000 items, or
as --set says. Prints one line a loss, with the ratio and its least and most over repeats.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from benchmarks.common import median
from ufnrec_tf.config import load_config
from ufnrec_tf.data.splits import Split
from ufnrec_tf.data.windows import make_samples
from ufnrec_tf.method.soft_labels import FACTS_FILE, ITEMS_FILE, SHARES_FILE
from ufnrec_tf.reading import sources
from ufnrec_tf.training.build import build, prepare_tensorflow

SHAPE = {
    "backbone.variant": "corrected",
    "teacher.always": "true",
    "training.batch_size": "128",
    "negatives.count": "100",
}
VARIANTS = {"plain": {"memory.policy": "plain"}, "soft": {"memory.policy": "ufnrec_soft"}}


def write_random_labels(folder: Path, num_rows: int, num_items: int, num_labels: int) -> Path:
    """Writes labels of distinct random items, and returns the folder."""
    rng = np.random.default_rng(0)
    num_labels = min(num_labels, num_items)
    starts = rng.integers(num_items, size=(num_rows, 1))
    strides = rng.integers(1, max(num_items // num_labels, 2), size=(num_rows, 1))
    items = 1 + (starts + strides * np.arange(num_labels)) % num_items
    shares = rng.dirichlet(np.full(num_labels, 0.2), num_rows)
    items.astype("<i4").tofile(folder / ITEMS_FILE)
    shares.astype("<f4").tofile(folder / SHARES_FILE)
    facts = {"rows": num_rows, "num_labels": num_labels}
    (folder / FACTS_FILE).write_text(json.dumps(facts), encoding="utf-8")
    return folder


def measure_loss(
    loss: str, settings: dict[str, str], data: str, *, num_steps: int, repeats: int
) -> dict[str, list[float]]:
    """Returns variant to CPU milliseconds a step, one figure a repeat."""
    steps: dict[str, Any] = {}
    batches: list[dict[str, tf.Tensor]] = []
    split: Split | None = None
    with tempfile.TemporaryDirectory() as folder:
        for variant, own in VARIANTS.items():
            config = load_config("", [*{**settings, **own, "loss.name": loss}.items()])
            if split is None:
                split = sources.make_split(config, sources.load(config, data).interactions)
                strategy = prepare_tensorflow(config, 0)
            samples = make_samples(
                split, max_length=config.backbone.max_length, windows=config.training.windows
            )
            labels = write_random_labels(
                Path(folder),
                samples.num_rows,
                split.interactions.num_items,
                config.teacher.num_labels,
            )
            experiment = build(config, split, 0, strategy=strategy, labels=labels)
            steps[variant] = tf.function(experiment.model.train_step, reduce_retracing=True)
            if not batches:
                stream = iter(experiment.dataset(0))
                batches = [next(stream) for _ in range(num_steps)]
        for step in steps.values():  # compiled for each size that occurs
            for batch in batches:
                step(batch)
        found: dict[str, list[float]] = {variant: [] for variant in steps}
        for _ in range(repeats):
            for variant, step in steps.items():
                started = time.process_time()
                for batch in batches:
                    result = step(batch)
                result["loss"].numpy()  # there only when all is done
                found[variant].append((time.process_time() - started) / len(batches) * 1000)
    return found


def main(arguments: list[str] | None = None) -> int:
    """Prints the cost with each loss; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soft_labels", description=__doc__)
    parser.add_argument("--data", default="", help="a log; planted data without it")
    parser.add_argument("--losses", default="bce,nce,sampled_softmax_logq,cross_entropy")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--repeats", type=int, default=7)
    flags = parser.parse_args(arguments)
    given = dict(pair.split("=", 1) for pair in flags.set)
    settings = {**SHAPE, **({} if flags.data else {"data.name": "planted"}), **given}
    for loss in flags.losses.split(","):
        found = measure_loss(
            loss, settings, flags.data, num_steps=flags.steps, repeats=flags.repeats
        )
        ratios = [soft / plain for plain, soft in zip(found["plain"], found["soft"], strict=True)]
        print(
            f"{loss:<22} plain {median(found['plain']):6.2f} ms, soft {median(found['soft']):6.2f} "
            f"ms, {median(ratios):.2f} times ({min(ratios):.2f} to {max(ratios):.2f})",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
