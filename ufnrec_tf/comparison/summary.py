"""The findings of a comparison as one dict, comparison.json, from which the rest is written."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ufnrec_tf.comparison.numbers import (
    FinishedRun,
    Pairs,
    Runs,
    differences,
    flips_seen,
    make_pairs,
    pooled_lifts,
)
from ufnrec_tf.evaluation.metrics import COMPARED, MAIN, ChosenMetrics
from ufnrec_tf.evaluation.run_verdict import is_inactive
from ufnrec_tf.report.judgement import has_flips
from ufnrec_tf.report.suspects import flat_future, named_suspects
from ufnrec_tf.report.teachers import teacher_of_arm
from ufnrec_tf.report.wording import is_number
from ufnrec_tf.training.arms import Arm


def arm_rows(
    arms: Sequence[Arm],
    runs: Runs,
    reference: str,
    *,
    config: dict[str, Any],
    margin: float,
    num_resamples: int,
    metrics: Sequence[str] = COMPARED,
    chosen: ChosenMetrics | None = None,
) -> list[dict[str, Any]]:
    """Returns a dict an arm: its runs, means, cost and difference to the reference.

    Args:
        arms: The arms, in the order of the rows.
        runs: Finished runs.
        reference: The arm that the others are compared with.
        config: The settings that the arms share, as in config.json.
        margin: See `statistics.verdict`.
        num_resamples: Resamples of users for the future lifts.
        metrics: Names of the metrics that are tested.
        chosen: Where they are defined; None for those of the library.
    """
    pairs = make_pairs(runs, reference, metrics=metrics, chosen=chosen)
    found = differences(pairs, [arm.name for arm in arms], margin=margin, metrics=metrics)
    rows: list[dict[str, Any]] = []
    for arm in arms:
        own = {seed: run for (name, seed), run in runs.items() if name == arm.name}
        results = [run.result for run in own.values()]
        rows.append(
            {
                "name": arm.name,
                "label": results[0]["label"] if results else None,
                "overrides": arm.overrides,
                "runs": [_run_row(seed, run) for seed, run in sorted(own.items())],
                "mean": _over_runs(np.mean, results),
                "sd": _over_runs(lambda x: np.std(x, ddof=1), results, least=2),
                "difference": found.get(arm.name),
                "saw_flips": _saw_flips(arm, own, pairs, config=config, margin=margin),
                "lifts": pooled_lifts(list(own.values()), num_resamples),
                "cost": {"cpu_seconds_per_1000_users": _mean(map(_cost, results))},
                "flips": _mean(result["false_negatives"]["flips"] for result in results),
                "beyond_accuracy": _mean_dict([r.get("beyond_accuracy", {}) for r in results]),
                "detection": _mean_dict(
                    [r["false_negatives"].get("detection", {}) for r in results]
                ),
                "future": _mean_dict([flat_future(r["false_negatives"]) for r in results]),
                "suspects": next(
                    filter(None, (named_suspects(r["false_negatives"]) for r in results)), None
                ),
                "teacher": teacher_of_arm(results),
                "curve": curve([run.evaluations for run in own.values()]),
            }
        )
    base = next(
        row["cost"]["cpu_seconds_per_1000_users"] for row in rows if row["name"] == reference
    )
    for row in rows:
        cost = row["cost"]["cpu_seconds_per_1000_users"]
        row["cost"]["ratio"] = cost / base if cost and base else None
    return rows


def _saw_flips(
    arm: Arm, own: dict[int, FinishedRun], pairs: Pairs, *, config: dict[str, Any], margin: float
) -> dict[str, Any] | None:
    """Returns the seeds whose reported weights saw a flip, and the difference over only those.

    Where they saw none, an arm that flips and the same arm without flips are one run up to there,
    and their difference is zero. None where the arm does not flip or is not compared yet.
    """
    of = pairs.seeds_of(arm.name)
    if arm.name == pairs.reference or not of or not has_flips(arm.overrides, config):
        return None
    seeds = [seed for seed in of if flips_seen(own[seed])]
    found = None
    if 0 < len(seeds) < len(of):
        values = {key: value for key, value in pairs.values.items() if key[1] in seeds}
        some = Pairs(pairs.reference, values)
        found = differences(some, [arm.name], margin=margin)[arm.name]
    return {"seeds": seeds, "of": of, "difference": found}


def _run_row(seed: int, run: FinishedRun) -> dict[str, Any]:
    result, found = run.result, run.result["false_negatives"]
    return {
        "seed": seed,
        "workdir": "/".join(run.path.parts[-3:]),  # within the comparison's
        "test": result["test"],
        "validation": result["validation"],
        "weights": result["protocol"]["weights"],
        "selected_epoch": result["protocol"]["selected_epoch"],
        "epochs": result["epochs"],
        "stopped_early": result["stopped_early"],
        "is_rising": bool(result.get("is_rising")),
        "is_inactive": is_inactive(result),
        "gate_epoch": found["gate_epoch"],
        "flips": found["flips"],
        "flips_seen": flips_seen(run),
        "flips_per_step": found["flips_per_step"],
        "cpu_seconds_per_1000_users": _cost(result),
        "peak_rss_bytes": result["memory"]["peak_rss_bytes"],
    }


def _cost(result: dict[str, Any]) -> float | None:
    timing = result["timing"]
    if not timing["train_users"]:
        return None  # a run of a few steps has no timing
    return 1000 * timing["train_cpu_seconds"] / timing["train_users"]


def _over_runs(
    function: Any, results: list[dict[str, Any]], *, least: int = 1
) -> dict[str, float] | None:
    if len(results) < least:
        return None
    # A run that finished under other settings may lack a metric.
    names = [name for name in results[0]["test"] if all(name in r["test"] for r in results)]
    return {name: float(function([r["test"][name] for r in results])) for name in names}


def _mean(values: Any) -> float | None:
    known = [value for value in values if is_number(value)]
    return float(np.mean(known)) if known else None


def _mean_dict(dicts: list[dict[str, Any]]) -> dict[str, float] | None:
    """Returns the means of the numbers that all dicts but empty ones have; None without any."""
    dicts = [each for each in dicts if each]
    names = [name for name in (dicts[0] if dicts else {}) if all(name in d for d in dicts)]
    means = {name: _mean(d[name] for d in dicts) for name in names}
    return {name: value for name, value in means.items() if value is not None} or None


def curve(evaluations: list[list[dict[str, Any]]]) -> dict[str, list[Any]]:
    """Returns the validation curve over seeds, and the number of positions with a flipped label.

    Args:
        evaluations: A list of metrics.jsonl lines a seed.

    Returns:
        `epoch`, `mean`, `low` and `high` (least and most of the seeds) of `MAIN`, `seeds` that
        reached the epoch, and `flips`: labels flipped per 1,000 positions trained since the
        evaluation before, averaged over seeds; None where a run did not record them.
    """
    values: dict[int, list[float]] = {}
    flips: dict[int, list[float]] = {}
    for lines in evaluations:
        before = {"flips": 0.0, "positions": 0.0}
        for line in lines:
            values.setdefault(line["epoch"], []).append(line[MAIN])
            if "flips" not in line:
                continue
            positions = line["positions"] - before["positions"]
            if positions > 0:
                share = 1000 * (line["flips"] - before["flips"]) / positions
                flips.setdefault(line["epoch"], []).append(share)
            before = line
    epochs = sorted(values)
    return {
        "epoch": epochs,
        "mean": [_mean(values[epoch]) for epoch in epochs],
        "low": [min(values[epoch]) for epoch in epochs],
        "high": [max(values[epoch]) for epoch in epochs],
        "seeds": [len(values[epoch]) for epoch in epochs],
        "flips": [_mean(flips.get(epoch, [])) for epoch in epochs],
    }


def json_value(value: Any) -> Any:
    """Returns a value that JSON can hold: no number that is not finite, no tuples."""
    if isinstance(value, dict):
        return {str(key): json_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_value(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
