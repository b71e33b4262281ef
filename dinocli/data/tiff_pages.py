"""The pages of a TIFF that are images of their own; thumbnails, overviews and masks stand in the same chain.

Of some stacks only the first plane has a directory: ImageJ, with stacks of more than 4 GB, MetaMorph and tifffile may
write the other planes right behind it. By the directories alone such a file is a single image.
"""

import math
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np

from dinocli.data.pixels import Mask, Pixels, apply_orientation
from dinocli.errors import DataError

WHITE_IS_ZERO, RGB = 0, 2
"""What the samples of a page mean."""

_BLACK_IS_ZERO = 1
_REDUCED, _MASK = 1, 4  # bits of NewSubfileType
_GDAL_NODATA, _MOST_NODATA = 42113, 16  # GDAL writes one value, other tools one a band
_FOLLOWING = 16  # pages behind an image among which its mask is looked for: overviews come first
_DIRECTORIES = 10_000  # most pages that are gone through: a chain can be a circle


def pages_of(file: Any) -> Iterator[Any]:
    """Yield the pages that are images of their own.

    Raw formats hold a thumbnail as the first page and the image in a sub-directory of it.
    """
    others, found = [], 0
    for page in islice(file.pages, _DIRECTORIES):
        if page.subfiletype & (_REDUCED | _MASK):
            others.append(page)
        else:
            found += 1
            yield page
    if found == 1 and not others:
        yield from islice(planes_behind(file), _DIRECTORIES)
    if found or not others:
        return
    nested = [page for page in others[0].pages or () if not page.subfiletype & (_REDUCED | _MASK)]
    yield from nested or others[:1]  # a file whose only image is marked as reduced


def page_of(file: Any, page: int) -> Any:
    """Return one page, counted from 0; a `DataError` if there is none."""
    count = 0
    for found in pages_of(file):
        if count == page:
            return found
        count += 1
    raise DataError(f"page {page} of a file with {count} (counted from 0)")


def page_size(page: Any) -> tuple[int, int]:
    """Return (h, w) as stored."""
    return int(page.imagelength), int(page.imagewidth)


def orientation(page: Any) -> int:
    """Return the turn that viewers make, as `apply_orientation` takes it."""
    tag = page.tags.get(274)
    return int(tag.value) if tag is not None else 1


def masked_pixels(file: Any, page: Any) -> Mask | None:
    """Return the pixels that a mask hides, which GIS tools write as a page behind their image; None without one."""
    if not isinstance(page.index, int):
        return None
    for mask in islice(file.pages, page.index + 1, page.index + 1 + _FOLLOWING):
        alike = page_size(mask) == page_size(page) and mask.samplesperpixel == 1
        if mask.subfiletype & _MASK and not mask.subfiletype & _REDUCED and alike:
            hidden = mask.asarray(maxworkers=1).reshape(*page_size(page), 1) == 0
            return apply_orientation(hidden, orientation(page))
        if not mask.subfiletype & (_MASK | _REDUCED):
            return None
    return None


def text_of(page: Any, code: int) -> str:
    """Return the text of a tag, empty where there is none."""
    tag = page.tags.get(code)
    return str(tag.value) if tag is not None else ""


def nodata_of(page: Any) -> tuple[float, ...]:
    """Return what GDAL_NODATA says, as the sample will be after decoding: negatives are turned, few bits are spread."""
    if page.photometric not in (WHITE_IS_ZERO, _BLACK_IS_ZERO, RGB):
        return ()  # of a palette it is an index
    bits, integer = page.bitspersample, page.sampleformat == 1
    found = []
    for word in text_of(page, _GDAL_NODATA).replace("\0", " ").replace(",", " ").split()[:_MOST_NODATA]:
        try:
            value = float(word)
        except ValueError:
            continue
        value = 2**bits - 1 - value if integer and page.photometric == WHITE_IS_ZERO else value
        found.append(value * 255 / (2**bits - 1) if integer and bits < 8 else value)
    return tuple(found)


class PlaneBehind:
    """A plane without a directory; it has all facts of the first one but the place of its pixels.

    Args:
        first: The `tifffile.TiffPage` of the first plane.
        offset: Bytes before the pixels.
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
    """Yield the planes behind the first one that have no directory, for most files none."""
    first = file.pages.first
    if not (first.is_imagej or first.is_shaped or first.is_stk):
        return
    series = file.series[0]
    if len(series.pages) != 1 or series.dataoffset is None or first.dtype is None:
        return
    nbytes = first.size * first.dtype.itemsize
    for number in range(1, math.prod(series.shape) // max(1, first.size)):
        yield PlaneBehind(first, series.dataoffset + number * nbytes)


def planes_of(file: Any, most: int) -> list[Any]:
    """Return the planes of the first series of a file, at most so many, with and without a directory."""
    return [*islice(file.series[0].pages, most), *islice(planes_behind(file), most)][:most]
