"""Charts are XML that says where things are."""

import re
from xml.etree import ElementTree

import pytest

from ufnrec_tf.chart_values import Bar, Series, colour, nice_ticks
from ufnrec_tf.charts import forest, line_chart


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
