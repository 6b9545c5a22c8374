"""The charts of a page as PNG files, for papers and slides; the same values, drawn elsewhere."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ufnrec_tf.chart_values import (
    Chart,
    Histogram,
    LineChart,
    colour,
    dashes,
    limits,
    nice_ticks,
    whole_ticks,
)
from ufnrec_tf.report_style import COLOURS
from ufnrec_tf.workdir import written_whole

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
