"""TIFF, the format of microscopes, detectors and satellites, read without losing a bit.

PIL cuts 16-bit colour to 8 bits and refuses more than four channels; tifffile reads both but cannot decompress LZW and
some others without an extra package. So tifffile reads what it can, and what is left goes to PIL.
"""

from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from dinocli.data.pixels import Pixels, over_white, turned, with_channels
from dinocli.errors import DataError

_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB = 0, 1, 2
_ASSOCIATED, _UNASSOCIATED = 1, 2


def is_tiff(head: bytes) -> bool:
    """Tell from a file's first four bytes whether it is a TIFF or a BigTIFF of either byte order."""
    return head in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def tiff_size(path: str | Path, page: int) -> tuple[int, int]:
    """Return (h, w) of one page as stored, without decoding it."""
    with tifffile.TiffFile(path) as file:
        chosen = _page(file, page)
        return int(chosen.imagelength), int(chosen.imagewidth)


def read_tiff(path: str | Path, page: int, channels: tuple[int, ...]) -> Pixels | None:
    """Read one page, or say that PIL has to.

    Microscopes write each channel as a page of its own. Where pages hold a single channel, channel c is therefore page
    ``page + c``.

    Args:
        path: A TIFF.
        page: Counted from 0.
        channels: Channels to take, counted from 0; empty takes grey or RGB, with alpha laid over white.

    Returns:
        (h, w, c) in the stored dtype, upright; None for palettes, CMYK, YCbCr and missing decompressors.

    Raises:
        DataError: No such page, or the channels have to be chosen.
    """
    with tifffile.TiffFile(path) as file:
        first = _page(file, page)
        if first.photometric not in (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB) and not channels:
            return None
        try:
            if channels and first.samplesperpixel == 1:
                pixels = np.concatenate([_samples(_page(file, page + channel)) for channel in channels], axis=-1)
            else:
                pixels = _flattened(_samples(first), first, channels)
        except ValueError as error:
            if "imagecodecs" in str(error):  # tifffile's word for a compression that it cannot undo alone
                return None
            raise
        return turned(pixels, _orientation(first))


def white_is_zero(path: str | Path, page: int) -> bool:
    """Tell whether a page is a negative: PIL undoes that for 8 bits and forgets it for 16."""
    with tifffile.TiffFile(path) as file:
        return bool(_page(file, page).photometric == _WHITE_IS_ZERO)


def _page(file: Any, page: int) -> Any:
    if page >= len(file.pages):
        raise DataError(f"page {page} of a file with {len(file.pages)} (counted from 0)")
    return file.pages[page]


def _orientation(page: Any) -> int:
    tag = page.tags.get(274)
    return int(tag.value) if tag is not None else 1


def _samples(page: Any) -> Pixels:
    """Decode a page to (h, w, samples), native byte order, black at the low end."""
    axes: str = page.axes
    pixels: Pixels = page.asarray(maxworkers=1)
    if "S" not in axes:
        axes, pixels = axes + "S", pixels[..., None]
    if sorted(axes) != ["S", "X", "Y"]:
        raise DataError(f"a page with axes {page.axes} is not a flat image")
    pixels = np.moveaxis(pixels, axes.index("S"), -1)
    if pixels.dtype == bool:
        pixels = pixels.astype(np.uint8) * 255
    pixels = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    if page.photometric == _WHITE_IS_ZERO and pixels.dtype.kind == "u":
        pixels = np.iinfo(pixels.dtype).max - pixels
    return pixels


def _flattened(pixels: Pixels, page: Any, channels: tuple[int, ...]) -> Pixels:
    """Reduce the samples of a page to the asked channels, or to grey or RGB."""
    if channels:
        return with_channels(pixels, channels)
    count, extra = pixels.shape[-1], tuple(int(kind) for kind in page.extrasamples)
    colours = 3 if page.photometric == _RGB else 1
    if count == colours + 1 and extra[:1] in ((_ASSOCIATED,), (_UNASSOCIATED,)):
        return over_white(pixels[..., :-1], pixels[..., -1:], premultiplied=extra[0] == _ASSOCIATED)
    if count in (1, 3):
        return pixels
    if count == 4 and colours == 3:  # RGB and one sample that says it is not alpha, such as near infrared
        return pixels[..., :3]
    raise DataError(f"{count} channels: say which one or three to read, for example --channels 0,1,2")
