"""The samples of one TIFF page as an upright image: memory limit, bit depth, palette, alpha."""

import math
from dataclasses import replace
from typing import Any

import numpy as np

from dinocli.data.limits import Allowance, check_pixels
from dinocli.data.pixels import Decoded, Pixels, apply_orientation, unnamed_channels
from dinocli.data.tag_values import is_8_bit_map
from dinocli.data.tiff_nodata import nodata_of
from dinocli.data.tiff_pages import RGB, WHITE_IS_ZERO, YCBCR, orientation, page_size
from dinocli.data.tiff_window import Box, window_samples
from dinocli.errors import DataError

ASSOCIATED, UNASSOCIATED = 1, 2
"""Values of ExtraSamples: alpha that the colour is multiplied by, and alpha that it is not."""

SEPARATE = 2
"""PlanarConfiguration of bands that are stored one after the other."""

_OFFSET_BYTES = 4  # minimum size of the offset that the file stores for each tile or strip


def reserve_page(page: Any, planes: int, allowance: Allowance, file_bytes: int, box: Box | None = None) -> None:
    """Check the memory for a number of pages, and refuse more tiles or strips than the file can list.

    With a box, only that window of the pages is read.
    """
    height, width = (box[3], box[2]) if box else page_size(page)
    check_pixels(height, width)
    rows, columns = (page.tilelength, page.tilewidth) if page.is_tiled else (min(page.rowsperstrip, height), width)
    tiles = math.ceil(height / max(1, rows)) * math.ceil(width / max(1, columns))
    tiles *= page.samplesperpixel if page.planarconfig == SEPARATE else 1
    if tiles > 1 and _OFFSET_BYTES * tiles > file_bytes:
        raise DataError(f"a file of {file_bytes:,} bytes claims {tiles:,} tiles: it is damaged")
    samples = planes * page.samplesperpixel * max(height * width, rows * columns)
    allowance.reserve(height, width, samples * max(8, page.bitspersample) // 8, file_bytes)


def page_samples(page: Any, box: Box | None = None) -> Pixels:
    """Decode a page to (h, w, samples), native byte order, BlackIsZero, fewer than 8 bits scaled to 0 to 255.

    Signed and float values are not inverted: their white is not defined.

    With a box (left, top, width, height), only that window is read.
    """
    axes: str = page.axes
    keyframe = page.keyframe  # other pages of a series lack most tags
    pixels: Pixels
    if box is None:
        pixels = page.asarray(maxworkers=1)
    else:
        axes, pixels = "YXS", window_samples(page, box)
    if "S" not in axes:
        axes, pixels = axes + "S", pixels[..., None]
    if sorted(axes) != ["S", "X", "Y"]:
        raise DataError(f"a page with axes {page.axes} is not a flat image")
    pixels = np.moveaxis(pixels, axes.index("S"), -1)
    if pixels.dtype == bool:
        pixels = pixels.astype(np.uint8) * 255
    elif keyframe.bitspersample < 8 and pixels.dtype == np.uint8:
        pixels = np.rint(pixels * (255 / (2**keyframe.bitspersample - 1))).astype(np.uint8)
    pixels = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    if keyframe.photometric == WHITE_IS_ZERO and pixels.dtype.kind == "u":
        pixels = pixels.dtype.type(2 ** max(8, keyframe.bitspersample) - 1) - pixels
    return pixels


def palette_colours(page: Any, box: Box | None = None) -> Pixels:
    """Return the RGB colours of a page with palette: 16 bits for 16-bit indices, else 8 bits.

    Some writers fill the 16-bit map with 8-bit values.
    """
    index = page.asarray(maxworkers=1) if box is None else window_samples(page, box)[..., 0]
    colours: Pixels = np.ascontiguousarray(page.colormap.T)[index]
    colours = colours * 257 if is_8_bit_map(page.colormap) else colours
    return colours if page.bitspersample > 8 else (colours >> 8).astype(np.uint8)


def upright_page(pixels: Pixels, page: Any) -> Decoded:
    """Turn pixels (h, w, channels) as the orientation tag of a page says; its nodata values come along."""
    upright = apply_orientation(pixels, orientation(page))
    not_inverted = page.photometric == WHITE_IS_ZERO and pixels.dtype.kind != "u"
    size = upright.shape[0], upright.shape[1]
    return Decoded(upright, size, nodata=nodata_of(page), not_inverted=not_inverted)


def split_alpha(pixels: Pixels, page: Any) -> Decoded:
    """Split the samples of a page into grey or RGB, and alpha if ExtraSamples says so."""
    count, extra = pixels.shape[-1], tuple(int(kind) for kind in page.extrasamples)
    colours = 3 if page.photometric in (RGB, YCBCR) else 1
    if count == colours + 1 and extra[:1] in ((ASSOCIATED,), (UNASSOCIATED,)):
        image = upright_page(pixels, page)
        colour, alpha = image.colour[..., :-1], image.colour[..., -1:]
        return replace(image, colour=colour, alpha=alpha, premultiplied=extra[0] == ASSOCIATED)
    if count in (1, 3):
        return upright_page(pixels, page)
    if count == 4 and colours == 3:  # RGB and a sample that is not alpha, such as near infrared
        return replace(upright_page(pixels[..., :3], page), unread_channels=1)
    raise DataError(unnamed_channels(count))
