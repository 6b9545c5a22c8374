"""comparison.md: a comparison in Markdown, and its main table for the screen."""

from typing import Any

from ufnrec_tf.evaluation.metrics import COMPARED, MAIN
from ufnrec_tf.report.wording import p_value, provenance, relative_difference, with_spread


def markdown(summary: dict[str, Any]) -> str:
    """Returns comparison.md.

    Args:
        summary: The contents of comparison.json.
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
    """Returns the main table in Markdown, a row for each arm; unknown cells are blank."""
    columns = (
        "arm",
        *(name.upper() for name in _compared(summary)),
        f"{MAIN.upper()} to reference, 95% interval",
        "Holm p",
        "verdict",
        "cost",
        "seeds",
    )
    return _table_lines(columns, [_row(row, summary) for row in summary["arms"]])


def _compared(summary: dict[str, Any]) -> tuple[str, ...]:
    return tuple(summary.get("compared", COMPARED))


def _table_lines(columns: tuple[str, ...], rows: list[list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    lines = [columns, ["-" * width for width in widths], *rows]
    return [
        f"| {' | '.join(x.ljust(w) for x, w in zip(line, widths, strict=True))} |" for line in lines
    ]


def _row(row: dict[str, Any], summary: dict[str, Any]) -> list[str]:
    difference = (row["difference"] or {}).get(MAIN)
    change = "reference" if row["name"] == summary["reference"] else ""
    if difference:
        change = relative_difference(difference["relative"])
    ratio = row["cost"]["ratio"]
    return [
        row["name"],
        *(with_spread(row, name) for name in _compared(summary)),
        change,
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
    return _table_lines(columns, rows)
