import math
import re
from xml.etree import ElementTree

from dinocli.report.chart import Curve, line_chart


def parse(curve: Curve) -> ElementTree.Element:
    """Return the figure; parsing as XML proves that every tag is closed and every string escaped."""
    return ElementTree.fromstring(line_chart(curve))


def by_class(figure: ElementTree.Element, name: str) -> list[ElementTree.Element]:
    chart = figure.find("svg")
    assert chart is not None
    return [element for element in chart if name in element.get("class", "").split()]


def words(figure: ElementTree.Element) -> str:
    return " ".join(text.strip() for text in figure.itertext() if text.strip())


def points(element: ElementTree.Element) -> list[tuple[float, float]]:
    return [(float(a), float(b)) for a, b in re.findall(r"([\d.-]+),([\d.-]+)", element.get("points", ""))]


def test_a_rising_series_rises_on_the_page() -> None:
    figure = parse(Curve("Loss", "step", "nats", [0, 10, 20], {"student": [0.0, 5.0, 10.0]}))
    (line,) = by_class(figure, "line")
    across, height = zip(*points(line), strict=True)
    assert across == (44, 195, 346)
    assert height == (154, 81, 8)  # SVG counts downwards
    assert "Loss nats" in words(figure)
    assert "student 10.00" in words(figure)


def test_start_is_dashed_at_its_value_and_inside_the_chart() -> None:
    curve = Curve("RankMe", "step", "", [0, 10], {"teacher": [40.0, 50.0]}, start=0.0)
    (start,) = by_class(parse(curve), "start")
    assert start.get("y1") == start.get("y2") == "154.0"
    assert "start 0" in words(parse(curve))
    for none in (None, math.nan):
        curve = Curve("RankMe", "step", "", [0, 10], {"teacher": [40.0, 50.0]}, start=none)
        assert not by_class(parse(curve), "start")


def test_values_that_are_not_finite_leave_a_gap() -> None:
    values = [1.0, 2.0, math.nan, math.inf, 3.0, 4.0, math.nan, 5.0, math.nan]
    figure = parse(Curve("Loss", "step", "", list(range(9)), {"a": values}))
    assert [len(points(line)) for line in by_class(figure, "line")] == [2, 2]
    assert len(by_class(figure, "dot")) == 1  # a lone point between two gaps
    assert "a 5.000" in words(figure)


def test_a_series_without_finite_values_gets_a_text() -> None:
    for values in ([], [math.nan, math.nan]):
        figure = parse(Curve("Loss", "step", "", list(range(len(values))), {"a": values}, start=1.0))
        assert "No finite values" in words(figure)
        assert figure.find("svg") is None


def test_a_long_noisy_series_is_a_mean_in_a_band() -> None:
    values = [float(step % 2) for step in range(10_000)]
    figure = parse(Curve("Loss", "step", "", list(range(10_000)), {"a": values}))
    (line,), (band,) = by_class(figure, "line"), by_class(figure, "band")
    heights = {height for _, height in points(line)}
    assert len(points(line)) <= 150
    assert all(76 <= height <= 86 for height in heights)  # the mean of 0 and 1, half way up
    assert {height for _, height in points(band)} == {8, 154}


def test_a_short_series_keeps_every_point_and_has_no_band() -> None:
    values = [float(step % 2) for step in range(150)]
    figure = parse(Curve("Loss", "step", "", list(range(150)), {"a": values}))
    assert len(points(by_class(figure, "line")[0])) == 150
    assert not by_class(figure, "band")


def test_each_series_has_its_own_style_and_legend() -> None:
    figure = parse(Curve("x", "step", "", [0, 1], {f"name {n}": [0.0, n] for n in range(4)}))
    assert [line.get("class") for line in by_class(figure, "line")] == [f"line s{n}" for n in range(4)]
    assert len(figure.findall("ul/li")) == 4


def test_hostile_names_stay_names() -> None:
    bad = "</svg><script>alert(1)</script>\"'&\x00"
    figure = parse(Curve(bad, bad, bad, [0, 1], {bad: [0.0, 1.0]}))
    assert not list(figure.iter("script"))
    assert words(figure).count("</svg><script>alert(1)</script>\"'&\\x00") == 4
