"""The verdict on one run: against the strongest baseline, on its length, on what its method did."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ufnrec_tf.data.splits import EVALUATION_PARTS
from ufnrec_tf.evaluation.metrics import MAIN
from ufnrec_tf.evaluation.statistics import Interval, paired_difference
from ufnrec_tf.evaluation.user_values import target_values, user_means

LEAST_EVALUATIONS = 3
"""Evaluations below which nothing is said of the course of validation."""
LAST_EVALUATIONS = 4
"""The evaluations at the end whose slope has to be positive."""

Ranks = Mapping[str, np.ndarray]
"""Part of the split -> int64 [M], the rank of each of its targets."""


def against_baseline(
    own: Sequence[Ranks], baselines: Mapping[str, Ranks], users: Mapping[str, np.ndarray]
) -> dict[str, Any] | None:
    """Returns how runs compare with the strongest baseline, paired by user; None without any.

    The strongest is the one that is best on validation, so that test chooses nothing.

    Args:
        own: Ranks of each run: one run, or a seed each.
        baselines: Label -> ranks of the same targets.
        users: Part -> int32 [M], ascending, the user of each target.

    Returns:
        `label`, `metric`, and for each part the means `run` and `baseline` and the relative
        difference as `estimate`, `low` and `high`, None where it is not known.
    """
    if not baselines:
        return None

    def values(ranks: Ranks, part: str) -> np.ndarray:
        return user_means(target_values(ranks[part], (MAIN,)), users[part])

    means = {label: values(ranks, "validation").mean() for label, ranks in baselines.items()}
    label = max(means, key=lambda name: means[name])
    found: dict[str, Any] = {"label": label, "metric": MAIN}
    for part in EVALUATION_PARTS:
        run = np.concatenate([values(ranks, part) for ranks in own], axis=1)
        baseline = np.repeat(values(baselines[label], part), len(own), axis=1)
        found[part] = {
            "run": float(run.mean()),
            "baseline": float(baseline.mean()),
            **interval_for_json(paired_difference(run, baseline).relative),
        }
    return found


def interval_for_json(interval: Interval) -> dict[str, float | None]:
    """Returns an interval as JSON can hold it: None for what is not finite."""
    return {
        key: float(value) if math.isfinite(value) else None
        for key, value in interval._asdict().items()
    }


def is_rising(values: Sequence[float]) -> bool:
    """True if validation was still rising when training ended.

    That is: the last evaluation is better than all before, and the straight line through the last
    `LAST_EVALUATIONS` rises. With fewer than `LEAST_EVALUATIONS` it is not known.

    Args:
        values: The metric that selects, an evaluation each.
    """
    if len(values) < LEAST_EVALUATIONS or values[-1] <= max(values[:-1]):
        return False
    last = values[-LAST_EVALUATIONS:]
    return bool(np.polyfit(np.arange(len(last)), last, 1)[0] > 0)


def validation_curve(lines: Sequence[Mapping[str, Any]], metric: str) -> list[float]:
    """Returns a metric at each evaluation, the better one of student and average.

    Args:
        lines: Lines of metrics.jsonl that training wrote, in their order.
        metric: Its name.
    """
    best: dict[int, float] = {}
    for line in lines:
        if line["split"] == "validation" and "mode" not in line:
            best[line["step"]] = max(line[metric], best.get(line["step"], -math.inf))
    return list(best.values())


def verdict_lines(result: Mapping[str, Any]) -> list[str]:
    """Returns the verdict on a finished run in sentences, the most important first.

    Args:
        result: The contents of result.json; those of older versions lack parts of the verdict.
    """
    lines = [*_baseline_lines(result), *course_lines(result)]
    label, own = result["label"], result["test"][MAIN]
    return lines if lines else [f"{label}: {MAIN.upper()} {own:.4f} on test."]


def course_lines(result: Mapping[str, Any]) -> list[str]:
    """Returns the sentences on what a training lacked: epochs, or a method that acts."""
    return [*_rising_lines(result), *_inactive_lines(result)]


def _baseline_lines(result: Mapping[str, Any]) -> list[str]:
    """Returns the sentence on the strongest baseline; none where no baseline was fitted."""
    found = result.get("against_baseline")
    if not found:
        return []
    name, label = found["label"], result["label"]
    test, validation = found["test"], found["validation"]
    if validation["run"] >= validation["baseline"]:
        return [leading_line(label, name, test)]
    beats = "beats" if _is_below(validation) else "is ahead of"
    values = f"{validation['baseline']:.4f} against {validation['run']:.4f}"
    shares = [f"{_size(part)}{_ends(part)}" for part in (validation, test)]
    return [
        f"{name}, a baseline, {beats} {label}: {MAIN.upper()} {values} on validation. The run has "
        f"{shares[0]} there and {shares[1]} on test; 95% intervals, over users of one run."
    ]


def leading_line(label: str, baseline: str, test: Mapping[str, Any]) -> str:
    """Returns the sentence on a run that its strongest baseline does not beat on validation.

    Args:
        label: The run's.
        baseline: The baseline's.
        test: `run`, `estimate`, `low` and `high`; see `against_baseline`.
    """
    ends = _ends(test, "95% interval ", ", over users of one run")
    return (
        f"{label}: {MAIN.upper()} {test['run']:.4f} on test, {_size(test)} against {baseline}, the "
        f"strongest baseline{ends}."
    )


def _is_below(part: Mapping[str, Any]) -> bool:
    return part["high"] is not None and part["high"] < 0


def _size(part: Mapping[str, Any]) -> str:
    return "an unknown share" if part["estimate"] is None else f"{part['estimate']:+.1%}"


def _ends(part: Mapping[str, Any], before: str = "", after: str = "") -> str:
    if part["low"] is None or part["high"] is None:
        return ""
    return f" ({before}{part['low']:+.1%} to {part['high']:+.1%}{after})"


def _rising_lines(result: Mapping[str, Any]) -> list[str]:
    if not result.get("is_rising"):
        return []
    asked = result["asked"]
    key = "max_steps" if 0 < asked["max_steps"] <= result["steps"] else "num_epochs"
    return [
        f"Validation was still rising at the last of {result['epochs']:,} epochs: train longer "
        f"(--config.training.{key}={2 * asked[key]})."
    ]


def is_inactive(result: Mapping[str, Any]) -> bool:
    """True if a run has a method that never acted: the run is plain training.

    Args:
        result: The contents of result.json.
    """
    found = result["false_negatives"]
    if not result["memory"]["slots"] or "+" not in result["label"]:
        return False
    acts = found["flips"] or found.get("removals") or found.get("shown")
    return found["gate_epoch"] is None or not acts


def _inactive_lines(result: Mapping[str, Any]) -> list[str]:
    """Returns the sentence on a method that did not act; none of a run without a memory."""
    backbone, _, method = result["label"].rpartition("+")
    found = result["false_negatives"]
    if not result["memory"]["slots"] or not backbone:
        return []
    gate, selected = found["gate_epoch"], result["protocol"]["selected_epoch"]
    opened = f"the gate opened after epoch {gate}"
    if is_inactive(result):
        why = "the gate stayed shut" if gate is None else f"{opened}, and no label was flipped"
        return [f"{method} never became active; this run is plain {backbone} ({why})."]
    if not found["flips"] and not found.get("removals"):
        return [
            f"{method} flipped no label; this run is {backbone} that is shown hard negatives again "
            f"({opened})."
        ]
    if gate and selected <= gate:
        return [
            f"{method} is not in the reported weights; they are plain {backbone} (of epoch "
            f"{selected}, and {opened})."
        ]
    return []
