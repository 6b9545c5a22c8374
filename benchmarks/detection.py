"""The detection of planted false negatives by each policy, over kinds of data.

    python -m benchmarks.detection [--rates=0,0.1] [--policies=replay,ufnrec] [--set=KEY=VALUE ...]

Each point is a small run of the command line in a process of its own. What is there already is not
run again, so that a stopped sweep resumes. Writes detection.json (every figure) and
detection.md (a row a point, means over seeds) into --output.

precision: liked share of the flagged pairs; base rate: of all unobserved pairs; lift: the first by
the second; pooled lift: the same of the pairs and hits of all seeds, added up; recall: flagged
share of the liked. AUC of a pair's count and of its margin at the user's newest transition, over
unobserved pairs; and of both among the pairs that the memory holds.
Future: rate at which flagged pairs are taken in held-out events by that of controls as popular and
scored alike, with a 95% interval (of the first seed).
"""

import argparse
import itertools
import json
import math
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.common import ROOT, machine, measure

Json = dict[str, Any]
POLICIES = ("plain", "replay", "remove", "flip", "ufnrec", "ufnrec_safe")
AXES = {
    "generators": "factors,attributes",
    "rates": "0,0.05,0.1,0.2",
    "biases": "0,1,2",
    "noises": "0.5,2",
    "policies": ",".join(POLICIES),
    "seeds": "0",
}
COLUMNS = {
    "pairs": ("detection", "num_flagged"),
    "precision": ("detection", "precision"),
    "base rate": ("detection", "base_rate"),
    "lift": ("detection", "lift"),
    "recall": ("detection", "recall"),
    "AUC count": ("auc", "count"),
    "AUC margin": ("auc", "margin"),
    "among held: count": ("auc", "count_among_suspects"),
    "among held: margin": ("auc", "margin_among_suspects"),
}
NEAR = "matched_on_popularity_and_score"


def points(flags: argparse.Namespace) -> list[Json]:
    """Returns the settings of every run, one after the other."""
    names = ("generator", "rate", "bias", "noise", "policy", "seed")
    values = (getattr(flags, name).split(",") for name in AXES)
    return [dict(zip(names, point, strict=True)) for point in itertools.product(*values)]


def command(point: Json, settings: list[str], workdir: Path) -> list[str]:
    """Returns the command line of a run."""
    values = {
        "data.name": "planted",
        "data.planted_generator": point["generator"],
        "data.planted_false_negative_rate": point["rate"],
        "data.planted_popularity_bias": point["bias"],
        "data.planted_noise": point["noise"],
        "data.planted_seed": point["seed"],
        "memory.policy": point["policy"],
        "comparison.arms": "",
        "comparison.baselines": "",
        "comparison.sample_users": "0",
        "detection.most_rows": "10000000",
    }
    options = [f"--config.{name}={value}" for name, value in values.items()]
    options += [f"--config.{setting}" for setting in settings]
    return [
        *(sys.executable, "main.py", "--config=configs/demo.py"),
        *(f"--workdir={workdir}", f"--seed={point['seed']}", *options),
    ]


def run(point: Json, settings: list[str]) -> Json:
    """Trains a point and returns its findings."""
    with tempfile.TemporaryDirectory() as folder:
        workdir = Path(folder) / "run"
        cost = measure(command(point, settings, workdir))
        result = json.loads((workdir / "result.json").read_text(encoding="utf-8"))
    found = result["false_negatives"]
    return {
        "point": point,
        "settings": settings,
        "label": result["label"],
        "cpu_seconds": cost.cpu_seconds,
        "test": result["test"],
        "false_negatives": {k: v for k, v in found.items() if k not in ("examples", "suspects")},
    }


def figure(record: Json, group: str, name: str) -> float | None:
    """Returns a figure of a run, None where it has none."""
    value = record["false_negatives"].get(group, {}).get(name)
    return None if value is None or math.isnan(value) else float(value)


def pooled_lift(members: list[Json]) -> float | None:
    """Returns the hits of all runs by those that the base rate expects; None without any pair."""
    names = ("num_flagged", "precision", "base_rate")
    found = [[figure(member, "detection", name) for name in names] for member in members]
    pairs = [(n, share, base) for n, share, base in found if n and None not in (share, base)]
    expected = sum(n * (base or 0.0) for n, _, base in pairs)
    return sum(n * (share or 0.0) for n, share, _ in pairs) / expected if expected else None


def table(records: list[Json]) -> str:
    """Returns the runs as a Markdown table, seeds of one point in one row."""
    head = [
        "generator",
        "rate",
        "bias",
        "noise",
        "policy",
        *itertools.chain(*((title, "pooled lift")[: 1 + (title == "lift")] for title in COLUMNS)),
        "future lift, first seed",
        "ndcg@10",
    ]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    groups: dict[tuple[str, ...], list[Json]] = {}
    for record in records:
        key = (*(record["point"][name] for name in head[:4]), record["label"])
        groups.setdefault(key, []).append(record)
    for group_key, members in groups.items():
        cells = list(group_key)
        for title, (group, name) in COLUMNS.items():
            values = [figure(member, group, name) for member in members]
            cells.append(_mean(values, "{:,.0f}" if title == "pairs" else "{:.3f}"))
            if title == "lift":
                pooled = pooled_lift(members)
                cells.append("" if pooled is None else f"{pooled:.3f}")
        near = members[0]["false_negatives"].get("future", {}).get(NEAR, {})
        cells.append(
            "" if near.get("lift") is None
            else f"{near['lift']:.2f} ({near['low']:.2f} to {near['high']:.2f})"
        )  # fmt: skip
        cells.append(_mean([member["test"]["ndcg@10"] for member in members], "{:.4f}"))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _mean(values: list[float | None], text: str) -> str:
    known = [value for value in values if value is not None]
    return text.format(sum(known) / len(known)) if known else ""


def write(output: Path, found: Json) -> None:
    """Writes both files, each beside its place and renamed."""
    output.mkdir(parents=True, exist_ok=True)
    intro = "\n".join(f"    {key}: {value}" for key, value in found["machine"].items())
    text = f"# Detection of planted false negatives\n\n{intro}\n\n{table(found['runs'])}\n"
    for name, content in (
        ("detection.json", json.dumps(_json_value(found), indent=1, allow_nan=False)),
        ("detection.md", text),
    ):
        new = output / f".{name}.new"
        new.write_text(content, encoding="utf-8")
        new.replace(output / name)


def _json_value(value: Any) -> Any:
    """Returns a value fit for JSON, null for NaN."""
    if isinstance(value, dict):
        return {key: _json_value(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_json_value(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def main(arguments: list[str] | None = None) -> int:
    """Runs the sweep; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.detection", description=__doc__)
    for name, default in AXES.items():
        parser.add_argument(f"--{name}", default=default)
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results")
    flags = parser.parse_args(arguments)
    found: Json = {"machine": machine(), "runs": []}
    if (flags.output / "detection.json").exists():
        found = json.loads((flags.output / "detection.json").read_text(encoding="utf-8"))
    done = [(record["point"], record["settings"]) for record in found["runs"]]
    for point in points(flags):
        if (point, flags.set) in done:
            continue
        try:
            record = run(point, flags.set)
        except RuntimeError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        found["runs"].append(record)
        write(flags.output, found)
        print(table([record]).splitlines()[-1], flush=True)
    print(f"written to {flags.output}/detection.md and detection.json")
    return 0


if __name__ == "__main__":
    sys.exit(main())
