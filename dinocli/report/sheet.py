"""Contact sheets: many small pictures on one, with names at the edges.

Shapes: h w pixels of one picture, which may differ from picture to picture.
"""

import io
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from dinocli.files import write_whole
from dinocli.report.text import visible

_PAPER, _INK = (252, 252, 250), (70, 76, 82)
_GAP, _FONT_SIZE, _WIDEST_LABEL = 4, 13, 180


def contact_sheet(
    path: Path,
    rows: Sequence[Sequence[NDArray[np.uint8]]],
    *,
    column_labels: Sequence[str],
    row_labels: Sequence[str],
    cell: int = 128,
) -> None:
    """Write the PNG of `sheet_png` to a file, replaced as a whole.

    Raises:
        OSError: If the file cannot be written.
    """
    write_whole(path, sheet_png(rows, column_labels=column_labels, row_labels=row_labels, cell=cell))


def sheet_png(
    rows: Sequence[Sequence[NDArray[np.uint8]]],
    *,
    column_labels: Sequence[str],
    row_labels: Sequence[str],
    cell: int = 128,
) -> bytes:
    """Draw pictures as a labelled grid, and return it as a PNG file.

    Every picture is scaled to fit its square cell with its proportions kept, up as well as down, and centred. A sheet
    is to be looked at, so do not measure on it.

    Args:
        rows: RGB pictures of shape (h, w, 3), 0-255; a row may be shorter than the others.
        column_labels: One for each column; too long ones lose their middle.
        row_labels: One for each row; empty for none.
        cell: Side of a cell, pixels.

    Raises:
        ValueError: If labels and pictures do not match in number.
    """
    columns = max(map(len, rows), default=0)
    if (len(row_labels), len(column_labels)) != (len(rows), columns):
        labels = f"{len(row_labels)} row labels, {len(column_labels)} column labels"
        raise ValueError(f"{labels} for {len(rows)} rows of {columns} pictures")
    font = ImageFont.load_default(_FONT_SIZE)
    names = [_shorten(label, font, _WIDEST_LABEL) for label in row_labels]
    left = _GAP + round(max(map(font.getlength, names), default=0)) + 2 * _GAP
    top, pitch = _FONT_SIZE + 4 * _GAP, cell + _GAP
    sheet = Image.new("RGB", (left + columns * pitch, top + len(rows) * pitch), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for place, label in enumerate(column_labels):
        middle = left + place * pitch + cell // 2
        draw.text((middle, top // 2), _shorten(label, font, cell), _INK, font, anchor="mm")
    for line, (name, row) in enumerate(zip(names, rows, strict=True)):
        draw.text((left - 2 * _GAP, top + line * pitch + cell // 2), name, _INK, font, anchor="rm")
        for place, picture in enumerate(row):
            _paste(sheet, picture, left + place * pitch, top + line * pitch, cell)
    file = io.BytesIO()
    sheet.save(file, "PNG")
    return file.getvalue()


def _paste(sheet: Image.Image, picture: NDArray[np.uint8], left: int, top: int, cell: int) -> None:
    """Scale a picture into its cell; a very thin one keeps at least one pixel."""
    height, width = picture.shape[:2]
    scale = cell / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    image = Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS)
    sheet.paste(image, (left + (cell - size[0]) // 2, top + (cell - size[1]) // 2))


def _shorten(label: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, widest: float) -> str:
    """Cut the middle out of a label that is too wide: file names differ at their ends."""
    label = visible(label)
    if font.getlength(label) <= widest:
        return label

    def cut(keep: int) -> str:
        return f"{label[: (keep + 1) // 2]}...{label[len(label) - keep // 2 :]}"

    return cut(max(0, bisect_right(range(len(label)), widest, key=lambda keep: font.getlength(cut(keep))) - 1))
