"""Charts, drawn by matplotlib: as SVG within a page, as PNG beside it."""

import logging
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from xml.etree import ElementTree

from markupsafe import Markup

from ufnrec_tf.common.files import written_whole
from ufnrec_tf.common.text import plain
from ufnrec_tf.report.colours import COLOURS, LINE_COLOURS

if TYPE_CHECKING:  # matplotlib takes half a second to import: only where something is drawn
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DASHES = ((), (6, 3), (2, 3), (8, 3, 2, 3))
"""Lengths of dashes and gaps of the lines that share a colour."""
WIDTH, HEIGHT = 5.2, 3.0
"""Inches of a chart, without its title and legend."""
ROW_HEIGHT = 0.52
"""Inches of a row of a forest plot."""
DOTS_PER_INCH = 180
LEGEND_WIDTH = 56
"""Characters after which a name in a legend is broken into lines."""
STYLE = {
    "font.size": 10,
    "font.sans-serif": ["DejaVu Sans"],  # within a page, its style sheet has the last word
    "axes.spines.top": False,
    "axes.spines.right": False,
}


class Series(NamedTuple):
    """One line of a line chart.

    Attributes:
        name: Its name in the legend.
        place: Selects its colour and dashes; 0 is the reference.
        x: Ascending.
        y: A value for each x; None if there is none.
        low: Lower edge of the band, or empty for no band.
        high: Upper edge of the band, or empty.
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
        name: Name of the arm.
        place: Selects its colour.
        low: Lower end of the interval, or None if it is not known.
        estimate: Place of the mark, or None.
        high: Upper end of the interval, or None.
        text: The numbers in words.
    """

    name: str
    place: int
    low: float | None
    estimate: float | None
    high: float | None
    text: str


class Mark(NamedTuple):
    """An event at one place of the horizontal axis of a line chart."""

    x: float
    text: str


class LineChart(NamedTuple):
    """Lines over one horizontal axis.

    Attributes:
        name: File name of the picture, without its ending.
        title: The name of the values.
        x_label: Text under the axis.
        series: The lines.
        marks: Vertical lines.
    """

    name: str
    title: str
    x_label: str
    series: Sequence[Series]
    marks: Sequence[Mark] = ()


class Histogram(NamedTuple):
    """Counts of adjoining ranges.

    Attributes:
        name: File name of the picture, without its ending.
        title: The name of the counts.
        x_label: Text under the axis.
        edges: Edges of the bars, ascending, one more than counts.
        counts: Height of each bar.
        ticks: Places on the axis with their texts; empty for round whole numbers.
    """

    name: str
    title: str
    x_label: str
    edges: Sequence[float]
    counts: Sequence[float]
    ticks: Sequence[tuple[float, str]] = ()


class Forest(NamedTuple):
    """Relative differences with their intervals; zero is in the middle.

    Attributes:
        name: File name of the picture, without its ending.
        title: The name of the compared values.
        bars: The rows, from top to bottom.
        scale: The largest difference that fits, either side; 0.1 for 10%.
    """

    name: str
    title: str
    bars: Sequence[Bar]
    scale: float


Chart = LineChart | Histogram | Forest


def is_empty(chart: Chart) -> bool:
    """True if a chart has nothing to show."""
    if isinstance(chart, Histogram):
        return not len(chart.counts)
    if isinstance(chart, Forest):
        return not chart.bars
    return all(value is None for line in chart.series for value in line.y)


def colour(place: int) -> str:
    """Returns the colour of a place; only place 0 has that of the reference."""
    return LINE_COLOURS[place if place == 0 else 1 + (place - 1) % (len(LINE_COLOURS) - 1)]


