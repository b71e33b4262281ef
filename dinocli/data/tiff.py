"""Read TIFF losslessly, by tifffile where it can and else by PIL.

PIL truncates 16-bit colour to 8 bits and refuses more than 4 channels; tifffile reads both, but needs imagecodecs to
decompress LZW and other codecs.
"""

import math
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import tifffile

from dinocli.config.preprocess import PAGES, Channels
from dinocli.data.channel_names import gdal_names, ome_names
from dinocli.data.image_source import Source, decoder_input
from dinocli.data.limits import Allowance
from dinocli.data.pixels import Decoded, channel_numbers, select_channels, unnamed_channels
from dinocli.data.tiff_by_pil import ForPil, for_pil
from dinocli.data.tiff_nodata import masked_pixels
from dinocli.data.tiff_pages import (
    BLACK_IS_ZERO,
    GDAL_METADATA,
    PALETTE,
    RGB,
    WHITE_IS_ZERO,
    YCBCR,
    page_of,
    page_size,
    pages_of,
    text_of,
)
from dinocli.data.tiff_samples import (
    page_samples,
    palette_colours,
    reserve_page,
    split_alpha,
    upright_page,
)
from dinocli.data.tiff_stack import projected, stack_pages, stack_shape
from dinocli.data.tiff_window import Box
from dinocli.errors import DataError

_JPEG = 7  # Compression
MAX_COUNTED_PAGES = 64
"""Pages after which counting stops."""


def is_tiff(head: bytes) -> bool:
    """Return whether a file is TIFF or BigTIFF of either byte order, by its first 4 bytes."""
    return head in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def tiff_size(source: Source, page: int) -> tuple[int, int]:
    """Return (h, w) of one page as stored, from the header."""
    with tifffile.TiffFile(decoder_input(source)) as file:
        return page_size(page_of(file, page))


def tiff_pages(source: Source, channels: Channels, z: str) -> tuple[int, int]:
    """Return the number of pages, at most `MAX_COUNTED_PAGES`, and the index of the first with the most pixels.

    Pages that are read as channels or along z are not counted.
    """
    with tifffile.TiffFile(decoder_input(source)) as file:
        page_of(file, 0)  # there is one
        if z or (channels != PAGES and any(isinstance(channel, str) for channel in channels)):
            rest, _, depth = stack_shape(file)
            return rest * (1 if z else depth), 0
        if channels:
            return 1, 0
        areas = [math.prod(page_size(page)) for page in islice(pages_of(file), MAX_COUNTED_PAGES)]
        return len(areas), int(np.argmax(areas))


@dataclass(frozen=True)
class TiffReading:
    """The part of a TIFF file that is read.

    Args:
        page: Page, from 0.
        channels: Channels to select; empty for grey or RGB, with alpha separate.
        z: As `Preprocess.z`.
        box: Window (left, top, width, height); None for whole pages.
    """

    page: int = 0
    channels: Channels = ()
    z: str = ""
    box: Box | None = None


def read_tiff(source: Source, reading: TiffReading, allowance: Allowance, file_bytes: int) -> Decoded | ForPil:
    """Read one page, or return its tags if PIL has to decode it.

    Microscopes write each channel as a page. If pages hold a single channel, channel c is therefore page ``page + c``.

    Args:
        source: Path or content of a TIFF file.
        reading: The part that is read.
        allowance: Memory limit, checked before the page is decoded.
        file_bytes: Size of the file, bytes.

    Returns:
        The upright image in its native dtype; `ForPil` for palettes, CMYK, YCbCr, grey of 2 and 4 bits and missing
        codecs.

    Raises:
        DataError: No such page or channel, channels have to be selected, or more pixels than the file can hold.
    """
    with tifffile.TiffFile(decoder_input(source)) as file:
        first = page_of(file, 0 if reading.z else reading.page)
        if reading.z:
            return _read_stack(file, reading, allowance, file_bytes)
        image = _read_page(file, first, reading, allowance, file_bytes)
        masked = masked_pixels(file, first, partial(page_samples, box=reading.box))
        return image if masked is None else replace(image, masked=masked)


