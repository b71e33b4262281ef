import math

import pytest

from dinocli.report.text import (
    byte_size,
    cell_text,
    difference,
    html_text,
    middle_ellipsis,
    number,
    score,
    sentence_html,
    visible,
)


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
def test_control_characters_are_made_visible(raw: str, shown: str) -> None:
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
def test_numbers_have_readable_digits(value: float, shown: str) -> None:
    assert number(value) == shown


@pytest.mark.parametrize(
    ("text", "widest", "shown"),
    [("abcdef", 6, "abcdef"), ("abcdefg", 6, "abc…fg"), ("abcdefg", 5, "ab…fg"), ("abc", 1, "…"), ("", 0, "")],
)
def test_the_middle_is_cut(text: str, widest: int, shown: str) -> None:
    assert middle_ellipsis(text, widest) == shown


def test_the_middle_is_cut_by_any_measure() -> None:
    double = middle_ellipsis("温" * 20, 11, lambda text: sum(2 if c == "温" else 1 for c in text))
    assert double == "温温温…温温"


def test_options_in_a_sentence_are_not_broken_at_their_hyphens() -> None:
    text = 'Try --threshold "<0.4" (or --min-area=3), not well--known pages of a--b.'
    assert sentence_html(text) == (
        'Try <span class="option">--threshold</span> &quot;&lt;0.4&quot; '
        '(or <span class="option">--min-area</span>=3), not well--known pages of a--b.'
    )


def test_a_cell_keeps_a_long_name_as_its_tooltip() -> None:
    assert cell_text("a <b> c") == "a &lt;b&gt; c"
    long = "&quot;" * 49
    assert cell_text('"' * 49) == f'<span title="{long}">{"&quot;" * 24}…{"&quot;" * 23}</span>'


@pytest.mark.parametrize(
    ("size", "shown"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1 kB"), (13_420_000, "13.4 MB"), (5e9, "5 GB"), (2e12, "2 TB")],
)
def test_byte_sizes_have_units(size: float, shown: str) -> None:
    assert byte_size(size) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.5, "0.500"), (0.00101, "0.001"), (-2.4304, "-2.430"), (51.179, "51.18"), (292.9, "292.9"), (math.nan, "–")],
)
def test_a_score_keeps_its_decimals(value: float, shown: str) -> None:
    assert score(value) == shown


@pytest.mark.parametrize(
    ("value", "reference", "shown"),
    [
        (0.8225, 0.7925, "+0.030"),
        (0.5, 0.5000115, "+0.000"),
        (51.18, 41.97, "+9.21"),
        (2.0, 2.0, "+0.000"),
        (1, math.nan, "–"),
    ],
)
def test_a_difference_has_the_decimals_of_its_scores(value: float, reference: float, shown: str) -> None:
    assert difference(value, reference) == shown
