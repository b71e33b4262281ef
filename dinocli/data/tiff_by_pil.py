"""TIFF pages that PIL decodes, because tifffile lacks their codec or does not convert their colours."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dinocli.config.preprocess import Channels
from dinocli.data.channel_names import gdal_names
from dinocli.data.pixels import Decoded, Mask, append_alpha, channel_numbers, check_channels, unnamed_channels
from dinocli.data.tiff_nodata import nodata_of
from dinocli.data.tiff_pages import BLACK_IS_ZERO, GDAL_METADATA, PALETTE, RGB, WHITE_IS_ZERO, YCBCR, text_of
from dinocli.data.tiff_samples import ASSOCIATED, SEPARATE, UNASSOCIATED
from dinocli.data.tiff_window import Box
from dinocli.errors import DataError

NEEDS_CODECS = "this kind of TIFF needs imagecodecs: pip install 'dinocli[tiff]'"


@dataclass(frozen=True)
class ForPil:
    """Tags of a page that PIL has to decode, because tifffile cannot.

    Args:
        frames: Index of each page as PIL counts, including thumbnails.
        planes: Each page is one channel, in the selected order; else there is one page, whose channels are selected.
        negative: WhiteIsZero. PIL inverts it for 8 bits but not for 16.
        nodata: As `Decoded.nodata`.
        dtype: dtype of the samples, for which PIL may have no mode; None if tifffile has none.
        colours: Name of an uncommon colour space; empty for common ones.
        masked: As `Decoded.masked`.
        bands: Number of samples of a grey or RGB page, not all of which PIL may decode; 0 for other pages.
        extra: ExtraSamples: the kinds of the samples besides grey or RGB.
        names: Names of the samples; empty if they have none.
    """

    frames: tuple[int, ...]
    planes: bool
    negative: bool
    nodata: tuple[float, ...]
    dtype: "np.dtype[Any] | None" = None
    colours: str = ""
    masked: Mask | None = None
    bands: int = 0
    extra: tuple[int, ...] = ()
    names: tuple[str, ...] = ()


def for_pil(page: Any, planes: list[Any], channels: Channels, box: Box | None) -> ForPil:
    """Return what has to be known of a page that PIL decodes.

    Args:
        page: `tifffile.TiffPage`.
        planes: Single-channel page of each selected channel; empty if the channels are samples of `page`.
        channels: Channels to select; empty for grey or RGB.
        box: Window, of which PIL reads none.

    Raises:
        DataError: PIL cannot decode such pages, or decodes other values.
    """
    common = (WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, YCBCR)
    colours = "" if page.photometric in common else str(getattr(page.photometric, "name", page.photometric))
    if box:
        raise DataError(f"no windows of {colours} can be read: save it as RGB" if colours else NEEDS_CODECS)
    bands = page.samplesperpixel if page.photometric in (WHITE_IS_ZERO, BLACK_IS_ZERO, RGB) else 0
    extra = tuple(int(kind) for kind in page.extrasamples)
    deep = page.bitspersample > 8 and page.samplesperpixel > 1
    wrong = deep and (page.planarconfig == SEPARATE or (bands > 3 and extra not in ((), (UNASSOCIATED,))))
    converted = bool(colours) or (bands > 0 and extra[:1] == (ASSOCIATED,))  # PIL gives no raw samples
    if wrong or (channels and converted):
        raise DataError(NEEDS_CODECS)
    frames = tuple(plane.index for plane in planes or [page])
    if not all(isinstance(frame, int) for frame in frames):
        raise DataError("the image behind the thumbnail cannot be decompressed here: pip install 'dinocli[tiff]'")
    return ForPil(
        frames,
        bool(planes),
        page.photometric == WHITE_IS_ZERO,
        nodata_of(page),
        page.dtype,
        colours,
        bands=bands,
        extra=extra,
        names=gdal_names(text_of(page, GDAL_METADATA)),
    )


def tagged_image(frames: list[Decoded], tags: ForPil, channels: Channels) -> Decoded:
    """Make one image of the pages that PIL has decoded, by tags that PIL does not regard.

    Raises:
        DataError: PIL leaves out samples that are needed, there is no such channel, or the pages differ.
    """
    image = frames[0]
    if tags.planes:
        if any(frame.colour.shape != image.colour.shape for frame in frames):
            raise DataError("its pages differ in size or type")
        colour = np.concatenate([frame.colour[..., :1] for frame in frames], axis=-1)
        return _with_tags(Decoded(colour, image.original_size), tags)
    image = _with_tags(image, tags)
    if channels:
        return _selected(image, tags, channels)
    if tags.bands in (0, image.samples) and tags.bands <= 3:
        return image
    if image.colour.shape[-1] != 3:
        raise DataError(NEEDS_CODECS)  # PIL decodes the first band alone
    if tags.bands > 4:
        raise DataError(unnamed_channels(tags.bands))
    is_alpha = tags.extra[:1] in ((ASSOCIATED,), (UNASSOCIATED,))
    return image if is_alpha else replace(image, alpha=None, unread_channels=1)


def _selected(image: Decoded, tags: ForPil, channels: Channels) -> Decoded:
    """Select samples of a page; those that PIL has not decoded need imagecodecs."""
    samples, numbers = append_alpha(image.colour, image.alpha), channel_numbers(channels, tags.names)
    count = samples.shape[-1]
    check_channels(numbers, max(count, tags.bands))
    if count < tags.bands and (image.colour.shape[-1] != 3 or max(numbers) >= count):
        raise DataError(NEEDS_CODECS)
    return replace(image, colour=samples[..., numbers], alpha=None, premultiplied=False)


def _with_tags(image: Decoded, tags: ForPil) -> Decoded:
    """Apply the TIFF tags that tifffile has read to an image that PIL has decoded."""
    colour = image.colour.astype(image.colour.dtype.newbyteorder("="), copy=False)
    if tags.dtype is not None and tags.dtype.kind in "iu" and tags.dtype != colour.dtype:
        if tags.dtype.itemsize == colour.dtype.itemsize and colour.dtype.kind in "iu":
            colour = colour.view(tags.dtype)  # same bytes: PIL has no mode for int8 and uint32
        elif tags.dtype == np.int16 and colour.dtype == np.int32:
            colour = colour.astype(tags.dtype)
    if tags.negative and colour.dtype == np.uint16:
        colour = np.iinfo(np.uint16).max - colour
    not_inverted = tags.negative and colour.dtype.kind != "u"
    return replace(image, colour=colour, nodata=tags.nodata, masked=tags.masked, not_inverted=not_inverted)
