"""Image pages of a TIFF, without the thumbnails, overviews and masks in the same chain of directories.

In some stacks only the first plane has a directory (IFD): ImageJ (stacks above 4 GB), MetaMorph and tifffile may write
the other planes directly behind it.
"""

import math
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np

from dinocli.data.pixels import Pixels
from dinocli.data.tag_values import valid_orientation
from dinocli.errors import DataError

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, YCBCR = 0, 1, 2, 3, 6
"""Values of PhotometricInterpretation."""

GDAL_METADATA = 42112
"""Tag."""

REDUCED, MASK = 1, 4
"""Bits of NewSubfileType."""

_MAX_DIRECTORIES = 10_000  # a damaged chain of directories can be a circle


def pages_of(file: Any) -> Iterator[Any]:
    """Yield the image pages of a file.

    Camera raw formats hold a thumbnail as first page, and the image in a sub-IFD of it.
    """
    others, count = [], 0
    for page in islice(file.pages, _MAX_DIRECTORIES):
        if page.subfiletype & (REDUCED | MASK):
            others.append(page)
        else:
            count += 1
            yield page
    if count == 1 and not others:
        yield from islice(planes_behind(file), _MAX_DIRECTORIES)
    if count or not others:
        return
    nested = [page for page in others[0].pages or () if not page.subfiletype & (REDUCED | MASK)]
    yield from nested or others[:1]  # a file whose only image is marked as reduced


def page_of(file: Any, page: int) -> Any:
    """Return one image page, from 0; `DataError` if there is none."""
    count = 0
    for candidate in pages_of(file):
        if count == page:
            return candidate
        count += 1
    if not count:
        raise DataError("no image directory: the file is truncated or damaged")
    raise DataError(f"page {page} of a file with {count} (counted from 0)")


def page_size(page: Any) -> tuple[int, int]:
    """Return (h, w) as stored."""
    return int(page.imagelength), int(page.imagewidth)


def orientation(page: Any) -> int:
    """Return the Orientation tag, as `apply_orientation` takes it; 1 without one."""
    tag = page.tags.get(274)
    return valid_orientation(tag.value if tag is not None else None)


def text_of(page: Any, code: int) -> str:
    """Return the text of a tag; empty without it."""
    tag = page.tags.get(code)
    return str(tag.value) if tag is not None else ""


class PlaneBehind:
    """A plane without a directory; it has the tags of the first plane, and its own offset.

    Args:
        first: `tifffile.TiffPage` of the first plane.
        offset: Offset of the pixels in the file, bytes.
    """

    index = None

    def __init__(self, first: Any, offset: int) -> None:
        self._first, self._offset = first, offset

    def __getattr__(self, name: str) -> Any:
        return getattr(self._first, name)

    def asarray(self, maxworkers: int = 1) -> Pixels:
        """Read the pixels as `tifffile.TiffPage.asarray` does; they are never compressed."""
        first = self._first
        stored = np.dtype(first.parent.byteorder + first.dtype.char)
        first.parent.filehandle.seek(self._offset)
        content = first.parent.filehandle.read(first.size * stored.itemsize)
        if len(content) < first.size * stored.itemsize:
            raise DataError("the file ends before the plane does")
        pixels: Pixels = np.frombuffer(content, stored).reshape(first.shape)
        return pixels


def planes_behind(file: Any) -> Iterator[PlaneBehind]:
    """Yield the planes behind the first one that have no directory; most files have none."""
    first = file.pages.first
    if not (first.is_imagej or first.is_shaped or first.is_stk):
        return
    series = file.series[0]
    if len(series.pages) != 1 or series.dataoffset is None or first.dtype is None:
        return
    nbytes = first.size * first.dtype.itemsize
    for number in range(1, math.prod(series.shape) // max(1, first.size)):
        yield PlaneBehind(first, series.dataoffset + number * nbytes)


def planes_of(file: Any, limit: int) -> list[Any]:
    """Return at most `limit` planes of the first series of a file, with and without a directory."""
    return [*islice(file.series[0].pages, limit), *islice(planes_behind(file), limit)][:limit]
