from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from dinocli.report.chart import Curve
from dinocli.report.page import Cell, Report, Table, write_report
from dinocli.report.page_parts import Charts, FactList, Listing, NoteList, Sheet, command_line
from dinocli.report.text import MAX_WORD_LENGTH

BAD = "<script src=//evil>\"'&\n\u202e\udcff"
SHOWN = "<script src=//evil>\"'&\\n\\u202e\\udcff"
PNG = b"\x89PNG\r\n\x1a\nnot a picture, but bytes"

FULL = Report(
    title="A title",
    verdict_outcome="better",
    verdict_sentence="A verdict.",
    verdict_details="The numbers.",
    parts=[
        Table("A table", ["score", "start", "change"], [["mrr", 0.5, "+0.1"], ["rank", 120.0, "–"]], "A note."),
        Charts([Curve("A curve", "step", "nats", [0, 1], {"loss": [2.0, 1.0]}, start=1.5)]),
        Sheet("A picture", PNG, "Below it."),
        FactList([("images", 1800), ("seconds", 2.5), ("folder", "./steel")]),
        Listing("Command line", "dinocli pretrain ./images"),
        Listing("recipe.toml", "steps = 5\nseed = 0", folded=True),
        NoteList(["A remark."]),
    ],
)


class Page(HTMLParser):
    """What a browser would see: tags with their attributes, and text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip() and "style" not in self.open:
            self.text.append(data.strip())


def written(path: Path, report: Report) -> str:
    write_report(path / "report.html", report)
    return (path / "report.html").read_text("utf-8")


def test_everything_given_is_shown_verdict_first(tmp_path: Path) -> None:
    page = Page(written(tmp_path, FULL))
    assert not page.open
    for text in ("A verdict.", "A table", "A note.", "A curve", "A picture", "A remark.", "1,800", "./steel", "0.500"):
        assert text in page.text, text
    assert {"Below it.", "dinocli pretrain ./images", "recipe.toml", "steps = 5\nseed = 0"} <= set(page.text)
    assert page.text[:5] == ["A title", "A title", "better", "A verdict.", "The numbers."]


def test_parts_that_are_not_given_leave_no_trace(tmp_path: Path) -> None:
    page = Page(written(tmp_path, Report("Only a title")))
    assert page.text == ["Only a title", "Only a title"]
    assert "section" not in dict(page.tags)


HOSTILE = [
    replace(FULL, title=BAD),
    replace(FULL, verdict_outcome=BAD),
    replace(FULL, verdict_sentence=BAD),
    replace(FULL, verdict_details=BAD),
    *(
        replace(FULL, parts=[part])
        for part in (
            FactList([(BAD, BAD)]),
            Table(BAD, [BAD], [[BAD]], BAD),
            Charts([Curve(BAD, BAD, BAD, [0, 1], {BAD: [0.0, 1.0]})]),
            Sheet(BAD, PNG, BAD),
            Listing(BAD, BAD.replace("\n", "\\n")),
            Listing(BAD, "", folded=True),
            NoteList([BAD]),
            NoteList(["fine"], BAD),
        )
    ),
]


@pytest.mark.parametrize("report", HOSTILE)
def test_every_string_is_escaped(tmp_path: Path, report: Report) -> None:
    page = Page(written(tmp_path, report))
    assert not page.open
    assert "script" not in dict(page.tags)
    assert any(SHOWN in text for text in page.text)


def test_nothing_is_fetched_and_no_script_may_run(tmp_path: Path) -> None:
    page = Page(written(tmp_path, FULL))
    assert not {"script", "link", "iframe", "a"} & {tag for tag, _ in page.tags}
    addresses = [value for _, attrs in page.tags for key, value in attrs.items() if key in ("src", "href")]
    assert addresses == ["data:image/png;base64,iVBORw0KGgpub3QgYSBwaWN0dXJlLCBidXQgYnl0ZXM="]
    policy = [attrs["content"] for tag, attrs in page.tags if tag == "meta" and "http-equiv" in attrs]
    assert policy == ["default-src 'none'; style-src 'unsafe-inline'; img-src data:"]
    html = written(tmp_path, FULL)
    assert not any(word in html for word in ("url(", "@import", "http://", "https://", "onload"))


def test_columns_of_numbers_are_flush_right(tmp_path: Path) -> None:
    cells: list[list[Cell]] = [["a", 1, "+0.1 to +0.3", "3.1 %"], ["b", 0.5, "–", "about 3 %"]]
    page = Page(written(tmp_path, Report("t", parts=[Table("t", ["w", "x", "y", "z"], cells)])))
    for wanted in ("th", "td"):
        classes = [attrs.get("class") for tag, attrs in page.tags if tag == wanted]
        assert classes[:4] == [None, "number", "number", None]


def test_an_empty_table_shows_its_header(tmp_path: Path) -> None:
    page = Page(written(tmp_path, Report("t", parts=[Table("t", ["name", "size"], [])])))
    assert page.text[-2:] == ["name", "size"]


def test_a_row_of_the_wrong_length_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="zip"):
        write_report(tmp_path / "r.html", Report("t", parts=[Table("t", ["name", "size"], [["a"]])]))


def test_the_same_report_is_the_same_file(tmp_path: Path) -> None:
    assert written(tmp_path, FULL) == written(tmp_path, FULL)


def test_the_style_has_rules_for_dark_and_narrow_screens(tmp_path: Path) -> None:
    html = written(tmp_path, FULL)
    assert "prefers-color-scheme: dark" in html
    assert ("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}) in Page(html).tags


def test_a_long_name_does_not_destroy_a_table(tmp_path: Path) -> None:
    name = "./" + "x" * 200 + "_0815.png"
    page = Page(
        written(tmp_path, Report("t", parts=[Table("t", ["image", "score"], [[name, 0.5], ["a b " * 60, 1.0]])]))
    )
    (shown,) = [text for text in page.text if "…" in text]
    assert len(shown) == MAX_WORD_LENGTH
    assert shown.startswith("./xxx")
    assert shown.endswith("_0815.png")
    assert ("span", {"title": name}) in page.tags
    assert ("a b " * 60).strip() in page.text, "words of a sentence can be wrapped"


def test_what_scrolls_can_be_reached_by_keyboard_and_has_a_name(tmp_path: Path) -> None:
    page = Page(written(tmp_path, FULL))
    regions = [attrs for tag, attrs in page.tags if tag == "div" and "scroll" in str(attrs.get("class"))]
    assert [region["aria-label"] for region in regions] == ["A table", "A picture", "Command line", "recipe.toml"]
    assert all((region["tabindex"], region["role"]) == ("0", "region") for region in regions)
    assert all(attrs["scope"] for tag, attrs in page.tags if tag == "th")
    assert ("img", {"alt": "A picture", "src": page_source(page)}) in page.tags


def page_source(page: Page) -> str | None:
    (source,) = (attrs["src"] for tag, attrs in page.tags if tag == "img")
    return source


def test_a_result_of_python_has_no_command_line() -> None:
    assert command_line(("/bin/dinocli", "embed", "a b")).text == "dinocli embed 'a b'"
    assert command_line((), "first").text == "(called from Python)"
    assert command_line((), "first").heading == "Command line of first"
