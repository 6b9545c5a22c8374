"""A chart's values, drawn for the page and as PNG."""

import logging
import math
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from ufnrec_tf.common.files import written_whole
from ufnrec_tf.report.html_parts import COLOURS

NUM_COLOURS = 8
"""Classes c0 ... c7 of the page's style sheet; c0 is the reference's."""
DASHES = ((), (6, 3), (2, 3), (8, 3, 2, 3))
"""Lengths of dashes and gaps of the lines that share a colour."""


class Series(NamedTuple):
    """One line of a line chart.

    Attributes:
        name: For the legend.
        place: Which colour and dashes.
        x: Ascending.
        y: One a place of x; None where there is none.
        low: Lower edge of the band, or empty for no band.
        high: Upper edge.
    """

    name: str
    place: int
    x: Sequence[float]
    y: Sequence[float | None]
    low: Sequence[float] = ()
    high: Sequence[float] = ()


class Bar(NamedTuple):
    """One row of a forest plot.

    Attributes:
        name: Of the arm.
        place: Which colour.
        low: Lower end of the interval; estimate and high likewise. None: not known.
        estimate: Where the mark is.
        high: Upper end.
        text: What to say beside it.
    """

    name: str
    place: int
    low: float | None
    estimate: float | None
    high: float | None
    text: str


class Mark(NamedTuple):
    """Something that happened at a place of the horizontal axis of a line chart.

    Attributes:
        x: Where.
        text: What.
    """

    x: float
    text: str


class LineChart(NamedTuple):
    """What a line chart shows, for the page and for a picture alike.

    Attributes:
        name: Of a file, without its ending.
        title: What the values are.
        x_label: Under the axis.
        digits: Decimals of the vertical axis.
        series: The lines.
        marks: Vertical lines.
    """

    name: str
    title: str
    x_label: str
    digits: int
    series: Sequence[Series]
    marks: Sequence[Mark] = ()


class Histogram(NamedTuple):
    """What a histogram shows, for the page and for a picture alike.

    Attributes:
        name: Of a file, without its ending.
        title: What the counts are.
        x_label: Under the axis.
        edges: Of the bars, ascending, one more than counts.
        counts: Height of each bar.
        ticks: Places on the axis, and what to write there.
    """

    name: str
    title: str
    x_label: str
    edges: Sequence[float]
    counts: Sequence[float]
    ticks: Sequence[tuple[float, str]]


Chart = LineChart | Histogram


def nice_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Returns about `count` round numbers that lie in the range, ascending."""
    if not high > low:
        high = low + (abs(low) or 1.0)
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(s * power for s in (1, 2, 5, 10) if s * power >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def whole_ticks(low: float, high: float) -> list[tuple[float, str]]:
    """Returns round whole numbers of a horizontal axis, and what to write there."""
    return [(tick, f"{tick:,.0f}") for tick in nice_ticks(low, high, 6) if tick == int(tick)]


class AxisLimits(NamedTuple):
    """Ends of a chart's axes."""

    x_low: float
    x_high: float
    y_low: float
    y_high: float


def limits(chart: Chart) -> AxisLimits | None:
    """Returns the ends of a chart's axes, None where it has nothing to show."""
    if isinstance(chart, Histogram):
        if not len(chart.counts):
            return None
        return AxisLimits(chart.edges[0], chart.edges[-1], 0.0, 1.05 * max(chart.counts) or 1.0)
    points = [
        (x, value)
        for line in chart.series
        for values in (line.y, line.low, line.high)
        for x, value in zip(line.x, values, strict=False)
        if value is not None
    ]
    if not points:
        return None
    x_low, x_high = min(x for x, _ in points), max(x for x, _ in points)
    y_low, y_high = min(y for _, y in points), max(y for _, y in points)
    space = (y_high - y_low) * 0.05 or abs(y_high) * 0.1 or 1.0
    y_low, y_high = (y_low if y_low == 0 else y_low - space), y_high + space
    return AxisLimits(x_low, x_high if x_high > x_low else x_low + 1, y_low, y_high)


def colour(place: int) -> int:
    """Returns the number of a place's colour; only the first has that of the reference."""
    return place if place == 0 else 1 + (place - 1) % (NUM_COLOURS - 1)