def _read_page(file: Any, first: Any, reading: TiffReading, allowance: Allowance, file_bytes: int) -> Decoded | ForPil:
    """Read a page as `read_tiff`, without its mask."""
    channels, box = reading.channels, reading.box
    reserve_page(first, 1, allowance, file_bytes, box)
    known = first.photometric in (WHITE_IS_ZERO, BLACK_IS_ZERO, RGB)
    single = first.samplesperpixel == 1 and first.photometric != PALETTE
    if channels == PAGES and not single:
        raise DataError("each page has several channels; select some, as --channels 0,1,2")
    planes = _planes(file, first, reading.page, channels) if channels and single else []
    if planes:
        reserve_page(first, len(planes), allowance, file_bytes, box)
    packed = 1 < first.bitspersample < 8 and first.samplesperpixel == 1
    palette = first.photometric == PALETTE and first.colormap is not None
    if palette and (first.bitspersample > 8 or box):
        colours = palette_colours(first, box)
        return upright_page(select_channels(colours, channels) if channels else colours, first)
    jpeg_window = box is not None and first.photometric == YCBCR and first.compression == _JPEG  # tifffile gives RGB
    if packed or (first.photometric in (PALETTE, YCBCR) and not jpeg_window) or not (known or jpeg_window or channels):
        return for_pil(first, planes, channels, box)
    try:
        if planes:
            return upright_page(np.concatenate([page_samples(plane, box) for plane in planes], axis=-1), first)
        samples = page_samples(first, box)
    except (ValueError, NotImplementedError, ImportError) as error:
        if _needs_codec(error):
            return for_pil(first, planes, channels, box)
        raise
    if channels:
        return upright_page(select_channels(samples, channels, gdal_names(text_of(first, GDAL_METADATA))), first)
    return split_alpha(samples, first)


def _read_stack(file: Any, reading: TiffReading, allowance: Allowance, file_bytes: int) -> Decoded:
    """Read and project planes of a stack; if a page has several samples, those are the channels."""
    first, channels, z, box = file.pages.first, reading.channels, reading.z, reading.box
    reserve_page(first, 1, allowance, file_bytes, box)
    single = first.samplesperpixel == 1
    by_channel = stack_pages(file, z, channels if single else (), reading.page)
    if not channels and len(by_channel) not in (1, 3):
        raise DataError(unnamed_channels(len(by_channel)))
    reserve_page(first, sum(map(len, by_channel)), allowance, file_bytes, box)
    try:
        projections = [projected([page_samples(plane, box) for plane in planes], z) for planes in by_channel]
        samples = np.concatenate(projections, axis=-1)
    except (ValueError, NotImplementedError, ImportError) as error:
        if _needs_codec(error):
            raise DataError("its planes cannot be decompressed here: pip install 'dinocli[tiff]'") from None
        raise
    if single:
        return upright_page(samples, first)
    return upright_page(select_channels(samples, channels), first) if channels else split_alpha(samples, first)


def _planes(file: Any, first: Any, page: int, channels: Channels) -> list[Any]:
    """Return the single-channel page of each selected channel."""
    if channels == PAGES:
        planes = list(islice(pages_of(file), page, page + MAX_COUNTED_PAGES))
        if len(planes) == MAX_COUNTED_PAGES:
            raise DataError(f"{MAX_COUNTED_PAGES} or more pages are hardly channels: select some, as --channels 0,1,2")
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
    """Return `ome_names` if a channel is selected by name; else no names and 1."""
    if all(isinstance(channel, int) for channel in channels):
        return (), 1
    return ome_names(file.pages.first.description)


def _needs_codec(error: Exception) -> bool:
    """Return whether tifffile lacks a codec: it names imagecodecs, or imports a module of a later Python (zstd)."""
    return isinstance(error, ImportError) or "imagecodecs" in str(error)
