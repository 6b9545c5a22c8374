"""Numbers as text: .1234, +1.0%, -3.4% to +7.1%, p .035."""

import math
from typing import Any

from ufnrec_tf.evaluation.protocol import heldout_targets_lines, targets_text


def is_number(value: Any) -> bool:
    """True if a value is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def number(value: float | None, digits: int) -> str:
    """Returns a number with its thousands parted, blank if it is not known."""
    return "" if value is None else f"{value:,.{digits}f}"


def relative_difference(interval: dict[str, float]) -> str:
    """Returns a relative difference with its interval, in percent."""
    estimate, low, high = (interval[key] for key in ("estimate", "low", "high"))
    if not is_number(estimate):
        return "reference is 0"
    if not (is_number(low) and is_number(high)):
        return f"{estimate:+.1%}, interval unknown"
    return f"{estimate:+.1%}, {low:+.1%} to {high:+.1%}"


def absolute_difference(interval: dict[str, float]) -> str:
    """Returns a difference of a metric with its interval."""
    estimate, low, high = (interval[key] for key in ("estimate", "low", "high"))
    if not (is_number(low) and is_number(high)):
        return f"{estimate:+.4f}, interval unknown"
    return f"{estimate:+.4f}, {low:+.4f} to {high:+.4f}"


def setting_text(value: Any) -> str:
    """Returns a setting as `--config.KEY=` takes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return str(value)


def value_text(value: Any) -> str:
    """Returns a value of a run's records as text, thousands parted."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list | tuple):
        return ", ".join(map(value_text, value))
    if isinstance(value, dict):
        return ", ".join(f"{key} {value_text(each)}" for key, each in value.items())
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def decimals(value: float | None) -> str:
    """Returns a metric as `.1234`, blank where it is not known."""
    return "" if value is None else f"{value:.4f}".removeprefix("0")


def p_value(value: float) -> str:
    """Returns a p-value of three digits."""
    return "< .001" if value < 0.001 else f"{value:.3f}".removeprefix("0")


def with_spread(row: dict[str, Any], metric: str) -> str:
    """Returns an arm's mean over seeds with its standard deviation, blank without runs."""
    if not row["mean"] or metric not in row["mean"]:
        return ""
    mean = decimals(row["mean"][metric])
    return f"{mean} ± {decimals(row['sd'][metric])}" if row["sd"] else mean


def provenance(summary: dict[str, Any]) -> list[str]:
    """Returns the lines on the data, protocol and statistics behind a comparison's numbers."""
    data, protocol, budget = (summary[key] for key in ("data", "protocol", "budget"))
    selection, statistics, versions = (
        summary[key] for key in ("selection", "statistics", "versions")
    )
    steps = f", {budget['max_steps']:,} steps" if budget["max_steps"] else ""
    stopping = (
        f"; an arm below the reference by more than {summary['stop_hopeless']:.1%} on validation "
        "(its whole interval) gets no further seeds"
        if summary["stop_hopeless"]
        else ""
    )
    both = ""
    if selection.get("scores_both"):
        both = ": the better of student and average in every arm that has both"
    lines = [
        f"data: {data['source']}, sha256 {data['sha256'][:12]}, {data['users']:,} users, "
        f"{data['items']:,} items, {data['interactions']:,} interactions",
        f"split: {summary['split']}, {data['evaluated_users']:,} test users"
        + targets_text(protocol),
        f"weights: selected by {selection['metric']} on validation, every "
        f"{selection['every_epochs']} epochs; evaluation.weights={selection['weights']}{both}",
        f"budget: {budget['num_epochs']} epochs{steps} at most, patience {budget['patience']}"
        f"{stopping}",
        f"seeds: {', '.join(map(str, summary['seeds']))}; mean ± standard deviation over seeds",
        "cost: CPU seconds of training for 1,000 users, ratio to the reference",
        f"interval: {statistics['interval']}",
        f"test: {statistics['test']}; {statistics['correction']}",
        f"verdict: {statistics['verdict']}; margin {statistics['margin']:.1%} of the reference",
        f"made by: ufnrec-tf {versions['ufnrec_tf']}, commit {summary['git_commit'][:12] or '?'}, "
        f"tensorflow {versions['tensorflow']}, keras {versions['keras']}, {summary['created']}",
    ]
    lines += [f"scored weights: {note}" for note in summary["weights_notes"]]
    if protocol:
        lines.insert(
            2,
            f"protocol: full ranking of {protocol['candidates']:,} candidates, masked: "
            f"{protocol['masked']}; ties {protocol['ties']}",
        )
        lines[2:2] = [
            *(f"leaks: {line}" for line in protocol.get("leaks", [])),
            *(f"targets: {line}" for line in heldout_targets_lines(protocol)),
        ]
    return lines
