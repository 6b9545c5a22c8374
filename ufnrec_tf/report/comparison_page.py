"""A comparison as one self-contained page; nothing is fetched, light and dark alike."""

from html import escape
from typing import Any

from ufnrec_tf.evaluation.metrics import COMPARED, MAIN
from ufnrec_tf.report.charts import Bar, Series, forest, line_chart
from ufnrec_tf.report.html_parts import chip, document, number, section, table
from ufnrec_tf.report.suspects import suspects_section
from ufnrec_tf.report.wording import decimals, p_value, percent, provenance, with_spread


def page(summary: dict[str, Any]) -> str:
    """Returns report.html.

    Args:
        summary: What comparison.json holds.
    """
    parts = (
        _verdict,
        _main_table,
        _forests,
        _curves,
        _slices,
        _beyond_accuracy,
        suspects_section,
        _missing,
        _arms,
        _provenance,
    )
    body = "\n".join(filter(None, (part(summary) for part in parts)))
    return document(f"Comparison on {summary['data']['source']}", body)


def _places(summary: dict[str, Any]) -> dict[str, int]:
    """Returns the colour of each arm; the reference has the first."""
    others = [row["name"] for row in summary["arms"] if row["name"] != summary["reference"]]
    return {name: place for place, name in enumerate([summary["reference"], *others])}


def _verdict(summary: dict[str, Any]) -> str:
    data, missing = summary["data"], len(summary["missing"])
    gaps = f" <strong>Runs missing: {missing}.</strong>" if missing else ""
    return (
        f'<header><p class="kicker">Comparison on {escape(data["source"])}</p>'
        f"<h1>{escape(summary['verdict'])}</h1>"
        f'<p class="note">{len(summary["arms"])} arms, {len(summary["seeds"])} seeds, '
        f"{data['evaluated_users']:,} test users; data sha256 {data['sha256'][:12]}. A difference "
        "counts as real where its Holm-corrected p-value is below .05 and its 95% interval leaves "
        f"out zero.{gaps}</p></header>"
    )


def _main_table(summary: dict[str, Any]) -> str:
    columns = (
        "arm",
        *(name.upper() for name in COMPARED),
        f"{MAIN.upper()}, relative",
        "Holm p",
        "verdict",
        "cost",
        "flips a run",
        "seeds",
    )
    rows = []
    for row in summary["arms"]:
        found = (row["difference"] or {}).get(MAIN)
        is_reference = row["name"] == summary["reference"]
        flips = row["flips"]
        rows.append(
            [
                f"<b>{escape(row['name'])}</b>",
                *(with_spread(row, name) for name in COMPARED),
                percent(found["relative"]) if found else "",
                p_value(found["p_holm"]) if found else "",
                chip(found["verdict"]) if found else "reference" if is_reference else "",
                f"× {row['cost']['ratio']:.2f}" if row["cost"]["ratio"] else "",
                "" if flips is None else f"{flips:,.0f}",
                str(len(row["runs"])) if row["runs"] else "",
            ]
        )
    note = (
        "Test, full ranking; mean ± standard deviation over seeds. Cost: CPU seconds of training "
        f"for 1,000 users, against {escape(summary['reference'])}. Flips: labels."
    )
    return section("Results", table(columns, rows), note)


def _forests(summary: dict[str, Any]) -> str:
    places = _places(summary)
    rows = [row for row in summary["arms"] if row["difference"]]
    if not rows:
        return ""
    ends = [
        abs(row["difference"][metric]["relative"][end] or 0.0)
        for row in rows
        for metric in COMPARED
        for end in ("low", "high")
    ]
    scale = max([0.01, *ends])
    plots = []
    for metric in COMPARED:
        bars = []
        for row in rows:
            relative = row["difference"][metric]["relative"]
            bars.append(
                Bar(
                    row["name"],
                    places[row["name"]],
                    relative["low"],
                    relative["estimate"],
                    relative["high"],
                    percent(relative),
                )
            )
        plots.append(f"<h3>{metric.upper()}</h3>{forest(bars, scale=scale)}")
    note = (
        f"Relative difference to {escape(summary['reference'])} on test, 95% intervals over users "
        "and seeds. Left of the line is worse, right is better."
    )
    return section("How large the differences are", "".join(plots), note)


