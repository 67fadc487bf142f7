"""Charts are well-formed, hold every value as drawing and as table, and show hostile names as text."""

import xml.etree.ElementTree as ET
from typing import Any

import pytest

from pyro_assets.web.drawing.charts import Line, bar_share, bin_times, time_chart

BEGIN_MS = 1795600000000
HOUR_MS = 3_600_000
HOSTILE = '</title><script>alert("x")</script>\n\u202e&amp;'


def drawn(lines: list[Line], **how: Any) -> ET.Element:
    how = {"title": "Total", "begin_ms": BEGIN_MS, "end_ms": BEGIN_MS + HOUR_MS} | how
    # HTML has an element that XML would have closed: where a name may be broken.
    return ET.fromstring(str(time_chart(lines, **how)).replace("<wbr>", ""))


def all_of(figure: ET.Element, tag: str) -> list[ET.Element]:
    return [one for one in figure.iter() if one.tag.rpartition("}")[2] == tag]


def texts(figure: ET.Element, tag: str) -> list[str]:
    return ["".join(one.itertext()) for one in all_of(figure, tag)]


def test_every_value_is_a_point_and_a_cell():
    points = [(BEGIN_MS + 60_000 * number, float(number * 10**9)) for number in range(10)]
    figure = drawn([Line("checkout", points)], unit="nanoseconds")
    titles = texts(figure, "title")
    assert len(titles) == len(all_of(figure, "circle")) == 10
    assert titles[3] == "checkout, 2026-11-25 09:49:40 UTC: 3 s"
    assert texts(figure, "td") == ["0 s", *(f"{number} s" for number in range(1, 10))]
    x = [float(one.attrib["cx"]) for one in all_of(figure, "circle")]
    y = [float(one.attrib["cy"]) for one in all_of(figure, "circle")]
    assert x == sorted(x)
    assert y == sorted(y, reverse=True)
    assert 0 < min(x) < max(x) < 880
    assert 0 < min(y) < max(y) < 200


def test_gaps_break_a_line():
    points = [(BEGIN_MS, 1.0), (BEGIN_MS + 1, 2.0), (BEGIN_MS + 2, None), (BEGIN_MS + 3, 1.0), (BEGIN_MS + 4, 1.0)]
    figure = drawn([Line("a", points), Line("b", [])])
    assert len(all_of(figure, "polyline")) == 2
    assert texts(figure, "li") == [" a", " b"]
    assert texts(figure, "td")[4] == "–"


@pytest.mark.parametrize("values", [[5.0, -5.0], [-1.0, -2.0], [0.0, 0.0], [1e18, 3.0], [1e-9, 2e-9]])
def test_bars_stand_on_zero_and_stay_inside(values: list[float]):
    points = [(BEGIN_MS + 60_000 * number, value) for number, value in enumerate(values)]
    figure = drawn([Line("a", points)], kind="bars", bar_ms=60_000)
    for bar in all_of(figure, "rect"):
        assert 0 <= float(bar.attrib["y"]) <= float(bar.attrib["y"]) + float(bar.attrib["height"]) <= 200
        assert float(bar.attrib["width"]) >= 1


@pytest.mark.parametrize("span_ms", [1, 1000, 61_000, HOUR_MS, 30 * HOUR_MS, 400 * 24 * HOUR_MS])
def test_axes_have_a_few_marks_however_long_the_time(span_ms: int):
    figure = drawn([Line("a", [(BEGIN_MS, 93.0)])], end_ms=BEGIN_MS + span_ms)
    marks = [one for one in all_of(figure, "line") if one.attrib["class"] == "tick"]
    assert len(marks) <= 8
    assert len(all_of(figure, "text")) - len(marks) == 6
    width, begins = bin_times(BEGIN_MS, BEGIN_MS + span_ms)
    assert begins[0] <= BEGIN_MS < begins[0] + width
    assert begins[-1] < BEGIN_MS + span_ms <= begins[-1] + width
    assert len(begins) <= 122


def test_hostile_names_are_text():
    figure = drawn([Line(HOSTILE, [(BEGIN_MS, 1.0)]), Line("b", [])], title=HOSTILE)
    assert not all_of(figure, "script")
    assert texts(figure, "title")[0].startswith('</title><script>alert("x")</script>\\n\\u202e&amp;, ')
    assert all("style" not in one.attrib for one in figure.iter())


def test_nothing_to_draw_is_said():
    assert "CPU: no values in this time." in "".join(drawn([Line("a", [(BEGIN_MS, None)])], title="CPU").itertext())


def test_shares_are_bars():
    bar = ET.fromstring(str(bar_share(0.5)))
    assert [one.attrib["width"] for one in bar] == ["100", "50.0"]
    assert str(bar_share(None)) == ""
