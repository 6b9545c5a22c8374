"""The latency of a call of the exported model, in this process.

    python -m benchmarks.latency [--items=12101] [--length=50] [--calls=300]

Exports an untrained SASRec of Beauty's shape (width 50, two blocks) and times its signatures for
one history and for 32, k = 10; wall milliseconds: least, median, 99th percentile. No server, no
network.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import tensorflow as tf

from ufnrec_tf import backbones
from ufnrec_tf.export.items import ItemFacts
from ufnrec_tf.export.saved_model import make_model, write_model


def export(path: Path, num_items: int, length: int) -> np.ndarray:
    """Writes the model and returns its vocabulary, object (str) [num_items + 1]."""
    ids = np.array(["", *(f"item {n}" for n in range(num_items))], dtype=object)
    backbone = backbones.create(
        "sasrec", num_items=num_items, width=50, max_length=length, num_blocks=2
    )
    model = make_model(
        backbone,
        ids,
        max_length=length,
        top_k=10,
        mask_seen=True,
        metadata={},
        facts=ItemFacts(np.arange(num_items + 1)),
        fallback="popularity",
    )
    write_model(path, model)
    return ids


def timed(signature: tf.types.experimental.ConcreteFunction, inputs: dict, calls: int) -> list:
    """Returns wall milliseconds of a call: least, median, 99th percentile."""
    times = []
    for _ in range(calls + 5):
        started = time.perf_counter()
        signature(**inputs)["item_ids"].numpy()
        times.append(1000 * (time.perf_counter() - started))
    return [np.min(times[5:]), np.median(times[5:]), np.quantile(times[5:], 0.99)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=12_101)
    parser.add_argument("--length", type=int, default=50)
    parser.add_argument("--calls", type=int, default=300)
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "1"
        ids = export(path, arguments.items, arguments.length)
        signatures = tf.saved_model.load(str(path)).signatures

    def draw(rows: int, columns: int) -> tf.Tensor:
        return tf.constant(rng.choice(ids[1:], size=(rows, columns)), tf.string)

    print(f"{arguments.items:,} items, length {arguments.length}; ms: least, median, 99%")
    for rows in (1, 32):
        shared = {"item_ids": draw(rows, arguments.length), "k": tf.constant(10)}
        empty, lists = tf.fill([rows, 1], ""), (draw(rows, 100), draw(rows, 1000))
        for label, name, extra in (
            ("recommend", "recommend", {}),
            ("filtered, empty lists", "recommend_filtered", (empty, empty)),
            ("filtered, 100 out, 1,000 allowed", "recommend_filtered", lists),
        ):
            inputs = {**shared, **dict(zip(("exclude_ids", "allow_ids"), extra, strict=False))}
            values = timed(signatures[name], inputs, arguments.calls)
            print(f"  {rows:3} {label:34}", *(f"{value:8.2f}" for value in values))


if __name__ == "__main__":
    main()
