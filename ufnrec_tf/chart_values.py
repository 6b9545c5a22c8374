"""What charts show and where things are in them, however they are drawn."""

import math
from collections.abc import Sequence
from typing import NamedTuple

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


class Limits(NamedTuple):
    """Ends of a chart's axes."""

    x_low: float
    x_high: float
    y_low: float
    y_high: float


def limits(chart: Chart) -> Limits | None:
    """Returns the ends of a chart's axes, None where it has nothing to show."""
    if isinstance(chart, Histogram):
        if not len(chart.counts):
            return None
        return Limits(chart.edges[0], chart.edges[-1], 0.0, 1.05 * max(chart.counts) or 1.0)
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
    return Limits(x_low, x_high if x_high > x_low else x_low + 1, y_low, y_high)


def colour(place: int) -> int:
    """Returns the number of a place's colour; only the first has that of the reference."""
    return place if place == 0 else 1 + (place - 1) % (NUM_COLOURS - 1)


def dashes(place: int) -> tuple[int, ...]:
    """Returns lengths of dashes and gaps of a place's lines, empty for an unbroken one."""
    return DASHES[place // NUM_COLOURS % len(DASHES)] if place else (4, 3)