def dashes(place: int) -> tuple[int, ...]:
    """Returns lengths of dashes and gaps of a place's lines, empty for an unbroken one."""
    return DASHES[place // NUM_COLOURS % len(DASHES)] if place else (4, 3)


WIDTH, HEIGHT = 520, 300
LEFT, RIGHT, TOP, BOTTOM = 54, 10, 10, 40


def forest(bars: Sequence[Bar], *, scale: float) -> str:
    """Returns a forest plot of relative differences; zero is in the middle.

    Args:
        bars: A row each.
        scale: The largest difference that is shown, either side; 0.1 for 10%.
    """
    rows = "".join(_forest_row(bar, scale) for bar in bars)
    decimals = 0 if scale >= 0.04 else 1
    axis = "".join(
        f'<text x="{_place(tick, scale):.2f}%" y="12" text-anchor="middle">'
        f"{format(tick, f'+.{decimals}%') if tick else '0'}</text>"
        for tick in nice_ticks(-scale, scale, 4)
    )
    return (
        f'<div class="forest">{rows}<div class="row">'
        f'<svg class="axis" height="16">{axis}</svg></div></div>'
    )


def _place(value: float, scale: float) -> float:
    """Returns where a difference is, in per cent of the width; margins of 8 for tick labels."""
    share = max(-1.0, min(1.0, value / scale))
    return 50 + 42 * share


def _forest_row(bar: Bar, scale: float) -> str:
    lines = '<line class="zero" x1="50%" x2="50%" y1="0" y2="100%"/>'
    if bar.estimate is not None and bar.low is not None and bar.high is not None:
        low, middle, high = (_place(value, scale) for value in (bar.low, bar.estimate, bar.high))
        lines += (
            f'<line class="interval c{colour(bar.place)}" x1="{low:.2f}%" x2="{high:.2f}%" '
            f'y1="13" y2="13"/><circle class="mark c{colour(bar.place)}" cx="{middle:.2f}%" '
            f'cy="13" r="5"><title>{escape(bar.name)}: {escape(bar.text)}</title></circle>'
        )
    return (
        f'<div class="row"><div class="name">{escape(bar.name)}</div><svg height="26">{lines}</svg>'
        f'<div class="value">{escape(bar.text)}</div></div>'
    )


def _dash(place: int) -> str:
    pattern = " ".join(map(str, dashes(place)))
    return f' stroke-dasharray="{pattern}"' if pattern else ""


def figure(chart: Chart) -> str:
    """Returns a chart for the page, empty where it has nothing to show."""
    found = limits(chart)
    if found is None:
        return ""
    to = _Scale(*found)
    if isinstance(chart, Histogram):
        decimals = 0 if found.y_high >= 5 else 1
        body = _grid(to, chart.x_label, decimals, chart.ticks) + _bars(chart, to)
        return _figure(chart.title, body)
    body = _grid(to, chart.x_label, chart.digits)
    body += "".join(_mark(mark, to) for mark in chart.marks if to.x_low <= mark.x <= to.x_high)
    body += "".join(_band(line, to) for line in chart.series)
    body += "".join(_line(line, to) for line in chart.series)
    legend = "".join(
        f'<span><svg width="26" height="10"><line class="curve c{colour(line.place)}" x1="0" '
        f'x2="26" y1="5" y2="5"{_dash(line.place)}/></svg> {escape(line.name)}</span>'
        for line in chart.series
    )
    return _figure(chart.title, body, legend)


def line_chart(series: Sequence[Series], *, title: str, x_label: str, digits: int) -> str:
    """Returns a line chart with bands and a legend; see `LineChart`."""
    return figure(LineChart("", title, x_label, digits, series))


def _figure(title: str, body: str, legend: str = "") -> str:
    return (
        f"<figure><figcaption>{escape(title)}</figcaption>"
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">{body}</svg>'
        f'<div class="legend">{legend}</div></figure>'
    )


class _Scale(NamedTuple):
    """From values to places in the picture."""

    x_low: float
    x_high: float
    y_low: float
    y_high: float

    def x(self, value: float) -> float:
        share = (value - self.x_low) / (self.x_high - self.x_low)
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        share = (value - self.y_low) / (self.y_high - self.y_low)
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)


def _grid(
    to: _Scale, x_label: str, digits: int, ticks: Sequence[tuple[float, str]] | None = None
) -> str:
    parts = []
    for tick in nice_ticks(to.y_low, to.y_high):
        y = to.y(tick)
        parts.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:,.{digits}f}</text>'
        )
    for place, text in whole_ticks(to.x_low, to.x_high) if ticks is None else ticks:
        anchor = "end" if to.x(place) > WIDTH - 30 and len(text) > 6 else "middle"
        parts.append(
            f'<text x="{to.x(place):.1f}" y="{HEIGHT - BOTTOM + 16}" '
            f'text-anchor="{anchor}">{escape(text)}</text>'
        )
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(
        f'<text x="{middle}" y="{HEIGHT - 6}" text-anchor="middle">{escape(x_label)}</text>'
    )
    return "".join(parts)


def _bars(chart: Histogram, to: _Scale) -> str:
    parts = []
    for left, right, count in zip(chart.edges, chart.edges[1:], chart.counts, strict=False):
        x, y = to.x(left), to.y(count)
        parts.append(
            f'<rect class="mark c1" x="{x + 0.5:.1f}" y="{y:.1f}" '
            f'width="{max(to.x(right) - x - 1, 0.5):.1f}" height="{to.y(0) - y:.1f}"/>'
        )
    return "".join(parts)