def dashes(place: int) -> tuple[int, ...]:
    """Returns the lengths of dashes and gaps of a place's lines, empty for an unbroken one."""
    return DASHES[place // len(LINE_COLOURS) % len(DASHES)] if place else (4, 3)


def write_pictures(folder: Path, charts: Sequence[Chart]) -> list[Path]:
    """Writes each chart that has something to show as `<name>.png`; makes the folder.

    Pictures of charts that have nothing to show any more are removed.

    Args:
        folder: Folder of the pictures.
        charts: The charts; their names are the files'.

    Returns:
        The files, in the order of the charts.

    Raises:
        UserError: If a file cannot be written.
    """
    for leftover in folder.glob(".*.new"):  # of a process that was killed
        leftover.unlink()
    written = []
    for chart in charts:
        path = folder / f"{chart.name}.png"
        if is_empty(chart):
            path.unlink(missing_ok=True)
            continue
        with written_whole(path) as new, _drawing(chart):
            folder.mkdir(exist_ok=True)
            figure = _draw(chart)
            figure.suptitle(
                _label(chart.title), x=0.01, ha="left", fontsize=11, fontweight="bold"
            ).set_parse_math(False)
            # No software version inside, so that the same run gives the same file.
            figure.savefig(new, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
        written.append(path)
    return written


def svg(chart: Chart) -> Markup:
    """Returns a chart as an element for the page, without its title; empty if it is empty.

    Its colours are the page's variables, and it has no ids, which several charts in one page
    would share.
    """
    if is_empty(chart):
        return Markup()
    with _drawing(chart):
        file = StringIO()
        _draw(chart).savefig(file, format="svg", metadata={"Date": None}, transparent=True)
    root = ElementTree.fromstring(file.getvalue())
    shapes = {f"#{path.get('id')}": path.get("d", "") for path in root.iter(f"{_SVG}path")}
    for element in list(root.iter()):
        for child in list(element):
            # Styles would be those of the whole page. What is clipped is within the axes anyway.
            if child.tag in (f"{_SVG}metadata", f"{_SVG}defs"):
                element.remove(child)
        element.tag = element.tag.removeprefix(_SVG)
        if element.tag == "use":  # by an id: the shape itself in its place
            place = f"translate({element.get('x')} {element.get('y')})"
            d, style = shapes[element.attrib[_HREF]], element.get("style", "")
            element.tag, element.attrib = "path", {"d": d, "transform": place, "style": style}
        element.attrib.pop("clip-path", None)
        identity = element.attrib.pop("id", "")
        if element.tag == "g" and identity and not re.search(r"_\d+$", identity):  # given by us
            element.set("class", identity)
        if "style" in element.attrib:
            element.set("style", _page_style(element.attrib["style"]))
    root.attrib = {
        "viewBox": root.attrib["viewBox"],
        "role": "img",
        "aria-label": _label(chart.title),
    }
    # What the serializer writes is escaped; in one line, a page has it between its own lines.
    return Markup(re.sub(r">\s+<", "><", ElementTree.tostring(root, encoding="unicode")))


def _page_style(style: str) -> str:
    """Returns a style attribute with the page's variables in place of colours."""
    return re.sub("#[0-9a-f]{6}", lambda found: _VARIABLES.get(found[0], found[0]), style)


_SVG = "{http://www.w3.org/2000/svg}"
_HREF = "{http://www.w3.org/1999/xlink}href"
_VARIABLES = {light: f"var(--{name})" for name, (light, _) in COLOURS.items()}


@contextmanager
def _drawing(chart: Chart) -> Iterator[None]:
    """Sets matplotlib's defaults and ours, whatever the user has set, and puts that back after."""
    import matplotlib.style

    logger = logging.getLogger("matplotlib")
    level = logger.level
    own = {**STYLE, "svg.fonttype": "none", "svg.hashsalt": chart.name}
    with matplotlib.style.context(["default", own]), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a glyph that the font lacks is a box
        logger.setLevel(logging.ERROR)  # its font cache is nothing to the user
        try:
            yield
        finally:
            logger.setLevel(level)


def _draw(chart: Chart) -> "Figure":
    """Returns a chart's figure; without `pyplot`, which would keep it and look for a screen."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
    axes = figure.add_subplot()
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelcolor=_FAINT)
    for spine in axes.spines.values():
        spine.set_color(_RULE)
    if isinstance(chart, Forest):
        figure.set_figheight(0.5 + ROW_HEIGHT * len(chart.bars))
        _draw_forest(axes, chart)
        return figure
    axes.grid(axis="y", color=_RULE, linewidth=0.8)
    axes.spines["left"].set_visible(False)
    axes.margins(x=0)
    axes.set_xlabel(_label(chart.x_label), color=_FAINT, parse_math=False)
    if isinstance(chart, Histogram):
        _draw_histogram(axes, chart)
    else:
        _draw_lines(axes, chart)
        _draw_legend(figure, axes, [line.name for line in chart.series])
    return figure


_FAINT, _RULE = COLOURS["faint"][0], COLOURS["rule"][0]


def _label(text: str) -> str:
    """Returns a text without the characters that act on a screen or that XML cannot hold."""
    return re.sub("[\ufffe\uffff]", "?", plain(text))


def _draw_histogram(axes: "Axes", chart: Histogram) -> None:
    widths = [right - left for left, right in zip(chart.edges, chart.edges[1:], strict=False)]
    for bar in axes.bar(
        chart.edges[:-1], chart.counts, [0.94 * x for x in widths], align="edge", color=colour(1)
    ):
        bar.set_gid("bar")
    axes.yaxis.set_major_formatter("{x:,.10g}")
    if not chart.ticks:
        _set_whole_ticks(axes)
        return
    places, texts = zip(*chart.ticks, strict=True)
    labels = axes.set_xticks(places, [_label(text) for text in texts], parse_math=False)
    labels[0].label1.set_horizontalalignment("left")  # the outer ones stay within the picture
    labels[-1].label1.set_horizontalalignment("right")


def _set_whole_ticks(axes: "Axes") -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.xaxis.set_major_formatter("{x:,.0f}")


def _draw_lines(axes: "Axes", chart: LineChart) -> None:
    for line in chart.series:
        known = [(x, y) for x, y in zip(line.x, line.y, strict=True) if y is not None]
        if len(known) == 1:
            axes.scatter(*known[0], s=20, color=colour(line.place)).set_gid("point")
        drawn = axes.plot([x for x, _ in known], [y for _, y in known], linewidth=1.8)[0]
        drawn.set(color=colour(line.place), gid="line")
        if pattern := dashes(line.place):
            drawn.set_dashes([part / 2 for part in pattern])
        if len(line.low) and list(line.low) != list(line.high):
            band = axes.fill_between(line.x, line.low, line.high, color=colour(line.place))
            band.set(alpha=0.13, linewidth=0, gid="band")
    _set_whole_ticks(axes)
    axes.ticklabel_format(axis="y", style="plain", useOffset=False)
    values = [y for line in chart.series for y in (*line.y, *line.low) if y is not None]
    if min(values) == 0:
        axes.set_ylim(bottom=0)
    low, high = axes.get_xlim()
    marks = [mark for mark in chart.marks if low <= mark.x <= high]
    for mark, before in zip(marks, [None, *marks], strict=False):
        axes.axvline(mark.x, color=_FAINT, linewidth=0.8, linestyle=":", gid="moment")
        is_near = before is not None and abs(mark.x - before.x) < (high - low) / 4
        axes.annotate(
            _label(mark.text),
            (mark.x, 1),
            xycoords=("data", "axes fraction"),
            xytext=(0, 14 if is_near else 3),  # above the lines, and above the mark beside it
            textcoords="offset points",
            ha="right" if mark.x > (low + high) / 2 else "left",
            color=_FAINT,
            fontsize=9.5,
            parse_math=False,
        )


def _draw_legend(figure: "Figure", axes: "Axes", names: list[str]) -> None:
    """Puts the names under the chart, which becomes as much higher."""
    from textwrap import fill

    if not any(names):
        return
    columns = 2 if len(names) > 1 and max(map(len, names)) <= LEGEND_WIDTH // 2 - 4 else 1
    texts = [fill(_label(name), LEGEND_WIDTH) for name in names]
    num_lines = sum(text.count("\n") + 1 for text in texts) / columns
    figure.set_figheight(HEIGHT + 0.18 * num_lines)
    # Given by hand: a name that begins with an underscore would be left out.
    legend = figure.legend(
        axes.lines[: len(names)],
        texts,
        loc="outside lower left",
        ncols=columns,
        frameon=False,
        fontsize=9.5,
        labelcolor=COLOURS["text"][0],
    )
    for text in legend.get_texts():
        text.set_parse_math(False)


def _draw_forest(axes: "Axes", chart: Forest) -> None:
    """Draws a line of text a row, and under it the interval."""
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    edge = 1.08 * chart.scale
    axes.set(xlim=(-edge, edge), ylim=(len(chart.bars), 0), yticks=[])
    axes.spines["left"].set_visible(False)
    axes.axvline(0, color=_FAINT, linewidth=1)
    axes.xaxis.set_major_locator(MaxNLocator(4, symmetric=True))
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0 if chart.scale >= 0.04 else 1))
    side_by_side = axes.get_yaxis_transform()  # across the axes, down the rows
    for row, bar in enumerate(chart.bars):
        name = _label(bar.name if len(bar.name) <= 32 else f"{bar.name[:31]}…")
        ends = ((0, "left", name), (1, "right", _label(bar.text)))
        for place, alignment, text in ends:
            axes.text(
                place,
                row + 0.08,
                text,
                transform=side_by_side,
                ha=alignment,
                va="top",
                parse_math=False,
                color=COLOURS["text"][0],
                fontweight="bold" if place == 0 else "normal",
            )
        if bar.estimate is not None and bar.low is not None and bar.high is not None:
            y = row + 0.72
            axes.plot([bar.low, bar.high], [y, y], color=colour(bar.place), lw=2.5, gid="interval")
            axes.scatter(bar.estimate, y, s=40, color=colour(bar.place), gid="mark", zorder=3)
