"""TIFF, the format of microscopes, detectors and satellites, read without losing a bit.

PIL cuts 16-bit colour to 8 bits and refuses more than four channels; tifffile reads both but cannot decompress LZW and
some others without an extra package. So tifffile reads what it can, and what is left goes to PIL.
"""

import math
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
import tifffile

from dinocli.config.preprocess import PAGES, Channels
from dinocli.data.channel_names import gdal_names, ome_names
from dinocli.data.limits import Allowance, check_pixels
from dinocli.data.pixels import (
    Decoded,
    Mask,
    Pixels,
    apply_orientation,
    channel_numbers,
    select_channels,
    unnamed_channels,
)
from dinocli.data.tar_shards import Source, decoder_input
from dinocli.data.tiff_pages import (
    RGB,
    WHITE_IS_ZERO,
    masked_pixels,
    nodata_of,
    orientation,
    page_of,
    page_size,
    pages_of,
    text_of,
)
from dinocli.data.tiff_stack import projected, stack_pages, stack_shape
from dinocli.errors import DataError

_BLACK_IS_ZERO, _PALETTE, _YCBCR = 1, 3, 6
_ASSOCIATED, _UNASSOCIATED = 1, 2
_SEPARATE = 2
_GDAL_METADATA = 42112
_ENTRY = 4  # bytes of the file that each tile or strip needs at least, for its place in the file
MAX_COUNTED_PAGES = 64
"""Pages that are counted at most, where their number is only told."""


@dataclass(frozen=True)
class ForPil:
    """What tifffile cannot decode here.

    Args:
        frames: Place of each page among all, thumbnails too, as PIL counts.
        planes: The pages are single channels, in the asked order; else there is one, whose channels are to be taken.
        negative: White is zero. PIL undoes that for 8 bits and forgets it for 16.
        nodata: As `Decoded.nodata`.
        colours: Name of a colour space that not every decoder knows; empty where it is a common one.
        dtype: Number type of the samples; PIL has none for some of them. None where tifffile has none.
        masked: As `Decoded.masked`.
    """

    frames: tuple[int, ...]
    planes: bool
    negative: bool
    nodata: tuple[float, ...]
    dtype: "np.dtype[Any] | None" = None
    colours: str = ""
    masked: Mask | None = None


def is_tiff(head: bytes) -> bool:
    """Tell from a file's first four bytes whether it is a TIFF or a BigTIFF of either byte order."""
    return head in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def tiff_size(source: Source, page: int) -> tuple[int, int]:
    """Return (h, w) of one page as stored, without decoding it."""
    with tifffile.TiffFile(decoder_input(source)) as file:
        return page_size(page_of(file, page))


def tiff_pages(source: Source, channels: Channels = (), z: str = "") -> tuple[int, int]:
    """Return the number of pages, at most `MAX_COUNTED_PAGES`, and which one has the most pixels, the first of several.

    Pages that are asked for, as channels or along z, are not counted.
    """
    with tifffile.TiffFile(decoder_input(source)) as file:
        if z or (channels != PAGES and any(isinstance(channel, str) for channel in channels)):
            rest, _, depth = stack_shape(file)
            return rest * (1 if z else depth), 0
        if channels:
            return 1, 0
        areas = [math.prod(page_size(page)) for page in islice(pages_of(file), MAX_COUNTED_PAGES)]
        return len(areas), int(np.argmax(areas)) if areas else 0


def read_tiff(
    source: Source, page: int, channels: Channels, z: str, allowance: Allowance, stored: int
) -> Decoded | ForPil:
    """Read one page, or say that PIL has to.

    Microscopes write each channel as a page of its own. Where pages hold a single channel, channel c is therefore page
    ``page + c``.

    Args:
        source: A TIFF.
        page: Counted from 0.
        channels: Channels to take; empty takes grey or RGB, with alpha apart.
        z: As `Preprocess.z`.
        allowance: Asked before anything is decoded.
        stored: Size of the file, bytes.

    Returns:
        The stored dtype, upright; `ForPil` for palettes, CMYK, YCbCr, grey of 2 and 4 bits and missing decompressors.

    Raises:
        DataError: No such page or channel, the channels have to be chosen, or the file claims to be too large.
    """
    with tifffile.TiffFile(decoder_input(source)) as file:
        if z:
            return _of_stack(file, page, channels, z, allowance, stored)
        first = page_of(file, page)
        found = _read_page(file, first, page, channels, allowance, stored)
        masked = masked_pixels(file, first)
        return found if masked is None else replace(found, masked=masked)


