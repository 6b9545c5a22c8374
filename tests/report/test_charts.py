"""Charts on the page: where lines, bars and marks are, in whose colours, safe beside each other."""

import re
from xml.etree import ElementTree

import matplotlib
import pytest
from PIL import Image

from ufnrec_tf.report.charts import (
    Bar,
    Forest,
    Histogram,
    LineChart,
    Mark,
    Series,
    colour,
    is_empty,
    svg,
    write_pictures,
)
from ufnrec_tf.report.colours import COLOURS, LINE_COLOURS

LINES = LineChart(
    "c",
    "T",
    "epoch",
    [
        Series("one", 0, [1, 2, 3], [0.1, None, 0.3], [0.1, 0.1, 0.2], [0.2, 0.3, 0.4]),
        Series("two", 1, [1, 3], [0.2, 0.1]),
    ],
)


def drawn(chart):
    return ElementTree.fromstring(svg(chart))


def points(tree, kind):
    """The points of each path of a kind, [(x, y), ...], moved to where they are."""
    found = []
    for path in tree.findall(f".//g[@class='{kind}']//path"):
        shift = re.findall(r"[\d.]+", path.get("transform", "0 0"))
        pairs = re.findall(r"[ML] ([\d.-]+) ([\d.-]+)", path.get("d", ""))
        found.append([(float(x) + float(shift[0]), float(y) + float(shift[1])) for x, y in pairs])
    return found


def test_a_line_chart_has_a_line_a_series_and_a_band():
    tree = drawn(LINES)
    one, two = points(tree, "line")
    assert [len(one), len(two)] == [2, 2]
    assert two[0][1] < two[1][1]  # up is more: the first point is above the last
    (band,) = points(tree, "band")
    assert {x for x, _ in band} >= {x for x, _ in one}
    assert re.findall("one|two", "".join(tree.itertext())) == ["one", "two"]


def test_a_single_point_is_shown_as_a_point():
    chart = LineChart("c", "T", "step", [Series("s", 1, [5], [0.2])])
    assert len(drawn(chart).findall(".//g[@class='point']//path")) == 1


def test_a_forest_plot_puts_zero_in_the_middle():
    bars = [Bar("a<b", 1, -0.1, 0.0, 0.05, "text"), Bar("none", 2, None, None, None, "")]
    tree = drawn(Forest("f", "T", bars, 0.1))
    (interval,) = points(tree, "interval")  # nothing where nothing is known
    (mark,) = tree.findall(".//g[@class='mark']//path")
    middle = float(re.findall(r"[\d.]+", mark.get("transform", ""))[0])
    low, high = interval[0][0], interval[1][0]
    assert (high - middle) / (middle - low) == pytest.approx(0.5, abs=0.01)
    width = float(tree.get("viewBox", "").split()[2])
    assert middle == pytest.approx(width / 2, abs=3)
    assert "a<b" in "".join(tree.itertext())


def test_bars_are_as_high_as_their_counts():
    chart = Histogram("h", "a<b", "x", [0, 1, 2, 4], [2, 0, 8], [(1, "one"), (4, "2021-05-06")])
    tree = drawn(chart)
    bars = points(tree, "bar")
    heights, widths = (
        [max(p[axis] for p in bar) - min(p[axis] for p in bar) for bar in bars] for axis in (1, 0)
    )
    assert heights[0] == pytest.approx(heights[2] / 4, abs=0.1) and heights[1] == 0
    assert widths[2] == pytest.approx(2 * widths[0], abs=0.1)
    texts = {text.text for text in tree.findall(".//text")}
    assert {"one", "2021-05-06", "x"} <= texts and tree.get("aria-label") == "a<b"


def test_a_mark_is_where_it_happened():
    series = [Series("s", 1, [0, 10], [0.0, 1.0])]
    chart = LineChart("c", "t", "epoch", series, [Mark(5.0, "gate open"), Mark(11.0, "late")])
    tree = drawn(chart)
    (mark,), (line,) = points(tree, "moment"), points(tree, "line")
    assert mark[0][0] == mark[1][0] == pytest.approx((line[0][0] + line[1][0]) / 2, abs=0.1)
    assert "late" not in "".join(tree.itertext())


@pytest.mark.parametrize(
    "chart",
    [
        LineChart("c", "T", "epoch", [Series("x", 0, [], [])]),
        LineChart("c", "T", "epoch", [Series("x", 0, [1], [None])]),
        Histogram("h", "T", "x", [], []),
        Forest("f", "T", [], 0.1),
    ],
)
def test_nothing_to_draw(chart, tmp_path):
    assert is_empty(chart) and svg(chart) == ""
    (tmp_path / f"{chart.name}.png").write_bytes(b"of before")
    assert write_pictures(tmp_path, [chart]) == [] and not list(tmp_path.iterdir())


def test_the_reference_alone_has_its_colour():
    numbers = [LINE_COLOURS.index(colour(place)) for place in range(10)]
    assert numbers == [0, 1, 2, 3, 4, 5, 6, 7, 1, 2]
    assert len({light for light, _ in COLOURS.values()}) == len(COLOURS)


def test_colours_are_the_pages_and_nothing_is_shared_between_charts():
    text = svg(LINES)
    assert {"var(--c0)", "var(--c1)", "var(--faint)", "var(--rule)"} <= set(
        re.findall(r"var\([\w-]+\)", text)
    )
    assert not re.findall("#[0-9a-f]{3}", text)
    assert not re.search(r" id=|<style|url\(|href|<!--|xmlns", text)


def test_texts_are_shown_as_they_are():
    odd = "$x_$ <b>&amp; #0067a5 \x1b\n\ufffe" + "long " * 30
    name = f"_{odd}"
    chart = LineChart("c", odd, odd, [Series(name, 1, [1, 2], [0.1, 0.2])], [Mark(1.0, odd)])
    tree = drawn(chart)
    texts = " ".join(" ".join(tree.itertext()).split())
    assert texts.count("$x_$ <b>&amp; #0067a5 \\x1b\\n") == 3 and "_$x_$" in texts


def test_charts_do_not_depend_on_the_users_settings_and_leave_them(tmp_path):
    before = svg(LINES)
    with matplotlib.rc_context({"lines.linewidth": 9, "font.size": 30, "svg.fonttype": "path"}):
        kept = dict(matplotlib.rcParams)
        assert svg(LINES) == before
        (path,) = write_pictures(tmp_path, [LINES])
        assert dict(matplotlib.rcParams) == kept
    first = path.read_bytes()
    write_pictures(tmp_path, [LINES])
    assert path.read_bytes() == first
    with Image.open(path) as image:
        assert image.format == "PNG" and min(image.size) >= 500
