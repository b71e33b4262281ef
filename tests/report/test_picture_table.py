"""Tables of framed pictures, for eyes and for screen readers."""

from pathlib import Path

import pytest

from dinocli.report.confusion_table import ConfusionMatrix, ConfusionTables
from dinocli.report.page import Report
from dinocli.report.picture import Picture
from dinocli.report.picture_table import FramedPicture, PictureRow, PictureTable
from tests.report.test_page import BAD, SHOWN, Page, written

PICTURE = Picture(b"bytes", "image/webp")
SUBJECT = FramedPicture(PICTURE, "./a.png", "cat")
RIGHT, WRONG = FramedPicture(PICTURE, "./b.png", "cat", "right"), FramedPicture(PICTURE, "./c.png", "dog", "wrong")


def shown(tmp_path: Path, table: PictureTable | ConfusionTables) -> Page:
    return Page(written(tmp_path, Report("t", parts=[table])))


def test_a_subject_spans_its_rows(tmp_path: Path) -> None:
    rows = [
        PictureRow(["start"], [RIGHT, WRONG], SUBJECT),
        PictureRow(["adapted"], [RIGHT, RIGHT]),
        PictureRow(["start"], [WRONG], SUBJECT),
    ]
    page = shown(tmp_path, PictureTable("Neighbours", ["image", "by", "nearest"], rows, "A note.", "First."))
    spans = [attrs["rowspan"] for tag, attrs in page.tags if tag == "th" and "rowspan" in attrs]
    assert spans == ["2", "1"]
    assert [attrs.get("colspan") for tag, attrs in page.tags if tag == "th"][:3] == [None, None, "2"]
    assert {"First.", "A note.", "start", "adapted"} <= set(page.text)


def test_right_and_wrong_differ_by_sign_word_and_frame(tmp_path: Path) -> None:
    page = shown(tmp_path, PictureTable("t", ["", ""], [PictureRow(["x"], [RIGHT, WRONG, SUBJECT])]))
    assert [attrs["alt"] for tag, attrs in page.tags if tag == "img"] == ["./b.png, right", "./c.png, wrong", "./a.png"]
    assert {"✓", "✗"} <= set(page.text)
    assert [attrs["class"] for tag, attrs in page.tags if tag == "figure"] == ["small right", "small wrong", "small "]


def test_a_table_without_rows_is_left_out(tmp_path: Path) -> None:
    assert "section" not in dict(shown(tmp_path, PictureTable("t", ["", ""], [])).tags)


@pytest.mark.parametrize(
    "table",
    [
        PictureTable(BAD, ["a", "b"], [PictureRow(["x"], [RIGHT])]),
        PictureTable("t", ["a", BAD], [PictureRow(["x"], [RIGHT])]),
        PictureTable("t", ["a", "b"], [PictureRow([BAD], [RIGHT])], lead=BAD),
        PictureTable("t", ["a", "b"], [PictureRow(["x"], [FramedPicture(PICTURE, BAD, "c")])], BAD),
        ConfusionTables("t", [ConfusionMatrix(BAD, ["a"], [[1]])]),
        ConfusionTables("t", [ConfusionMatrix("m", [BAD], [[1]])]),
    ],
)
def test_every_string_of_a_table_is_escaped(tmp_path: Path, table: PictureTable | ConfusionTables) -> None:
    page = shown(tmp_path, table)
    assert not page.open
    assert "script" not in dict(page.tags)
    assert any(SHOWN in text for text in [*page.text, *(str(value) for _, a in page.tags for value in a.values())])


def test_a_confusion_matrix_tells_right_from_wrong_and_full_from_empty(tmp_path: Path) -> None:
    matrix = ConfusionMatrix("start", ["cat", "dog"], [[9, 1], [0, 4]])
    page = shown(tmp_path, ConfusionTables("Confusions", [matrix], "Counts."))
    cells = [attrs["class"] for tag, attrs in page.tags if tag == "td"]
    assert cells == [
        "number heat6 right",
        "number heat1 wrong",
        "number",
        "number heat0 wrong",
        "number heat6 right",
        "number",
    ]
    assert page.text[-9:] == ["1. cat", "9", "1", "10", "2. dog", "0", "4", "4", "Counts."]
    assert ("th", {"scope": "col", "class": "number", "title": "dog"}) in page.tags