def _read_page(
    file: Any, first: Any, page: int, channels: Channels, allowance: Allowance, stored: int
) -> Decoded | ForPil:
    """As `read_tiff`, without the mask of the page."""
    _ask(first, 1, allowance, stored)
    known = first.photometric in (WHITE_IS_ZERO, _BLACK_IS_ZERO, RGB)
    single = first.samplesperpixel == 1 and first.photometric != _PALETTE
    if channels == PAGES and not single:
        raise DataError("each page has several channels of its own; name them, as --channels 0,1,2")
    planes = _planes(file, first, page, channels) if channels and single else []
    if planes:
        _ask(first, len(planes), allowance, stored)
    packed = 1 < first.bitspersample < 8 and first.samplesperpixel == 1
    if first.photometric == _PALETTE and first.bitspersample > 8 and first.colormap is not None:
        colours = _coloured(first)
        return _decoded(select_channels(colours, channels) if channels else colours, first)
    if packed or first.photometric in (_PALETTE, _YCBCR) or (not known and not channels):
        return _for_pil(first, planes)
    try:
        if planes:
            return _decoded(np.concatenate([_samples(plane) for plane in planes], axis=-1), first)
        samples = _samples(first)
    except (ValueError, NotImplementedError, ImportError) as error:
        if _needs_codec(error):
            return _for_pil(first, planes)
        raise
    if channels:
        return _decoded(select_channels(samples, channels, gdal_names(text_of(first, _GDAL_METADATA))), first)
    return _apart(samples, first)


def _of_stack(file: Any, page: int, channels: Channels, z: str, allowance: Allowance, stored: int) -> Decoded:
    """Read planes of a stack; of pages with several samples those are the channels."""
    first = file.pages.first
    _ask(first, 1, allowance, stored)
    single = first.samplesperpixel == 1
    along = stack_pages(file, z, channels if single else (), page)
    if not channels and len(along) not in (1, 3):
        raise DataError(unnamed_channels(len(along)))
    _ask(first, sum(map(len, along)), allowance, stored)
    try:
        samples = np.concatenate([projected([_samples(plane) for plane in planes], z) for planes in along], axis=-1)
    except (ValueError, NotImplementedError, ImportError) as error:
        if _needs_codec(error):
            raise DataError("its planes cannot be decompressed here: pip install 'dinocli[tiff]'") from None
        raise
    if single:
        return _decoded(samples, first)
    return _decoded(select_channels(samples, channels), first) if channels else _apart(samples, first)


def _planes(file: Any, first: Any, page: int, channels: Channels) -> list[Any]:
    """Return the single-channel pages that channels stand for."""
    if channels == PAGES:
        planes = list(islice(pages_of(file), page, page + MAX_COUNTED_PAGES))
        if len(planes) == MAX_COUNTED_PAGES:
            raise DataError(f"{MAX_COUNTED_PAGES} or more pages are hardly channels: name them, as --channels 0,1,2")
    else:
        names, stride = _plane_names(file, channels)
        numbers = channel_numbers(channels, names)
        steps = [n * stride if isinstance(c, str) else n for n, c in zip(numbers, channels, strict=True)]
        planes = [page_of(file, page + step) for step in steps]
    if any(page_size(plane) != page_size(first) or plane.samplesperpixel != 1 for plane in planes):
        kinds = ", ".join(
            "{2}x{1} with {0} samples".format(plane.samplesperpixel, *page_size(plane)) for plane in planes
        )
        raise DataError(f"pages of different sizes or samples are not channels of one image: {kinds}")
    return planes


def _plane_names(file: Any, channels: Channels) -> tuple[tuple[str, ...], int]:
    """Return the names of the channels and the pages from one to the next, where a channel is asked for by its name."""
    if all(isinstance(channel, int) for channel in channels):
        return (), 1
    return ome_names(file.pages.first.description)


