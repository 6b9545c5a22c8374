"""Charts as inline SVG that follows the page's colours and width; text in, text out."""

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from ufnrec_tf.chart_values import (
    Bar,
    Chart,
    Histogram,
    LineChart,
    Mark,
    Series,
    colour,
    dashes,
    limits,
    nice_ticks,
    whole_ticks,
)

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
