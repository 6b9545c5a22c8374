"""The cost of an answer of the exported model, by catalogue, kind of table and batch.

python -m benchmarks.retrieval --items=12101 100000 1000000 --table=float32 bfloat16 int8

A SASRec of random weights (width 64, 50 positions, 2 blocks) is exported, loaded in a process of
its own as a server would, and asked for the ten best of all items, exactly: p50 and p99 of the
time of a call, its median CPU time, the peak resident memory of that process, loading included,
and the bytes of the variables on the disk.
"""

import argparse
import json
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.common import machine, measure

_SECONDS = 20.0


def time_calls(path: Path, *, num_items: int, batches: list[int], num_calls: int) -> None:
    """Loads an export, and prints its times by batch and the peak memory as JSON."""
    import tensorflow as tf

    recommend = tf.saved_model.load(str(path)).signatures["recommend"]
    rng = np.random.default_rng(0)
    found = {}
    for batch in batches:
        times: list[float] = []
        own: list[float] = []
        begin = time.perf_counter()
        while len(times) < num_calls + 3 and time.perf_counter() - begin < _SECONDS:
            histories = [
                [f"item{item}" for item in rng.integers(1, num_items + 1, 20)] for _ in range(batch)
            ]
            ids = tf.constant(histories)
            start, cpu = time.perf_counter(), time.process_time()
            recommend(item_ids=ids, k=tf.constant(10))["scores"].numpy()
            times.append(1000 * (time.perf_counter() - start))
            own.append(1000 * (time.process_time() - cpu))
        p50, p99 = np.percentile(times[3:], [50, 99])
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        found[batch] = {
            "p50_ms": round(p50, 2),
            "p99_ms": round(p99, 2),
            "cpu_ms": round(float(np.median(own[3:])), 2),
            "calls": len(times) - 3,
            "peak_rss_mb": round(peak * 1024 / 1e6),
        }
    print("FOUND", json.dumps(found))


def _point(num_items: int, table: str, batches: list[int], num_calls: int) -> dict[str, object]:
    """Returns times, sizes and memory of one catalogue in one kind of table."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "1"
        own = "from pathlib import Path; from benchmarks import retrieval, recommend; "
        write = f"recommend.export_random(Path({str(path)!r}), num_items={num_items}, "
        write += f"table={table!r})"
        measure([sys.executable, "-c", own + write])
        ask = f"retrieval.time_calls(Path({str(path)!r}), num_items={num_items}, "
        ask += f"batches={batches}, num_calls={num_calls})"
        output = measure([sys.executable, "-c", own + ask]).output
        size = sum(file.stat().st_size for file in (path / "variables").iterdir())
    line = next(line for line in output.splitlines() if line.startswith("FOUND"))
    return {
        "items": num_items,
        "table": table,
        "variables_mb": round(size / 1e6, 2),
        "batches": json.loads(line.removeprefix("FOUND")),
    }


def main() -> int:
    """Prints a line a point, then the machine."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, nargs="+", default=[12_101, 100_000, 1_000_000])
    parser.add_argument("--table", nargs="+", default=["float32", "bfloat16", "int8"])
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 32])
    parser.add_argument("--calls", type=int, default=200)
    flags = parser.parse_args()
    for num_items in flags.items:
        for table in flags.table:
            print(json.dumps(_point(num_items, table, flags.batch, flags.calls)), flush=True)
    print(json.dumps(machine()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
