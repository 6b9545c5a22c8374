"""The growth of the cost of a step, of an evaluated user and of memory; `make growth` runs it.

    python -m benchmarks.growth [--axes=users,items] [--set=KEY=VALUE,...] [--output=FILE.json]

One axis at a time is varied around 2,000 planted users, 10,000 items, length 20, 100 negatives and
16 slots, batch 128, the gate open; every point is a process of its own. The exponent is that of
the last two points: 1 is linear. Nothing may grow faster than its work: a step does not depend on
the users, its dense optimizer and a user's ranking are linear in the items, attention is quadratic
in the length at worst, everything else linear. --set changes settings of every point.
"""

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any

from benchmarks.common import ROOT, machine, measure

AXES: dict[str, list[dict[str, int]]] = {
    "users": [{"users": number} for number in (1_000, 10_000, 100_000, 1_000_000)],
    "items": [
        {"items": number, "users": 500} for number in (1_000, 10_000, 100_000, 300_000, 1_000_000)
    ],
    "length": [
        {"length": number, "users": 200, "batch": 32, "items": 5_000}
        for number in (20, 50, 200, 500, 1_000)
    ],
    "negatives": [{"negatives": number} for number in (1, 10, 100, 1_000)],
    "slots": [{"slots": number} for number in (4, 16, 64, 256)],
}
COSTS = ("step_cpu_ms", "evaluated_user_cpu_ms", "peak_rss_gb")


def measure_point(point: dict[str, int], settings: str) -> dict[str, Any]:
    """Returns the figures of one point, with settings KEY=VALUE,..."""
    options = [f"--{name}={value}" for name, value in point.items()] + [f"--set={settings}"]
    cost = measure([sys.executable, "-m", "benchmarks.growth_point", *options])
    return {**point, **json.loads(cost.output.splitlines()[-1])}


def exponent(points: list[dict[str, Any]], axis: str, name: str) -> float:
    """Returns the slope of log cost by log size between the last two points."""
    before, last = points[-2:]
    return math.log(last[name] / before[name]) / math.log(last[axis] / before[axis])


def main(arguments: list[str] | None = None) -> int:
    """Prints a table an axis; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    parser.add_argument("--axes", default=",".join(AXES))
    parser.add_argument("--set", default="")
    parser.add_argument("--output", type=Path, default=ROOT / "runs" / "growth.json")
    flags = parser.parse_args(arguments)
    unknown = set(flags.axes.split(",")) - set(AXES)
    if unknown:
        print(f"error: --axes must be of {', '.join(AXES)}.", file=sys.stderr)
        return 1
    found: dict[str, Any] = {"machine": machine(), "settings": flags.set, "axes": {}}
    print(f"{'':>20} {'positions':>10} {'step, CPU ms':>13} {'user ranked, CPU ms':>20} {'GB':>6}")
    for axis in flags.axes.split(","):
        points = []
        for point in AXES[axis]:
            points.append(measure_point(point, flags.set))
            row = points[-1]
            print(
                f"{axis:>10} {row[axis]:>9,} {row['positions']:>10,.0f} {row['step_cpu_ms']:>13.1f}"
                f" {row['evaluated_user_cpu_ms']:>20.3f} {row['peak_rss_gb']:>6.2f}",
                flush=True,
            )
        exponents = {name: exponent(points, axis, name) for name in COSTS}
        step, user, memory = exponents.values()
        print(f"{'exponent':>20} {'':>10} {step:>13.2f} {user:>20.2f} {memory:>6.2f}", flush=True)
        found["axes"][axis] = {"points": points, "exponents": exponents}
    flags.output.parent.mkdir(parents=True, exist_ok=True)
    flags.output.write_text(json.dumps(found, indent=1), encoding="utf-8")
    print(f"written to {flags.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
