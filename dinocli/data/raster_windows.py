"""Windows of rasters that are too large to be read at once: each is an image of its own.

The path of a window is that of the file, then its place in pixels and its size: the second window of `scene.tif` is
`scene.tif/y000000_x001024_1024x1024.tif`.
"""

import math
import os
import re
from itertools import pairwise, product

import tifffile

from dinocli.data.limits import MAX_PIXELS
from dinocli.data.tiff_pages import orientation, page_of, page_size
from dinocli.data.tiff_window import Box, is_windowed
from dinocli.errors import DataError

WINDOW = 1024
"""Side of the windows of a raster that is too large, pixels."""

MAX_BYTES = 2**30
"""Decoded size above which a TIFF is too large."""

_MIN_FILE_BYTES = 2**24  # smaller files are not opened while listing: even photographs compress by less than 64
_PATH = re.compile(r"(.+\.tiff?)/y(\d{6,9})_x(\d{6,9})_(\d{1,9})x(\d{1,9})\.tif", re.IGNORECASE)
_SUFFIXES = (".tif", ".tiff")


def split_window(path: str) -> tuple[str, Box | None]:
    """Split the path of a window into file and box; other paths are returned with None."""
    match = _PATH.fullmatch(path)
    if match is None or not os.path.isfile(match[1]):
        return path, None
    top, left, width, height = (int(number) for number in match.groups()[1:])
    return match[1], (left, top, width, height)


def window_paths(path: str, side: int = 0) -> list[str] | None:
    """Return the paths of the windows of a raster, row by row.

    Args:
        path: Any file.
        side: Side of the windows, pixels: every TIFF larger than one window has several. 0: only rasters that are too
            large (`MAX_BYTES`, `MAX_PIXELS`), by `WINDOW`.

    Returns:
        Empty for a file that is read as one image; None for a TIFF of which no window can be read: it is turned by its
        orientation tag, or compressed as a whole.
    """
    try:
        if not path.lower().endswith(_SUFFIXES) or (not side and os.path.getsize(path) < _MIN_FILE_BYTES):
            return []
        with tifffile.TiffFile(path) as file:
            page = page_of(file, 0)
            height, width = page_size(page)
            nbytes = height * width * page.samplesperpixel * math.ceil(page.bitspersample / 8)
            fits = max(height, width) <= side if side else nbytes <= MAX_BYTES and height * width <= MAX_PIXELS
            if fits:
                return []
            if orientation(page) != 1 or not is_windowed(page):
                return None
    except (OSError, ValueError, KeyError, IndexError, TypeError, DataError):  # reported when it is read
        return []
    rows, columns = pairwise(_edges(height, side or WINDOW)), [*pairwise(_edges(width, side or WINDOW))]
    return [
        f"{path}/y{top:06}_x{left:06}_{right - left}x{bottom - top}.tif"
        for (top, bottom), (left, right) in product(rows, columns)
    ]


def _edges(length: int, side: int) -> list[int]:
    """Return the edges of windows; a rest of less than half a window is part of the last one."""
    count = max(1, length // side + (2 * (length % side) >= side))
    return [*range(0, count * side, side), length]
