"""comparison.md: a comparison in Markdown, and its main table for the screen."""

from typing import Any

from ufnrec_tf.comparison.tables import compared_metrics
from ufnrec_tf.evaluation.metrics import MAIN
from ufnrec_tf.evaluation.teacher_words import FOUND_BY, taken_later, teacher_lines
from ufnrec_tf.report.judgement import course_lines, flips_words, headlines
from ufnrec_tf.report.suspects import MATCHES, lift_verdict
from ufnrec_tf.report.teachers import teacher_costs
from ufnrec_tf.report.wording import (
    absolute_difference,
    decimals,
    p_value,
    provenance,
    relative_difference,
    with_spread,
)


def markdown(summary: dict[str, Any]) -> str:
    """Returns comparison.md.

    Args:
        summary: The contents of comparison.json.
    """
    lines = ["# Comparison", ""]
    lines += [line for words in headlines(summary) for line in (f"**{words}**", "")]
    lines += [*table_lines(summary), ""]
    lines += [line for note in notes(summary) for line in (note, "")]
    lines += ["## Every metric", "", *_metric_lines(summary), ""]
    taught = [row for row in summary["arms"] if row.get("teacher")]
    if taught:
        lines += ["## What the teachers know", ""]
        lines += [f"- {row['name']}: {'; '.join(teacher_lines(row['teacher']))}" for row in taught]
        lines += [""]
    lines += _lift_lines(summary)
    if summary["missing"]:
        lines += ["## Missing", ""]
        lines += [f"- {gap['arm']}, seed {gap['seed']}: {gap['why']}" for gap in summary["missing"]]
        lines += [""]
    lines += ["## What the numbers are", ""]
    lines += [f"- {line}" for line in provenance(summary)]
    return "\n".join(lines) + "\n"


def notes(summary: dict[str, Any]) -> list[str]:
    """Returns what has to be known to read the main table, a sentence or two each."""
    flips = [
        f"{row['name']}: {flips_words(row['saw_flips'])}."
        for row in summary["arms"]
        if row["saw_flips"]
    ]
    older, protocol = summary["statistics"].get("note"), summary["protocol"]
    ranked = [f"Test, full ranking, masked: {protocol['masked']}."] if protocol else []
    again = [older] if older else []
    return [
        *ranked,
        summary["explanation"],
        *course_lines(summary),
        *flips,
        *_teacher_notes(summary),
        *summary["weights_notes"],
        *again,
    ]


def _teacher_notes(summary: dict[str, Any]) -> list[str]:
    """Returns what teachers cost, and whether the user takes what they put above the observed."""
    notes = teacher_costs(summary["arms"])
    for row in summary["arms"]:
        if row.get("teacher") and row["lifts"]:
            found = row["lifts"]["matched_on_popularity_and_score"]
            runs = f", {found['runs']} runs" if found["runs"] > 1 else ""
            notes.append(f"{row['name']}{runs}: {taken_later(found['flagged'], found)}.")
    return notes


def _lift_lines(summary: dict[str, Any]) -> list[str]:
    """Returns the section on the future lifts, empty where no arm has any."""
    rows = []
    for row in summary["arms"]:
        for match, found in (row["lifts"] or {}).items():
            if found["lift"] is None:
                continue
            rows.append(
                [
                    row["name"],
                    MATCHES[match],
                    f"{found['pairs']:,} of {found['flagged']:,}",
                    f"{found['hits']:,} of {found['all_hits']:,}",
                    f"{found['lift']:.2f}, {found['low']:.2f} to {found['high']:.2f}",
                    lift_verdict(found["low"], found["high"]),
                ]
            )
    if not rows:
        return []
    taught = ", ".join(row["name"] for row in summary["arms"] if row.get("teacher"))
    columns = (
        "arm",
        "unflagged pairs that are",
        "pairs matched",
        "hits matched",
        "lift",
        "finding",
    )
    return [
        "## Are flagged pairs taken later?",
        "",
        "Flagged pairs of all seeds against unflagged pairs of the same users; 95% interval, users "
        "drawn once."
        + (f" Those of {taught}: {FOUND_BY} put them above the observed item." if taught else ""),
        "",
        *_table_lines(columns, rows),
        "",
    ]


def table_lines(summary: dict[str, Any]) -> list[str]:
    """Returns the main table in Markdown: baselines, then arms; unknown cells are blank."""
    names = compared_metrics(summary)
    columns = (
        "arm",
        *(name.upper() for name in names),
        f"{MAIN.upper()} to reference, 95% interval",
        "Holm p",
        "verdict",
        "cost",
        "seeds",
    )
    baselines = [
        [row["name"], *(decimals(row["mean"].get(name)) for name in names), *[""] * 5]
        for row in summary.get("baselines", [])
    ]
    return _table_lines(columns, [*baselines, *(_row(row, summary) for row in summary["arms"])])


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
        if difference["interval_over"] == "users only":
            change += " (users only)"
    ratio = row["cost"]["ratio"]
    return [
        row["name"],
        *(with_spread(row, name) for name in compared_metrics(summary)),
        change,
        p_value(difference["p_holm"]) if difference else "",
        difference["words"] if difference else "",
        f"x {ratio:.2f}" if ratio else "",
        str(len(row["runs"])) if row["runs"] else "",
    ]


def _metric_lines(summary: dict[str, Any]) -> list[str]:
    columns = ("arm", "metric", "difference, 95% interval", "p", "Holm p", "d_z", "verdict")
    rows = []
    for row in summary["arms"]:
        for metric, found in (row["difference"] or {}).items():
            rows.append(
                [
                    row["name"],
                    metric.upper(),
                    absolute_difference(found["absolute"]),
                    p_value(found["p"]),
                    p_value(found["p_holm"]),
                    "" if found["effect_size"] is None else f"{found['effect_size']:+.3f}",
                    found["words"],
                ]
            )
    return _table_lines(columns, rows)
