"""The charts of a run: its training, and its data."""

import math
from collections.abc import Sequence

import numpy as np

from ufnrec_tf.data.times import as_text
from ufnrec_tf.report.charts import Histogram, LineChart, Mark, Series
from ufnrec_tf.report.run_facts import ArmFacts, DataFacts, RunFacts

MOST_BARS = 40
_SHOWN_USERS = 0.99
"""Share of the users that the chart of lengths shows; the longest would leave it empty."""
_EPOCHS, _STEPS = "epoch", "step"


def training_charts(facts: RunFacts) -> list[LineChart]:
    """Returns the charts of training, in the order of the page; some may have no line."""
    marks = _marks(facts)
    return [
        _ranking(facts, "ndcg@10", marks),
        _ranking(facts, "hr@10", marks),
        _without_its_fall(_of_arms(facts, "loss", "Loss a step", "loss/total", marks=marks)),
        _of_arms(
            facts,
            "flips",
            "Labels flipped per 1,000 positions",
            "ufnrec/flips_per_positive",
            factor=1000.0,
            marks=marks,
        ),
        _memory(facts, marks),
    ]


def data_charts(data: DataFacts | None) -> list[LineChart | Histogram]:
    """Returns the charts of the data, in the order of the page."""
    if data is None:
        return []
    charts: list[LineChart | Histogram] = [_popularity(data.counts), _lengths(data.lengths)]
    if data.times is not None:
        charts.append(_moments(*data.times, is_epoch=data.is_epoch))
    return charts


def _place(facts: RunFacts, step: float) -> float:
    """Returns the place of a step on the horizontal axis: in epochs, where these are known."""
    return step / facts.steps_an_epoch if facts.steps_an_epoch else step


def _x_label(facts: RunFacts) -> str:
    return _EPOCHS if facts.steps_an_epoch else _STEPS


def _colour_of(facts: RunFacts, arm: ArmFacts) -> int:
    """Returns the place of an arm's colour; the run itself has the first that is not grey."""
    order = [facts.own, *facts.arms[:-1]]
    return 1 + 2 * next(place for place, other in enumerate(order) if other is arm)


def _marks(facts: RunFacts) -> list[Mark]:
    """Returns the marks of the run itself: the gate opened, an epoch was selected."""
    if facts.own.result is None:
        opened = [
            step
            for step, value in facts.own.scalars.get("ufnrec/gate_is_open", {}).items()
            if value
        ]
        return [Mark(_place(facts, opened[0]), "gate open")] if opened else []
    marks = []
    gate_epoch = facts.own.result["false_negatives"]["gate_epoch"]
    if gate_epoch is not None and facts.own.result["memory"]["slots"]:
        marks.append(Mark(float(gate_epoch), "gate open"))
    selected = facts.own.result["protocol"]["selected_epoch"]
    return [*marks, Mark(float(selected), "selected")] if facts.steps_an_epoch else []


def _ranking(facts: RunFacts, metric: str, marks: Sequence[Mark]) -> LineChart:
    """Returns a validation metric: a line for each arm and each kind of weights."""
    series = []
    for arm in facts.arms:
        kinds = list(dict.fromkeys(line["weights"] for line in arm.evaluations))
        for number, weights in enumerate(kinds):
            lines = [line for line in arm.evaluations if line["weights"] == weights]
            name = f"{arm.label}, {weights}" if len(kinds) > 1 else arm.label
            series.append(
                Series(
                    name,
                    _colour_of(facts, arm) + number,
                    [_place(facts, line["step"]) for line in lines],
                    [line[metric] for line in lines],
                )
            )
    title = f"{metric.upper()} on validation"
    return LineChart(_file_name(metric), title, _x_label(facts), series, marks)


def _file_name(metric: str) -> str:
    return f"validation_{metric.replace('@', '_')}"


def _of_arms(
    facts: RunFacts,
    name: str,
    title: str,
    tag: str,
    *,
    factor: float = 1.0,
    marks: Sequence[Mark],
) -> LineChart:
    """Returns one scalar of training, a line for each arm in which it is ever other than zero."""
    series = [
        _line(facts, arm.label, _colour_of(facts, arm), arm.scalars[tag], factor)
        for arm in facts.arms
        if any(arm.scalars.get(tag, {}).values())
    ]
    return LineChart(name, title, _x_label(facts), series, marks)


