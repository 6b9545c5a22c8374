"""The peak memory of making, preparing and training on a log too large to hold in memory.

python -m benchmarks.large --folder=DIR [--users=1000000 --length=50 --items=20000]

Each part runs in a process of its own. Parts that are there already are left out, so that a run
that was stopped resumes.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from benchmarks.common import machine, measure, train_command

_START = 1_500_000_000
_DAY = 86_400
_NEIGHBOURS = 5
"""A user's next item is, half the time, one of so many that follow the last one."""


def generate(path: Path, *, num_users: int, length: int, num_items: int) -> None:
    """Writes a CSV log of `num_users` x `length` events, the newest last, users shuffled.

    Half of the events follow the one before (an item's next ones are its successors on a circle),
    half are drawn by popularity, as 1 / (rank + 10). What is held is a few numbers a user.
    """
    rng = np.random.default_rng(0)
    weights = 1 / (np.arange(num_items) + 10.0)
    bounds = np.cumsum(weights / weights.sum())
    # So that popular items are no neighbours.
    shuffled = rng.permutation(num_items).astype(np.int32)
    last = shuffled[np.searchsorted(bounds, rng.random(num_users)).clip(max=num_items - 1)]
    new = path.with_name(f".{path.name}.new")
    schema = pa.schema({"user_id": pa.string(), "item_id": pa.string(), "timestamp": pa.int64()})
    options = csv.WriteOptions(include_header=False, quoting_style="none")
    with new.open("wb") as file:
        file.write(b"user_id,item_id,timestamp\n")
        with csv.CSVWriter(file, schema, write_options=options) as writer:
            for day in range(length):
                step = rng.integers(1, _NEIGHBOURS + 1, num_users, dtype=np.int32)
                popular = np.searchsorted(bounds, rng.random(num_users)).clip(max=num_items - 1)
                is_next = rng.random(num_users) < 0.5
                last = np.where(is_next, (last + step) % num_items, shuffled[popular])
                order = rng.permutation(num_users)
                seconds = np.sort(rng.integers(0, _DAY, num_users)) + _START + day * _DAY
                users = pc.binary_join_element_wise("u", pa.array(order).cast(pa.string()), "")
                items = pc.binary_join_element_wise("i", pa.array(last[order]).cast("string"), "")
                writer.write_table(pa.table([users, items, pa.array(seconds)], schema=schema))
    new.rename(path)


def training(folder: Path, workdir: Path, *, slots: int, num_steps: int) -> list[str]:
    """Returns the command that trains on the prepared folder, the memory open from step 0."""
    settings = {
        "training.windows": "all",
        "memory.slots": slots,
        "gate.kind": "epochs",
        "gate.epochs": 0,
    }
    return train_command(workdir, data=folder, num_steps=num_steps, settings=settings)


def main() -> int:
    """Prints a row a part: CPU seconds, wall seconds, peak memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--part", default="", help=argparse.SUPPRESS)
    for name, default in (
        ("users", 1_000_000),
        ("length", 50),
        ("items", 20_000),
        ("slots", 8),
        ("steps", 200),
    ):
        parser.add_argument(f"--{name}", type=int, default=default)
    flags = parser.parse_args()
    log, prepared = flags.folder / "log.csv", flags.folder / "prepared"
    if flags.part == "generate":
        generate(log, num_users=flags.users, length=flags.length, num_items=flags.items)
        return 0
    flags.folder.mkdir(parents=True, exist_ok=True)
    parts = {
        "generate": (
            [sys.executable, "-m", "benchmarks.large", *sys.argv[1:], "--part=generate"],
            log,
        ),
        "prepare": (
            [sys.executable, "main.py", "--mode=prepare", f"--data={log}", f"--workdir={prepared}"],
            prepared / "manifest.json",
        ),
        "train": (
            training(prepared, flags.folder / "run", slots=flags.slots, num_steps=flags.steps),
            flags.folder / "run" / "result.json",
        ),
    }
    print(json.dumps(machine()))
    for name, (command, result) in parts.items():
        if result.exists():
            print(f"{name:10} is there: {result}")
            continue
        cost = measure(command)
        print(
            f"{name:10} {cost.cpu_seconds:8.0f} CPU s {cost.wall_seconds:8.0f} s "
            f"{cost.peak_rss_bytes / 1e9:6.2f} GB peak",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