def _coloured(page: Any) -> Pixels:
    """Return the colours of a palette of 16 bits, which PIL does not know."""
    colours: Pixels = np.ascontiguousarray(page.colormap.T)[page.asarray(maxworkers=1)]
    return colours


def _needs_codec(error: Exception) -> bool:
    """Return whether tifffile cannot unpack this alone: it says so, or looks for a module of a later Python (zstd)."""
    return isinstance(error, ImportError) or "imagecodecs" in str(error)


def _for_pil(page: Any, planes: list[Any]) -> ForPil:
    frames = tuple(plane.index for plane in planes or [page])
    if not all(isinstance(frame, int) for frame in frames):
        raise DataError("the image behind the thumbnail cannot be decompressed here: pip install 'dinocli[tiff]'")
    common = (WHITE_IS_ZERO, _BLACK_IS_ZERO, RGB, _PALETTE, _YCBCR)
    colours = "" if page.photometric in common else str(getattr(page.photometric, "name", page.photometric))
    return ForPil(frames, bool(planes), page.photometric == WHITE_IS_ZERO, nodata_of(page), page.dtype, colours)


def _ask(page: Any, planes: int, allowance: Allowance, stored: int) -> None:
    """Ask for the memory of this number of pages, and refuse more tiles or strips than the file has room to list."""
    height, width = page_size(page)
    check_pixels(height, width)
    rows, columns = (page.tilelength, page.tilewidth) if page.is_tiled else (min(page.rowsperstrip, height), width)
    parts = math.ceil(height / max(1, rows)) * math.ceil(width / max(1, columns))
    parts *= page.samplesperpixel if page.planarconfig == _SEPARATE else 1
    if parts > 1 and _ENTRY * parts > stored:
        raise DataError(f"a file of {stored:,} bytes claims {parts:,} tiles: it is damaged")
    samples = planes * page.samplesperpixel * max(height * width, rows * columns)
    allowance.reserve(height, width, samples * max(8, page.bitspersample) // 8, stored)


def _samples(page: Any) -> Pixels:
    """Decode a page to (h, w, samples), native byte order, black at the low end, fewer than 8 bits spread to 8."""
    axes: str = page.axes
    about = page.keyframe  # pages of a series know little of themselves
    pixels: Pixels = page.asarray(maxworkers=1)
    if "S" not in axes:
        axes, pixels = axes + "S", pixels[..., None]
    if sorted(axes) != ["S", "X", "Y"]:
        raise DataError(f"a page with axes {page.axes} is not a flat image")
    pixels = np.moveaxis(pixels, axes.index("S"), -1)
    if pixels.dtype == bool:
        pixels = pixels.astype(np.uint8) * 255
    elif about.bitspersample < 8 and pixels.dtype == np.uint8:
        pixels = np.rint(pixels * (255 / (2**about.bitspersample - 1))).astype(np.uint8)
    pixels = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    if about.photometric == WHITE_IS_ZERO and pixels.dtype.kind == "u":
        pixels = pixels.dtype.type(2 ** max(8, about.bitspersample) - 1) - pixels
    return pixels


def _decoded(pixels: Pixels, page: Any) -> Decoded:
    upright = apply_orientation(pixels, orientation(page))
    return Decoded(upright, (upright.shape[0], upright.shape[1]), nodata=nodata_of(page))


def _apart(pixels: Pixels, page: Any) -> Decoded:
    """Take grey or RGB of all samples of a page, and alpha where one of them says to be that."""
    count, extra = pixels.shape[-1], tuple(int(kind) for kind in page.extrasamples)
    colours = 3 if page.photometric == RGB else 1
    if count == colours + 1 and extra[:1] in ((_ASSOCIATED,), (_UNASSOCIATED,)):
        found = _decoded(pixels, page)
        colour, alpha = found.colour[..., :-1], found.colour[..., -1:]
        return Decoded(colour, found.original_size, alpha, extra[0] == _ASSOCIATED, found.nodata)
    if count in (1, 3):
        return _decoded(pixels, page)
    if count == 4 and colours == 3:  # RGB and one sample that says it is not alpha, such as near infrared
        return replace(_decoded(pixels[..., :3], page), unread_channels=1)
    raise DataError(unnamed_channels(count))
