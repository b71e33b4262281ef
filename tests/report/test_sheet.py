import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from dinocli.report.sheet import sheet_png

Picture = NDArray[np.uint8]
RED, GREEN, BLUE = (200, 0, 0), (0, 200, 0), (0, 0, 200)


def plain(height: int, width: int, colour: tuple[int, int, int]) -> Picture:
    return np.full((height, width, 3), colour, dtype=np.uint8)


def drawn(rows: list[list[Picture]], columns: list[str], names: list[str], cell: int = 64) -> Picture:
    png = sheet_png(rows, column_labels=columns, row_labels=names, cell=cell)
    with Image.open(io.BytesIO(png)) as image:
        assert image.format == "PNG"
        return np.asarray(image)


def box(sheet: Picture, colour: tuple[int, int, int]) -> tuple[int, int, int, int]:
    """Return top, bottom, left, right (inclusive) of all pixels of one colour."""
    y, x = np.nonzero((np.abs(sheet.astype(int) - colour) < 8).all(axis=2))
    return int(y.min()), int(y.max()), int(x.min()), int(x.max())


def test_each_picture_fills_its_own_cell() -> None:
    sheet = drawn([[plain(224, 224, RED), plain(32, 32, GREEN)], [plain(64, 64, BLUE)]], ["a", "b"], ["1", "2"])
    red, green, blue = (box(sheet, colour) for colour in (RED, GREEN, BLUE))
    for top, bottom, left, right in (red, green, blue):
        assert (bottom - top + 1, right - left + 1) == (64, 64)
    assert (green[0], green[2] - red[2]) == (red[0], 68)  # a column further
    assert (blue[0] - red[0], blue[2]) == (68, red[2])  # a row further


def test_proportions_are_kept_and_centred() -> None:
    sheet = drawn([[plain(64, 64, RED), plain(100, 200, GREEN), plain(200, 100, BLUE)]], list("abc"), ["1"])
    red, wide, tall = (box(sheet, colour) for colour in (RED, GREEN, BLUE))
    assert (wide[1] - wide[0] + 1, wide[3] - wide[2] + 1) == (32, 64)
    assert (tall[1] - tall[0] + 1, tall[3] - tall[2] + 1) == (64, 32)
    assert wide[0] - red[0] == 16
    assert tall[2] - red[2] == 2 * 68 + 16  # two columns further


def test_a_strip_keeps_a_pixel() -> None:
    top, bottom, left, right = box(drawn([[plain(1, 1000, RED)]], ["a"], ["1"]), RED)
    assert (bottom - top + 1, right - left + 1) == (1, 64)


def test_labels_are_drawn_above_and_beside() -> None:
    rows = [[plain(64, 64, RED)]]
    bare = drawn(rows, [""], [""])
    top, _, left, _ = box(bare, RED)
    assert (bare[:top] == bare[0, 0]).all()
    named = drawn(rows, ["global 1"], ["./a.png"])
    down, _, right, _ = box(named, RED)
    assert (named[: down - 4, right:] != named[0, 0]).any()
    assert (named[down:, : right - 4] != named[0, 0]).any()
    assert right > left  # room for the name


def test_long_and_hostile_names_do_not_widen_the_sheet() -> None:
    rows = [[plain(64, 64, RED)]]
    sheet = drawn(rows, ["c" * 300], ["x\n\udcff" * 500])
    assert sheet.shape[1] < 280
    edge = box(sheet, RED)[2] - 8
    assert (sheet[:, edge : edge + 4] == sheet[0, 0]).all()  # names end before the pictures


def test_cell_sets_the_size() -> None:
    rows = [[plain(64, 64, RED)]]
    small, large = (drawn(rows, ["a"], ["1"], cell=cell) for cell in (32, 96))
    assert large.shape[0] - small.shape[0] == large.shape[1] - small.shape[1] == 64


def test_a_long_name_keeps_both_ends() -> None:
    names = ["./" + "a" * 80 + f"_{end}.png" for end in ("0001", "0002")]
    first, second = (drawn([[plain(64, 64, RED)]], ["a"], [name]) for name in names)
    assert (first != second).any()


@pytest.mark.parametrize(("columns", "names"), [(["a"], ["1"]), (["a", "b"], [])])
def test_labels_must_match(columns: list[str], names: list[str]) -> None:
    row = [plain(8, 8, RED), plain(8, 8, RED)]
    with pytest.raises(ValueError, match=r"1 rows of 2 pictures"):
        sheet_png([row], column_labels=columns, row_labels=names)


def test_captions_stand_below_their_own_picture() -> None:
    rows = [[plain(64, 64, RED), plain(64, 64, GREEN)], [plain(64, 64, BLUE), plain(64, 64, GREEN)]]
    labels = {"column_labels": ["a", "b"], "row_labels": ["1", "2"]}
    bare = sheet_png(rows, **labels, cell=64)
    told = sheet_png(rows, **labels, captions=[["", "x"], ["one\ntwo\nthree", ""]], cell=64)
    without, sheet = (np.asarray(Image.open(io.BytesIO(png))) for png in (bare, told))
    assert sheet.shape[0] - without.shape[0] == (14 + 4) + (3 * 14 + 4)
    paper, (_, end, left, right) = sheet[0, 0], box(sheet, RED)
    below = sheet[end + 1 : end + 18]
    assert (below[:, left : right + 1] == paper).all(), "no caption"
    assert (below[:, right + 5 :] != paper).any()
    _, end, left, right = box(sheet, BLUE)
    assert all((sheet[end + 1 + n * 14 : end + 15 + n * 14, left : right + 1] != paper).any() for n in range(3))


def test_names_are_reduced_to_the_glyphs_of_the_font() -> None:
    rows = [[plain(64, 64, RED)]]
    shown = drawn(rows, [""], ["Müller ß 日…°"])
    assert (shown == drawn(rows, [""], ["Muller \\xdf \\u65e5…°"])).all()
