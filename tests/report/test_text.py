import math

import pytest

from dinocli.report.text import html_text, number, visible


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("./plain name.png", "./plain name.png"),
        ("Größe 温度 µm", "Größe 温度 µm"),
        ("95\u00a0%", "95\u00a0%"),  # a space of any width is harmless
        ("a\nb\tc", "a\\nb\\tc"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("gpj.\u202eexe", "gpj.\\u202eexe"),  # turns the reading direction around
        ("\udcff.png", "\\udcff.png"),  # a byte that is not UTF-8, as Python reads it from a folder
    ],
)
def test_visible(raw: str, shown: str) -> None:
    assert visible(raw) == shown
    shown.encode("utf-8")


def test_html_text_closes_no_tag_and_no_attribute() -> None:
    assert html_text("""<i>&"'""") == "&lt;i&gt;&amp;&quot;&#x27;"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (12345, "12,345"),
        (12345678901, "12,345,678,901"),
        (0.0, "0"),
        (12345.678, "12,346"),
        (143.24, "143.2"),
        (2.0, "2.000"),
        (0.61249, "0.612"),
        (0.08124, "0.0812"),
        (-0.5, "-0.500"),
        (2.5e-5, "2.5e-5"),
        (3e12, "3e12"),
        (math.nan, "–"),
        (-math.inf, "-∞"),
    ],
)
def test_number(value: float, shown: str) -> None:
    assert number(value) == shown
