"""The table of a comparison: columns for the screen, and LaTeX and CSV files."""

from typing import Any, NamedTuple

import pandas as pd

from ufnrec_tf.evaluation.metrics import COMPARED, MAIN
from ufnrec_tf.report.wording import decimals, p_value, with_spread

GAP = 2
"""Characters between two columns on the screen."""
FILE_WIDTH = 80
"""Characters of the table where the screen is a file."""


class Column(NamedTuple):
    """One column of the table.

    Attributes:
        head: Its name.
        cells: A text for each row.
        place: Its place from left to right.
    """

    head: str
    cells: list[str]
    place: int

    @property
    def width(self) -> int:
        """Characters that it takes."""
        return max(map(len, (self.head, *self.cells)))


def compared_metrics(summary: dict[str, Any]) -> tuple[str, ...]:
    """Returns the metrics that the comparison shows and tests."""
    return tuple(summary.get("compared", COMPARED))


def screen_table(summary: dict[str, Any], width: int) -> tuple[list[str], list[list[str]]]:
    """Returns heads and rows of the table: baselines, then arms.

    Columns that do not fit are left out, the least important first; the files have them all.

    Args:
        summary: The contents of comparison.json.
        width: Characters of a line.
    """
    baselines, arms = summary.get("baselines", []), summary["arms"]
    names = compared_metrics(summary)

    def column(head: str, cells: list[str], place: int) -> Column:
        return Column(head, [""] * len(baselines) + cells, place)

    def metric(name: str) -> Column:
        cells = [decimals(row["mean"].get(name)) for row in baselines]
        cells += [with_spread(row, name) for row in arms]
        return Column(name.upper(), cells, 1 + names.index(name))

    differences = [(row["difference"] or {}).get(MAIN) for row in arms]
    ratios = [row["cost"]["ratio"] for row in arms]
    after = 1 + len(names)
    by_importance = [
        Column("", [row["name"] for row in (*baselines, *arms)], 0),
        metric(MAIN),
        column(f"to {summary['reference']}", [_change(row, summary) for row in arms], after),
        column("Holm p", [p_value(each["p_holm"]) if each else "" for each in differences], 30),
        column("cost", [f"x {ratio:.2f}" if ratio else "" for ratio in ratios], 31),
        *(metric(name) for name in names if name != MAIN),
        column("seeds", [str(len(row["runs"]) or "") for row in arms], 32),
    ]
    shown, used = [by_importance[0]], by_importance[0].width
    for each in by_importance[1:]:
        if each is by_importance[1] or used + GAP + each.width <= width:
            shown.append(each)
            used += GAP + each.width
    shown.sort(key=lambda each: each.place)
    return [each.head for each in shown], [
        list(cells) for cells in zip(*(each.cells for each in shown), strict=True)
    ]


def _change(row: dict[str, Any], summary: dict[str, Any]) -> str:
    """Returns the relative difference to the reference with its interval, as short as it can be."""
    if row["name"] == summary["reference"]:
        return "reference"
    found = (row["difference"] or {}).get(MAIN)
    if not found:
        return ""
    estimate, low, high = (found["relative"][key] for key in ("estimate", "low", "high"))
    if estimate is None:
        return "reference is 0"
    return f"{estimate:+.1%}" + ("" if None in (low, high) else f" ({low:+.1%} to {high:+.1%})")


def table_frame(summary: dict[str, Any]) -> pd.DataFrame:
    """Returns one row for each baseline or arm and metric, numbers as they are.

    Args:
        summary: The contents of comparison.json.
    """
    names = compared_metrics(summary)
    rows: list[dict[str, Any]] = []
    for baseline in summary.get("baselines", []):
        for name in names:
            mean = baseline["mean"].get(name)
            rows.append(
                {"name": baseline["name"], "kind": "baseline", "metric": name, "mean": mean}
            )
    for row in summary["arms"]:
        for name in names:
            found = (row["difference"] or {}).get(name, {})
            relative = found.get("relative", {})
            rows.append(
                {
                    "name": row["name"],
                    "kind": "reference" if row["name"] == summary["reference"] else "arm",
                    "metric": name,
                    "mean": (row["mean"] or {}).get(name),
                    "sd": (row["sd"] or {}).get(name),
                    "seeds": len(row["runs"]),
                    "difference": relative.get("estimate"),
                    "low": relative.get("low"),
                    "high": relative.get("high"),
                    "p": found.get("p"),
                    "p_holm": found.get("p_holm"),
                    "verdict": found.get("words"),
                    "cost": row["cost"]["ratio"],
                }
            )
    columns = ("name", "kind", "metric", "mean", "sd", "seeds", "difference", "low", "high")
    return pd.DataFrame(rows, columns=[*columns, "p", "p_holm", "verdict", "cost"]).astype(
        {"seeds": "Int64"}
    )


def csv(summary: dict[str, Any]) -> str:
    """Returns comparison.csv: a row for each baseline or arm and metric, differences relative."""
    return table_frame(summary).to_csv(index=False, lineterminator="\n")


def latex(summary: dict[str, Any]) -> str:
    r"""Returns comparison.tex: the table as a `tabular` for the package booktabs.

    Means with their standard deviation over seeds, and of arms the relative difference in `MAIN`.
    """
    heads, rows = screen_table(summary, width=10_000)
    frame = pd.DataFrame(rows, columns=heads)
    left = "l" + "r" * (len(heads) - 1)
    text = (
        frame.style.hide(axis="index")
        .format(escape="latex")
        .format_index(escape="latex", axis="columns")
        .to_latex(hrules=True, column_format=left)
    )
    for sign, command in (("±", r"$\pm$"), ("< .", r"$<$ .")):
        text = text.replace(sign, command)
    num_baselines = len(summary.get("baselines", []))
    lines = text.splitlines()
    if num_baselines:  # below \begin, \toprule, heads and \midrule
        lines.insert(lines.index(r"\midrule") + 1 + num_baselines, r"\midrule")
    return "\n".join(["% \\usepackage{booktabs}", *lines]) + "\n"
