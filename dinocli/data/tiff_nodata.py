"""Pixels of a TIFF without a value: by the tag GDAL_NODATA, or by a mask page.

`dinocli.data.pixels.Decoded.nodata_mask` finds the pixels with these values and with those of `--nodata`.
"""

from collections.abc import Callable
from itertools import islice
from typing import Any

from dinocli.data.pixels import Mask, Pixels, apply_orientation
from dinocli.data.tiff_pages import BLACK_IS_ZERO, MASK, REDUCED, RGB, WHITE_IS_ZERO, orientation, page_size, text_of

_GDAL_NODATA = 42113  # tag
_MAX_NODATA_VALUES = 16  # GDAL writes one value, other tools one per band
_MAX_MASK_DISTANCE = 16  # pages after an image among which its mask is searched: overviews come first


def nodata_of(page: Any) -> tuple[float, ...]:
    """Return the values of GDAL_NODATA as they are after decoding: inverted if WhiteIsZero, scaled if below 8 bits."""
    if page.photometric not in (WHITE_IS_ZERO, BLACK_IS_ZERO, RGB):
        return ()  # a palette index
    bits, integer = page.bitspersample, page.sampleformat == 1
    values = []
    for word in text_of(page, _GDAL_NODATA).replace("\0", " ").replace(",", " ").split()[:_MAX_NODATA_VALUES]:
        try:
            value = float(word)
        except ValueError:
            continue
        value = 2**bits - 1 - value if integer and page.photometric == WHITE_IS_ZERO else value
        values.append(value * 255 / (2**bits - 1) if integer and bits < 8 else value)
    return tuple(values)


def masked_pixels(file: Any, page: Any, read: Callable[[Any], Pixels]) -> Mask | None:
    """Return the pixels that a mask page hides; GIS tools write it after its image. None without one.

    Args:
        file: `tifffile.TiffFile`.
        page: Page of the image.
        read: Reads the mask page, (h, w, 1).
    """
    if not isinstance(page.index, int):
        return None
    for mask in islice(file.pages, page.index + 1, page.index + 1 + _MAX_MASK_DISTANCE):
        fits = page_size(mask) == page_size(page) and mask.samplesperpixel == 1
        if mask.subfiletype & MASK and not mask.subfiletype & REDUCED and fits:
            return apply_orientation(read(mask) == 0, orientation(page))
        if not mask.subfiletype & (MASK | REDUCED):
            return None
    return None
