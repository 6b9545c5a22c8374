"""The cost of --mode=recommend: users a second, CPU seconds a thousand users, peak memory.

python -m benchmarks.recommend --users=1000000 --items=12101

A SASRec of random weights (width 64, 50 positions, 2 blocks) is exported, histories of
3 to 50 items, 9 on average, are drawn, and the command line is run on them in a process of its
own. With --scattered the input is `user,item` rows in random order, which are grouped on the
disk. What is printed holds the start of the process, some 5 CPU seconds.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.common import machine, measure

_CHUNK = 100_000


def write_histories(path: Path, *, num_users: int, num_items: int, scattered: bool) -> int:
    """Writes the input; returns the number of item ids in it."""
    rng = np.random.default_rng(0)
    lengths = np.minimum(2 + rng.geometric(1 / 7, num_users), 50)
    total = int(lengths.sum())
    with open(path, "w", encoding="utf-8") as file:
        if scattered:
            users = rng.permutation(np.repeat(np.arange(num_users), lengths))
            items = rng.integers(1, num_items + 1, total)
            file.write("user,item\n")
            for start in range(0, total, _CHUNK):
                part = slice(start, start + _CHUNK)
                pairs = zip(users[part].tolist(), items[part].tolist(), strict=True)
                file.writelines(f"user{user},item{item}\n" for user, item in pairs)
            return total
        for start in range(0, num_users, _CHUNK):
            own = lengths[start : start + _CHUNK]
            items = rng.integers(1, num_items + 1, int(own.sum())).tolist()
            ends = np.cumsum(own).tolist()
            for begin, end in zip([0, *ends[:-1]], ends, strict=True):
                file.write(" ".join(f"item{item}" for item in items[begin:end]) + "\n")
    return total


def export_random(path: Path, *, num_items: int, table: str = "float32") -> None:
    """Exports a model of random weights."""
    from ufnrec_tf import backbones
    from ufnrec_tf.export.saved_model import make_model, write_model

    backbone = backbones.create("sasrec", num_items=num_items, width=64, max_length=50)
    ids = np.array(["", *(f"item{number}" for number in range(1, num_items + 1))], object)
    model = make_model(
        backbone,
        ids,
        max_length=50,
        top_k=10,
        mask_seen=True,
        metadata={"random": True},
        table=table,
    )
    write_model(path, model)


def main() -> int:
    """Prints one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--items", type=int, default=12_101)
    parser.add_argument("--top-k", type=int, default=10)
    parser.add_argument("--output", default="out.parquet", help="a name; its end is the format")
    parser.add_argument("--scattered", action="store_true")
    parser.add_argument("--folder", type=Path, help="for temporary files")
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=flags.folder) as name:
        folder = Path(name)
        num_ids = write_histories(
            folder / "in",
            num_users=flags.users,
            num_items=flags.items,
            scattered=flags.scattered,
        )
        # In a process of its own: Linux counts the caller's memory as that of what it starts.
        own = "from benchmarks.recommend import export_random; from pathlib import Path; "
        call = f"export_random(Path({name!r}) / 'export' / '1', num_items={flags.items})"
        measure([sys.executable, "-c", own + call])
        cost = measure(
            [
                sys.executable,
                "main.py",
                "--mode=recommend",
                f"--workdir={name}",
                f"--histories={folder / 'in'}",
                f"--output={folder / flags.output}",
                f"--top_k={flags.top_k}",
            ]
        )
        size = (folder / flags.output).stat().st_size
    print(cost.output.strip())
    figures = {
        "users": flags.users,
        "items": flags.items,
        "ids": num_ids,
        "users_per_second": round(flags.users / cost.wall_seconds, 1),
        "cpu_seconds_per_1000_users": round(1000 * cost.cpu_seconds / flags.users, 3),
        "wall_seconds": round(cost.wall_seconds, 1),
        "peak_rss_mb": round(cost.peak_rss_bytes / 1e6),
        "output_mb": round(size / 1e6, 1),
        "machine": machine(),
    }
    print(json.dumps(figures, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