def _mark(mark: Mark, to: _Scale) -> str:
    x = to.x(mark.x)
    is_left = x > (LEFT + WIDTH) / 2
    anchor, shift = ("end", -4) if is_left else ("start", 4)
    return (
        f'<line class="moment" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
        f'<text x="{x + shift:.1f}" y="{HEIGHT - BOTTOM - 6}" text-anchor="{anchor}">'
        f"{escape(mark.text)}</text>"
    )


def _path(xs: Sequence[float], ys: Sequence[float | None], to: _Scale) -> list[str]:
    return [f"{to.x(x):.1f},{to.y(y):.1f}" for x, y in zip(xs, ys, strict=True) if y is not None]


def _band(line: Series, to: _Scale) -> str:
    if not line.low or list(line.low) == list(line.high):
        return ""
    edge = _path(line.x, line.high, to) + _path(line.x, line.low, to)[::-1]
    return f'<polygon class="band c{colour(line.place)}" points="{" ".join(edge)}"/>'


def _line(line: Series, to: _Scale) -> str:
    points = _path(line.x, line.y, to)
    style = f'class="curve c{colour(line.place)}"{_dash(line.place)}'
    name = f"<title>{escape(line.name)}</title>"
    return f'<polyline {style} points="{" ".join(points)}">{name}</polyline>'


INCHES = (6.4, 4.0)
DOTS_AN_INCH = 150


def write_pictures(folder: Path, charts: Sequence[Chart]) -> list[Path]:
    """Writes each chart that has something to show as `<name>.png`; makes the folder.

    Pictures of charts that have nothing to show any more are removed.

    Args:
        folder: Where to.
        charts: What to draw; their names are the files'.

    Returns:
        The files, in the order of the charts.

    Raises:
        UserError: If the disk does not take them.
    """
    # The library tells of its fonts' cache there, which is nothing to the user.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    for leftover in folder.glob(".*.new"):  # of a process that was killed
        leftover.unlink()
    written = []
    for chart in charts:
        path = folder / f"{chart.name}.png"
        if limits(chart) is None:
            path.unlink(missing_ok=True)
            continue
        with written_whole(path) as new:
            folder.mkdir(exist_ok=True)
            # No software version inside, so that the same run gives the same file.
            _draw(chart).savefig(new, format="png", dpi=DOTS_AN_INCH, metadata={"Software": None})
        written.append(path)
    return written


def _draw(chart: Chart) -> Any:
    """Returns a matplotlib figure; without `pyplot`, which would keep it and look for a screen."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=INCHES, layout="constrained")
    axes = figure.add_subplot()
    # Dollars in a name are dollars.
    axes.set_title(chart.title, loc="left", fontsize=11, fontweight="bold", parse_math=False)
    axes.set_xlabel(chart.x_label, parse_math=False)
    ends = limits(chart)
    if ends is not None:
        axes.set_xlim(ends.x_low, ends.x_high)
        axes.set_ylim(ends.y_low, ends.y_high)
        axes.set_yticks(nice_ticks(ends.y_low, ends.y_high))
    axes.grid(axis="y", color="#d8dde3", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    if isinstance(chart, Histogram):
        axes.stairs(chart.counts, chart.edges, fill=True, color=COLOURS[1])
        places, texts = [place for place, _ in chart.ticks], [text for _, text in chart.ticks]
        axes.set_xticks(places, texts, parse_math=False)
        axes.yaxis.set_major_formatter("{x:,.10g}")
    else:
        _draw_lines(axes, chart)
    return figure


def _draw_lines(axes: Any, chart: LineChart) -> None:
    for line in chart.series:
        style = {"color": COLOURS[colour(line.place)], "linewidth": 1.8}
        known = [(x, y) for x, y in zip(line.x, line.y, strict=True) if y is not None]
        drawn = axes.plot([x for x, _ in known], [y for _, y in known], **style)[0]
        if pattern := dashes(line.place):
            drawn.set_dashes([part / 2 for part in pattern])
        drawn.set_marker("o" if len(known) == 1 else "")
        if len(line.low):
            axes.fill_between(line.x, line.low, line.high, color=style["color"], alpha=0.13, lw=0)
    low, high = axes.get_xlim()
    ticks = whole_ticks(low, high)
    axes.set_xticks([place for place, _ in ticks], [text for _, text in ticks])
    axes.yaxis.set_major_formatter(f"{{x:,.{chart.digits}f}}")
    for mark in chart.marks:
        if low <= mark.x <= high:
            axes.axvline(mark.x, color="#5b6470", linewidth=0.8, linestyle=":")
            is_left = mark.x > (low + high) / 2
            axes.annotate(
                mark.text,
                (mark.x, 0),
                xycoords=("data", "axes fraction"),
                xytext=(-4 if is_left else 4, 5),
                textcoords="offset points",
                ha="right" if is_left else "left",
                color="#5b6470",
                fontsize=8,
                parse_math=False,
            )
    names = [line.name for line in chart.series]
    if any(names):
        # Given by hand: a name that begins with an underscore would be left out.
        legend = axes.legend(axes.lines[: len(names)], names, frameon=False, fontsize=8)
        for text in legend.get_texts():
            text.set_parse_math(False)
