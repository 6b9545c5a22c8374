"""Charts as inline SVG that follows the page's colours and width; text in, text out."""

import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

WIDTH, HEIGHT = 520, 300
LEFT, RIGHT, TOP, BOTTOM = 54, 10, 10, 40
NUM_COLOURS = 8
"""Classes c0 ... c7 of the page's style sheet; c0 is the reference's."""
DASHES = ("", "6 3", "2 3", "8 3 2 3")


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


def nice_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Returns about `count` round numbers that lie in the range, ascending."""
    if not high > low:
        high = low + (abs(low) or 1.0)
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(s * power for s in (1, 2, 5, 10) if s * power >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


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


def colour(place: int) -> int:
    """Returns the number of a place's colour; only the first has that of the reference."""
    return place if place == 0 else 1 + (place - 1) % (NUM_COLOURS - 1)


def _dash(place: int) -> str:
    pattern = DASHES[place // NUM_COLOURS % len(DASHES)] if place else "4 3"
    return f' stroke-dasharray="{pattern}"' if pattern else ""


def line_chart(series: Sequence[Series], *, title: str, x_label: str, digits: int) -> str:
    """Returns a line chart with bands and a legend.

    Args:
        series: The lines.
        title: What the values are; for readers who cannot see it, too.
        x_label: Under the axis.
        digits: Decimals of the vertical axis.
    """
    points = [
        (x, value)
        for line in series
        for values in (line.y, line.low, line.high)
        for x, value in zip(line.x, values, strict=False)
        if value is not None
    ]
    if not points:
        return ""
    x_low, x_high = min(x for x, _ in points), max(x for x, _ in points)
    y_low, y_high = min(y for _, y in points), max(y for _, y in points)
    space = (y_high - y_low) * 0.05 or abs(y_high) * 0.1 or 1.0
    y_low, y_high = (y_low if y_low == 0 else y_low - space), y_high + space
    to = _Scale(x_low, x_high if x_high > x_low else x_low + 1, y_low, y_high)
    body = _grid(to, x_label, digits)
    body += "".join(_band(line, to) for line in series)
    body += "".join(_line(line, to) for line in series)
    legend = "".join(
        f'<span><svg width="26" height="10"><line class="curve c{colour(line.place)}" x1="0" '
        f'x2="26" y1="5" y2="5"{_dash(line.place)}/></svg> {escape(line.name)}</span>'
        for line in series
    )
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


def _grid(to: _Scale, x_label: str, digits: int) -> str:
    parts = []
    for tick in nice_ticks(to.y_low, to.y_high):
        y = to.y(tick)
        parts.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:.{digits}f}</text>'
        )
    for tick in nice_ticks(to.x_low, to.x_high, 6):
        if tick == int(tick):
            parts.append(
                f'<text x="{to.x(tick):.1f}" y="{HEIGHT - BOTTOM + 16}" '
                f'text-anchor="middle">{tick:,.0f}</text>'
            )
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(
        f'<text x="{middle}" y="{HEIGHT - 6}" text-anchor="middle">{escape(x_label)}</text>'
    )
    return "".join(parts)


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
