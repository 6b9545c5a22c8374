"""The page of a comparison."""

from typing import Any

from ufnrec_tf.evaluation.metrics import COMPARED, MAIN
from ufnrec_tf.report.charts import Bar, Forest, LineChart, Series, is_empty
from ufnrec_tf.report.judgement import course_lines, current, flips_words, headlines
from ufnrec_tf.report.render import render
from ufnrec_tf.report.suspects import suspect_facts
from ufnrec_tf.report.teachers import teacher_facts, without_teacher
from ufnrec_tf.report.wording import provenance, relative_difference, with_spread

LEAST_HITS = 50
"""Hits below which the cell of a group of users is blank: its figure would be luck."""


def page(summary: dict[str, Any]) -> str:
    """Returns report.html.

    Args:
        summary: The contents of comparison.json; of an older version they are judged again.
    """
    summary = current(summary)
    arms = summary["arms"]
    metrics = summary.get("compared", COMPARED)
    compared = [name.upper() for name in metrics]
    return render(
        "comparison.html",
        summary=summary,
        headlines=headlines(summary),
        courses=course_lines(summary),
        main=MAIN.upper(),
        metrics=metrics,
        compared=compared,
        tested=[f"{name} test" for name in compared],
        with_spread=with_spread,
        forests=_forests(summary),
        curves=_curves(summary),
        families=_families(summary),
        beyond_accuracy=[
            (arm["name"], arm["beyond_accuracy"]) for arm in arms if arm["beyond_accuracy"]
        ],
        suspects=suspect_facts(without_teacher(arms)),
        teachers=teacher_facts(arms),
        flips=[(arm["name"], flips_words(arm["saw_flips"])) for arm in arms if arm["saw_flips"]],
        least_hits=LEAST_HITS,
        averaged="Means over seeds, lifts of the pairs of all seeds; examples of one run.",
        provenance=provenance(summary),
    )


def _places(summary: dict[str, Any]) -> dict[str, int]:
    """Returns the colour of each arm; the reference has the first."""
    others = [row["name"] for row in summary["arms"] if row["name"] != summary["reference"]]
    return {name: place for place, name in enumerate([summary["reference"], *others])}


def _forests(summary: dict[str, Any]) -> list[Forest]:
    """Returns a forest plot for each metric, all of one scale; none without differences."""
    places = _places(summary)
    rows = [row for row in summary["arms"] if row["difference"]]
    differences = {
        metric: {row["name"]: row["difference"][metric]["relative"] for row in rows}
        for metric in summary.get("compared", COMPARED)
    }
    ends = [
        abs(found[end] or 0.0)
        for by_arm in differences.values()
        for found in by_arm.values()
        for end in ("low", "high")
    ]
    forests = []
    for metric, by_arm in differences.items():
        bars = [
            Bar(
                name,
                places[name],
                found["low"],
                found["estimate"],
                found["high"],
                relative_difference(found),
            )
            for name, found in by_arm.items()
        ]
        forests.append(Forest(f"forest_{metric}", metric.upper(), bars, max([0.01, *ends])))
    return [forest for forest in forests if not is_empty(forest)]


def _curves(summary: dict[str, Any]) -> list[LineChart]:
    """Returns the charts of training that have something to show."""
    places = _places(summary)
    learning, flips = [], []
    for row in summary["arms"]:
        curve, place = row["curve"], places[row["name"]]
        learning.append(
            Series(row["name"], place, curve["epoch"], curve["mean"], curve["low"], curve["high"])
        )
        if any(curve["flips"]):
            flips.append(Series(row["name"], place, curve["epoch"], curve["flips"]))
    charts = [
        LineChart("validation", f"{MAIN.upper()} on validation", "epoch", learning),
        LineChart("flips", "Labels flipped per 1,000 positions", "epoch", flips),
    ]
    return [chart for chart in charts if not is_empty(chart)]


def _families(summary: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Returns the groups of users by what they were grouped by; none before a run has finished."""
    families: dict[str, list[dict[str, Any]]] = {}
    if any(row["runs"] for row in summary["arms"]):
        for group in summary["slices"]:
            group = {**group, "num_users": group["users"]}
            families.setdefault(group["family"], []).append(group)
    return families
