"""A window of one TIFF page: only the tiles or strips that it touches are read and decoded."""

import math
from typing import Any

import numpy as np

from dinocli.data.pixels import Pixels
from dinocli.data.tiff_pages import page_size
from dinocli.errors import DataError

Box = tuple[int, int, int, int]
"""Left, top, width, height: pixels of the page."""

_MAX_SEGMENT_BYTES = 2**27  # decoded size of a tile or strip; larger ones do not save memory
_JPEG = (6, 7, 33007, 34892)  # values of Compression whose tables lie outside of the tiles


def is_windowed(page: Any) -> bool:
    """Return whether windows of a page can be read without the rest of it."""
    rows, columns = _segment_size(page)
    nbytes = rows * columns * page.samplesperpixel * math.ceil(page.bitspersample / 8)
    return page.shaped[1] == 1 and (nbytes <= _MAX_SEGMENT_BYTES or _is_flat(page))


def window_samples(page: Any, box: Box) -> Pixels:
    """Decode a window of a page.

    Args:
        page: `tifffile.TiffPage` or `TiffFrame`.
        box: Left, top, width, height, pixels.

    Returns:
        (h, w, samples), as stored; tiles that are left out of the file have the nodata value.

    Raises:
        DataError: The window leaves the page.
        ValueError: A codec is missing, as raised by tifffile.
    """
    keyframe = page.keyframe
    left, top, width, height = box
    if top + height > page_size(keyframe)[0] or left + width > page_size(keyframe)[1]:
        raise DataError(f"the window leaves the {page_size(keyframe)[1]}x{page_size(keyframe)[0]} px of the page")
    planes, _, _, _, samples = keyframe.shaped
    if _is_flat(page):
        memory = page.parent.filehandle.memmap_array(
            np.dtype(page.parent.byteorder + keyframe.dtype.char), keyframe.shaped, page.dataoffsets[0]
        )
        window = np.array(memory[:, 0, top : top + height, left : left + width])
    else:
        window = np.full((planes, height, width, samples), keyframe.nodata, keyframe.dtype)
        for plane in range(planes):
            _paste_segments(window[plane], page, plane, left, top)
    return np.concatenate(list(window), axis=-1)


def _paste_segments(window: Pixels, page: Any, plane: int, left: int, top: int) -> None:
    """Decode the tiles or strips of one plane that touch the window, and paste them into it."""
    keyframe, (rows, columns) = page.keyframe, _segment_size(page)
    file, decode = page.parent.filehandle, keyframe.decode  # making the decoder moves the position in the file
    down, across = (math.ceil(whole / part) for whole, part in zip(page_size(keyframe), (rows, columns), strict=True))
    height, width = window.shape[:2]
    tables = {"jpegtables": page.jpegtables, "jpegheader": keyframe.jpegheader} if keyframe.compression in _JPEG else {}
    for row in range(top // rows, math.ceil((top + height) / rows)):
        for column in range(left // columns, math.ceil((left + width) / columns)):
            index = (plane * down + row) * across + column
            if not page.databytecounts[index]:
                continue
            file.seek(page.dataoffsets[index])
            segment, _, _ = decode(file.read(page.databytecounts[index]), index, **tables)
            y, x = row * rows - top, column * columns - left
            part = segment[0, max(0, -y) : height - y, max(0, -x) : width - x]
            window[max(0, y) : max(0, y) + part.shape[0], max(0, x) : max(0, x) + part.shape[1]] = part


def _segment_size(page: Any) -> tuple[int, int]:
    """Return (rows, columns) of a tile or strip."""
    if page.is_tiled:
        return int(page.tilelength), int(page.tilewidth)
    height, width = page_size(page)
    return min(int(page.rowsperstrip), height), width


def _is_flat(page: Any) -> bool:
    """Return whether the strips lie in the file as the pixels do in memory, so that the file can be mapped."""
    offsets, counts = np.array(page.dataoffsets), np.array(page.databytecounts)
    consecutive = bool((np.diff(offsets) == counts[:-1]).all())
    return bool(page.keyframe.is_contiguous) and not page.keyframe.is_tiled and consecutive