def _without_its_fall(chart: LineChart) -> LineChart:
    """Returns a chart of a loss without its first values, which would flatten the rest."""
    values = [y for line in chart.series for y in line.y if y is not None]
    if not values:
        return chart
    most = 2.0 * float(np.median(values))
    begins = max(
        next((x for x, y in zip(line.x, line.y, strict=True) if y is not None and y <= most), 0.0)
        for line in chart.series
    )
    series = []
    for line in chart.series:
        kept = [(x, y) for x, y in zip(line.x, line.y, strict=True) if x >= begins]
        series.append(line._replace(x=[x for x, _ in kept], y=[y for _, y in kept]))
    is_cut = any(len(new.x) < len(old.x) for new, old in zip(series, chart.series, strict=True))
    title = f"{chart.title}, from {chart.x_label} {begins:,.0f}" if is_cut else chart.title
    return chart._replace(title=title, series=series)


def _line(
    facts: RunFacts, name: str, place: int, points: dict[int, float], factor: float
) -> Series:
    steps = [_place(facts, step) for step in points]
    return Series(name, place, steps, [factor * value for value in points.values()])


_SHARES = {
    "ufnrec_memory/share_of_slots_used": "slots of the memory in use",
    "ufnrec/hard_share_of_negatives": "negatives that outscore the positive",
    "ufnrec_memory/shown_share_of_negatives": "negatives shown again from the memory",
    "teacher/share_of_users": "users whose suspects the teacher scores",
}


def _memory(facts: RunFacts, marks: Sequence[Mark]) -> LineChart:
    """Returns the chart of the shares in `_SHARES`: how the memory fills and is used."""
    scalars = facts.own.scalars
    has_memory = "ufnrec_memory/share_of_slots_used" in scalars
    series = [
        _line(facts, name, 1 + place, scalars[tag], 100.0)
        for place, (tag, name) in enumerate(_SHARES.items())
        if has_memory and any(scalars.get(tag, {}).values())
    ]
    return LineChart("memory", "Memory and teacher, %", _x_label(facts), series, marks)


def _popularity(counts: np.ndarray) -> LineChart:
    """Returns the chart of the share of train events that the most popular items have."""
    cumulative = np.cumsum(np.sort(counts)[::-1])
    shares = np.concatenate([[0.0], 100.0 * cumulative / max(int(cumulative[-1]), 1)])
    items = 100.0 * np.arange(len(shares)) / max(len(counts), 1)
    kept = np.unique(np.linspace(0, len(items) - 1, 200).astype(int))
    alike = Series("if all items were as popular", 0, [0.0, 100.0], [0.0, 100.0])
    own = Series("items, most popular first", 1, items[kept].tolist(), shares[kept].tolist())
    title = "Share of train events, %"
    return LineChart("popularity", title, "share of the items, %", [own, alike])


def _lengths(lengths: np.ndarray) -> Histogram:
    """Returns the histogram of events a user; the longest histories are left out."""
    most = int(np.quantile(lengths, _SHOWN_USERS, method="higher"))
    shown = lengths[lengths <= most]
    least = int(shown.min())
    width = max(1, math.ceil((most - least + 1) / MOST_BARS))
    num_bars = math.ceil((most - least + 1) / width)
    edges = least - 0.5 + width * np.arange(num_bars + 1)
    counts, _ = np.histogram(shown, bins=edges)
    return Histogram(
        "lengths",
        f"Users by number of events ({len(shown) / len(lengths):.0%} of them)",
        "events",
        edges.tolist(),
        counts.tolist(),
    )


def _moments(counts: np.ndarray, edges: np.ndarray, *, is_epoch: bool) -> Histogram:
    """Returns the histogram of the times of events."""
    places = np.linspace(edges[0], edges[-1], 4)
    texts = [as_text(place)[:10] if is_epoch else f"{place:.6g}" for place in places]
    label = "" if is_epoch else "time, numbers of the file's own"
    return Histogram(
        "time",
        "Events over time",
        label,
        edges.tolist(),
        counts.tolist(),
        list(zip(places.tolist(), texts, strict=True)),
    )
