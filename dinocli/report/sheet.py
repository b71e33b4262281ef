"""Contact sheets: labelled grids of small pictures.

Shapes: h w pixels of a picture, which may differ between pictures.
"""

import io
import unicodedata
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from dinocli.artifacts.protected_files import SOFTWARE
from dinocli.report.text import escaped, middle_ellipsis, visible

_PAPER, _INK = (252, 252, 250), (70, 76, 82)
_GAP, _FONT_SIZE, _MAX_LABEL_WIDTH = 4, 13, 180
_CAPTION_FONT_SIZE, _LINE_HEIGHT = 11, 14
_GLYPHS = frozenset("©«°±´·»…")
"""Non-ASCII characters of Pillow's built-in font, the only font that exists on every machine."""


def sheet_png(
    rows: Sequence[Sequence[NDArray[np.uint8]]],
    *,
    column_labels: Sequence[str],
    row_labels: Sequence[str],
    captions: Sequence[Sequence[str]] = (),
    cell: int = 128,
) -> bytes:
    """Draw a labelled grid of pictures, and return it as PNG bytes.

    Each picture is scaled up or down to fit its square cell, aspect ratio kept, and centred. Sheets are for viewing,
    not for measuring.

    Args:
        rows: RGB pictures, (h, w, 3), 0-255; rows may differ in length.
        column_labels: Label of each column; long ones are shortened in the middle.
        row_labels: Label of each row; an empty label for none.
        captions: Text below each picture, one or more lines; empty for no captions.
        cell: Side of a cell, pixels.

    Raises:
        ValueError: The numbers of labels and pictures do not match.
    """
    columns = max(map(len, rows), default=0)
    if (len(row_labels), len(column_labels)) != (len(rows), columns):
        labels = f"{len(row_labels)} row labels, {len(column_labels)} column labels"
        raise ValueError(f"{labels} for {len(rows)} rows of {columns} pictures")
    font, small = ImageFont.load_default(_FONT_SIZE), ImageFont.load_default(_CAPTION_FONT_SIZE)
    names = [middle_ellipsis(_drawable(label), _MAX_LABEL_WIDTH, font.getlength) for label in row_labels]
    left, pitch = _GAP + round(max(map(font.getlength, names), default=0)) + 2 * _GAP, cell + _GAP
    tops = _row_tops(len(rows), pitch, captions)
    sheet = Image.new("RGB", (left + columns * pitch, tops[-1]), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for column, label in enumerate(column_labels):
        middle = left + column * pitch + cell // 2
        title = middle_ellipsis(_drawable(label), cell, font.getlength)
        draw.text((middle, tops[0] // 2), title, _INK, font, anchor="mm")
    for top, name, row in zip(tops, names, rows, strict=False):
        draw.text((left - 2 * _GAP, top + cell // 2), name, _INK, font, anchor="rm")
        for column, picture in enumerate(row):
            _paste(sheet, picture, left + column * pitch, top, cell)
    for top, texts in zip(tops, captions, strict=False):
        for column, text in enumerate(texts):
            for number, line in enumerate(text.splitlines()):
                shown = middle_ellipsis(_drawable(line), cell, small.getlength)
                draw.text((left + column * pitch, top + cell + number * _LINE_HEIGHT), shown, _INK, small)
    file, about = io.BytesIO(), PngInfo()
    about.add_text("Software", SOFTWARE)
    sheet.save(file, "PNG", pnginfo=about, compress_level=1)  # 3 times faster than level 6, same size
    return file.getvalue()


def _drawable(text: str) -> str:
    r"""Reduce text to the characters of the font: accents are dropped, other characters escaped as `\u65e5`."""
    shown = (c if c in _GLYPHS else unicodedata.normalize("NFKD", c) for c in unicodedata.normalize("NFC", text))
    plain = "".join(c for c in "".join(shown) if not unicodedata.combining(c))
    return "".join(c if c.isascii() or c in _GLYPHS else escaped(c) for c in visible(plain))


def _row_tops(rows: int, pitch: int, captions: Sequence[Sequence[str]]) -> list[int]:
    """Return the top of each row and the bottom of the last, pixels; each row has room for its longest caption."""
    tops = [_FONT_SIZE + 4 * _GAP]
    for row in range(rows):
        lines = max((len(text.splitlines()) for text in captions[row]), default=0) if captions else 0
        tops.append(tops[-1] + pitch + lines * _LINE_HEIGHT + bool(lines) * _GAP)
    return tops


def _paste(sheet: Image.Image, picture: NDArray[np.uint8], left: int, top: int, cell: int) -> None:
    """Scale a picture into its cell; each side keeps at least one pixel."""
    height, width = picture.shape[:2]
    scale = cell / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    image = Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS)
    sheet.paste(image, (left + (cell - size[0]) // 2, top + (cell - size[1]) // 2))