def _curves(summary: dict[str, Any]) -> str:
    places = _places(summary)
    learning, flips = [], []
    for row in summary["arms"]:
        curve, place = row["curve"], places[row["name"]]
        learning.append(
            Series(row["name"], place, curve["epoch"], curve["mean"], curve["low"], curve["high"])
        )
        if any(curve["flips"]):
            flips.append(Series(row["name"], place, curve["epoch"], curve["flips"]))
    charts = line_chart(learning, title=f"{MAIN.upper()} on validation", x_label="epoch", digits=3)
    charts += line_chart(
        flips, title="Labels flipped per 1,000 positions", x_label="epoch", digits=1
    )
    note = (
        "Mean over the seeds that reached an epoch; the band goes from the least to the greatest "
        "seed. Which weights are scored, an arm's own or their average, is the arm's."
    )
    return section("While training", f'<div class="charts">{charts}</div>', note) if charts else ""


def _slices(summary: dict[str, Any]) -> str:
    families: dict[str, list[dict[str, Any]]] = {}
    for part in summary["slices"]:
        families.setdefault(part["family"], []).append(part)
    if not families or not any(row["runs"] for row in summary["arms"]):
        return ""
    tables = []
    for family, parts in families.items():
        columns = [escape(family)]
        columns += [f"{escape(x['label'])}<br><small>{x['users']:,} users</small>" for x in parts]
        rows = [
            [f"<b>{escape(row['name'])}</b>", *(_slice_cell(x["arms"][row["name"]]) for x in parts)]
            for row in summary["arms"]
        ]
        tables.append(table(columns, rows))
    note = (
        f"Mean {MAIN.upper()} of the users of each third; under it the relative difference to "
        f"{escape(summary['reference'])} with its 95% interval, which is not corrected for the "
        "number of slices: a coloured cell is a hint, not a finding."
    )
    return section("Who gains, who loses", "".join(tables), note)


def _slice_cell(cell: dict[str, Any]) -> str:
    if cell["mean"] is None:
        return ""
    text = decimals(cell["mean"])
    if cell["relative"] is None:
        return text
    low, high = cell["absolute"]["low"], cell["absolute"]["high"]
    kind = "better" if low > 0 else "worse" if high < 0 else ""
    return f'{text}<br><small class="{kind}">{percent(cell["relative"])}</small>'


def _beyond_accuracy(summary: dict[str, Any]) -> str:
    rows = []
    for row in summary["arms"]:
        found = row["beyond_accuracy"]
        if found:
            values = [f"{found['coverage']:.1%}", f"{found['gini']:.3f}", f"{found['novelty']:.2f}"]
            rows.append([f"<b>{escape(row['name'])}</b>", *values])
    if not rows:
        return ""
    note = (
        "Of the ten items recommended to every test user. Coverage: share of the catalogue that is "
        "recommended to somebody. Gini: 0 where every item is recommended as often, 1 where one "
        "takes all. Novelty: mean bits, -log2 of an item's share of the train events."
    )
    return section("Beyond accuracy", table(("arm", "coverage", "Gini", "novelty"), rows), note)


def _missing(summary: dict[str, Any]) -> str:
    rows = [
        [escape(gap["arm"]), str(gap["seed"]), escape(gap["why"])] for gap in summary["missing"]
    ]
    return section("Missing runs", table(("arm", "seed", "why"), rows)) if rows else ""


def _arms(summary: dict[str, Any]) -> str:
    rows = []
    for row in summary["arms"]:
        settings = ", ".join(f"{key}={_plain(value)}" for key, value in row["overrides"].items())
        rows.append([f"<b>{escape(row['name'])}</b>", f"<code>{escape(settings)}</code>"])
    body = table(("arm", "sets"), rows)
    runs = [
        [
            escape(row["name"]),
            str(run["seed"]),
            *(decimals(run["test"][name]) for name in COMPARED),
            decimals(run["validation"][MAIN]),
            f"{run['weights']}, {run['selected_epoch']} of {run['epochs']}",
            "shut" if run["gate_epoch"] is None else str(run["gate_epoch"]),
            f"{run['flips']:,.0f}",
            number(run["cpu_seconds_per_1000_users"], 3),
        ]
        for row in summary["arms"]
        for run in row["runs"]
    ]
    columns = (
        "arm",
        "seed",
        *(f"{name.upper()} test" for name in COMPARED),
        f"{MAIN.upper()} validation",
        "weights, epoch",
        "gate opened after",
        "flips",
        "CPU s per 1,000 users",
    )
    detail = f"<details><summary>Every run</summary>{table(columns, runs)}</details>"
    return section("The arms", body + (detail if runs else ""))


def _plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _provenance(summary: dict[str, Any]) -> str:
    lines = [f"<li>{escape(line)}</li>" for line in provenance(summary)]
    command = " ".join(summary["command_line"])
    lines.append(f"<li>command: <code>{escape(command)}</code></li>")
    return section("What the numbers are", f"<ul>{''.join(lines)}</ul>")
