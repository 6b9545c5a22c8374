"""A comparison in Markdown: for the screen, a pull request, a paper's draft."""

from typing import Any

from ufnrec_tf.comparison_numbers import COMPARED, MAIN
from ufnrec_tf.comparison_summary import percent
from ufnrec_tf.showing import targets_text

COLUMNS = (
    "arm",
    *(name.upper() for name in COMPARED),
    f"{MAIN.upper()} to reference, 95% interval",
    "Holm p",
    "verdict",
    "cost",
    "seeds",
)


def markdown(summary: dict[str, Any]) -> str:
    """Returns comparison.md.

    Args:
        summary: What comparison.json holds.
    """
    lines = ["# Comparison", "", f"**{summary['verdict']}**", "", *table_lines(summary), ""]
    lines += ["## Every metric", "", *_metric_lines(summary), ""]
    if summary["missing"]:
        lines += ["## Missing", ""]
        lines += [f"- {gap['arm']}, seed {gap['seed']}: {gap['why']}" for gap in summary["missing"]]
        lines += [""]
    lines += ["## What the numbers are", ""]
    lines += [f"- {line}" for line in provenance(summary)]
    return "\n".join(lines) + "\n"


def table_lines(summary: dict[str, Any]) -> list[str]:
    """Returns the main table in Markdown, a row an arm; what is not known stays blank."""
    rows = [_row(row, summary) for row in summary["arms"]]
    return _table(COLUMNS, rows)


def _table(columns: tuple[str, ...], rows: list[list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    lines = [columns, ["-" * width for width in widths], *rows]
    return [
        f"| {' | '.join(x.ljust(w) for x, w in zip(line, widths, strict=True))} |" for line in lines
    ]


def _row(row: dict[str, Any], summary: dict[str, Any]) -> list[str]:
    difference = (row["difference"] or {}).get(MAIN)
    is_reference = row["name"] == summary["reference"]
    ratio = row["cost"]["ratio"]
    return [
        row["name"],
        *(with_spread(row, name) for name in COMPARED),
        percent(difference["relative"]) if difference else "reference" if is_reference else "",
        p_value(difference["p_holm"]) if difference else "",
        difference["verdict"] if difference else "",
        f"x {ratio:.2f}" if ratio else "",
        str(len(row["runs"])) if row["runs"] else "",
    ]


def _metric_lines(summary: dict[str, Any]) -> list[str]:
    columns = ("arm", "metric", "difference, 95% interval", "p", "Holm p", "d_z", "verdict")
    rows = []
    for row in summary["arms"]:
        for metric, found in (row["difference"] or {}).items():
            values = found["absolute"]
            rows.append(
                [
                    row["name"],
                    metric.upper(),
                    f"{values['estimate']:+.4f}, {values['low']:+.4f} to {values['high']:+.4f}",
                    p_value(found["p"]),
                    p_value(found["p_holm"]),
                    "" if found["effect_size"] is None else f"{found['effect_size']:+.3f}",
                    found["verdict"],
                ]
            )
    return _table(columns, rows)


def with_spread(row: dict[str, Any], metric: str) -> str:
    """Returns an arm's mean over seeds with its standard deviation, blank without runs."""
    if not row["mean"]:
        return ""
    mean = decimals(row["mean"][metric])
    return f"{mean} ± {decimals(row['sd'][metric])}" if row["sd"] else mean


def decimals(value: float) -> str:
    """Returns a metric as `.1234`."""
    return f"{value:.4f}".removeprefix("0")


def p_value(value: float) -> str:
    """Returns a p-value of three digits."""
    return "< .001" if value < 0.001 else f"{value:.3f}".removeprefix("0")


def provenance(summary: dict[str, Any]) -> list[str]:
    """Returns what every number of the comparison is a number of."""
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
    lines = [
        f"data: {data['source']}, sha256 {data['sha256'][:12]}, {data['users']:,} users, "
        f"{data['items']:,} items, {data['interactions']:,} interactions",
        f"split: {summary['split']}, {data['evaluated_users']:,} test users"
        + targets_text(summary["protocol"]),
        f"weights: selected by {selection['metric']} on validation, every "
        f"{selection['every_epochs']} epochs; evaluation.weights={selection['weights']}",
        f"budget: {budget['num_epochs']} epochs{steps} at most, patience {budget['patience']}"
        f"{stopping}",
        f"seeds: {', '.join(map(str, summary['seeds']))}; mean ± standard deviation over seeds",
        "cost: CPU seconds of training for 1,000 users, ratio to the reference",
        f"interval: {statistics['interval']}; {statistics['resamples']:,} resamples",
        f"test: {statistics['test']}; {statistics['correction']}",
        f"verdict: {statistics['verdict']}",
        f"made by: ufnrec-tf {versions['ufnrec_tf']}, commit {summary['git_commit'][:12] or '?'}, "
        f"tensorflow {versions['tensorflow']}, keras {versions['keras']}, {summary['created']}",
    ]
    if protocol:
        lines.insert(
            2,
            f"protocol: full ranking of {protocol['candidates']:,} candidates, masked: "
            f"{protocol['masked']}; ties {protocol['ties']}",
        )
        lines[2:2] = [f"leaks: {line}" for line in protocol.get("leaks", [])]
    return lines
