"""Charts are XML that says where things are."""

import re
from xml.etree import ElementTree

import pytest

from ufnrec_tf.report.charts import (
    HEIGHT,
    Bar,
    Histogram,
    LineChart,
    Mark,
    Series,
    colour,
    figure,
    forest,
    line_chart,
    nice_ticks,
)


def test_ticks_are_round_and_inside():
    assert nice_ticks(0, 10) == [0, 2, 4, 6, 8, 10]
    assert nice_ticks(0.11, 0.19, 4) == pytest.approx([0.12, 0.14, 0.16, 0.18])
    assert nice_ticks(-0.013, 0.013, 4) == pytest.approx([-0.01, 0.0, 0.01])
    assert nice_ticks(3, 3)


def test_a_forest_plot_puts_zero_in_the_middle():
    bars = [Bar("a<b", 1, -0.1, 0.0, 0.05, "text"), Bar("none", 2, None, None, None, "")]
    tree = ElementTree.fromstring(forest(bars, scale=0.1))
    mark = tree.find(".//circle")
    assert mark is not None
    assert mark.get("cx") == "50.00%"
    interval = tree.find(".//line[@class='interval c1']")
    assert interval is not None
    assert (interval.get("x1"), interval.get("x2")) == ("8.00%", "71.00%")
    assert len(tree.findall(".//circle")) == 1  # nothing where nothing is known
    assert tree.findall(".//div[@class='name']")[0].text == "a<b"


def test_a_line_chart_has_a_line_a_series_and_a_band():
    series = [
        Series("one", 0, [1, 2, 3], [0.1, None, 0.3], [0.1, 0.1, 0.2], [0.2, 0.3, 0.4]),
        Series("two", 1, [1, 3], [0.2, 0.1]),
    ]
    tree = ElementTree.fromstring(line_chart(series, title="T", x_label="epoch", digits=2))
    lines = tree.findall(".//polyline")
    assert [len(line.get("points", "").split()) for line in lines] == [2, 2]
    (band,) = tree.findall(".//polygon")
    assert len(band.get("points", "").split()) == 6
    # Up is more: of the second line the first point is above the last.
    first, last = (float(point.split(",")[1]) for point in lines[1].get("points", "").split())
    assert first < last
    assert re.findall("one|two", "".join(tree.itertext())) == ["one", "two", "one", "two"]


def test_nothing_to_draw():
    assert line_chart([Series("x", 0, [], [])], title="T", x_label="epoch", digits=2) == ""


def test_the_reference_alone_has_its_colour():
    assert [colour(place) for place in range(10)] == [0, 1, 2, 3, 4, 5, 6, 7, 1, 2]


def test_bars_are_as_high_as_their_counts():
    chart = Histogram("h", "a<b", "x", [0, 1, 2, 4], [2, 0, 8], [(1, "one"), (4, "2021-05-06")])
    tree = ElementTree.fromstring(figure(chart))
    bars = tree.findall(".//rect")
    heights = [float(bar.get("height", "")) for bar in bars]
    assert heights[0] == pytest.approx(heights[2] / 4, abs=0.1) and heights[1] == 0
    assert float(bars[2].get("width", "")) == pytest.approx(
        2 * float(bars[0].get("width", "")), abs=1.1
    )
    texts = [text.text for text in tree.findall(".//text")]
    assert {"one", "2021-05-06", "x"} <= set(texts) and tree.findall("figcaption")[0].text == "a<b"
    assert figure(chart._replace(edges=[], counts=[])) == ""


def test_a_mark_is_where_it_happened():
    series = [Series("s", 1, [0, 10], [0.0, 1.0])]
    chart = LineChart("c", "t", "epoch", 1, series, [Mark(5.0, "gate open"), Mark(11.0, "late")])
    tree = ElementTree.fromstring(figure(chart))
    (mark,) = tree.findall(".//line[@class='moment']")
    (line,) = tree.findall(".//polyline")
    ends = [float(point.split(",")[0]) for point in line.get("points", "").split()]
    assert float(mark.get("x1", "")) == pytest.approx(sum(ends) / 2, abs=0.1)
    assert float(mark.get("y2", "")) < HEIGHT and "late" not in "".join(tree.itertext())
