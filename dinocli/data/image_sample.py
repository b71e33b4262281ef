"""Properties of one sampled image: pixel values, size, colour, alpha and pages."""

import sys
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dinocli.config.preprocess import GREY_OR_RGB, Channels, Preprocess
from dinocli.data.decode import decode, decode_in_memory, page_count
from dinocli.data.limits import Allowance
from dinocli.data.pixels import NO_VALID_PIXEL, Decoded, Pixels, full_range, is_grey
from dinocli.data.region_of_interest import region_of
from dinocli.data.spread import spread
from dinocli.errors import DataError

AlphaKind = Literal["none", "opaque", "mask", "data"]
"""No alpha; opaque everywhere; transparency; measured data in a channel that is only labelled alpha."""

_MAX_VALUES = 1 << 16
"""Maximum number of pixel values kept per sampled image, for percentiles."""

_MIN_PEAK_ALPHA = 1 / 8
"""Fraction of the full range that the largest value of a real alpha channel exceeds."""

_MIN_EXTREME_FRACTION, _MAX_LEVELS = 0.5, 16
"""A channel with fewer pixels at 0 or full range, and more distinct levels, holds measured data."""


@dataclass(frozen=True)
class SourceReading:
    """The part of each file that is read.

    Args:
        channels: Source channels, as `decode`.
        page: Page of multi-page files, from 0.
        nodata: Nodata values, besides the nodata tag of the file.
        z: Planes of stacks, as `Preprocess.z`.
        roi: Region of interest, as `Preprocess.roi`; sizes and values are those inside.
    """

    channels: Channels = ()
    page: int = 0
    nodata: tuple[float, ...] = ()
    z: str = ""
    roi: str = ""

    @classmethod
    def of(cls, preprocess: Preprocess) -> "SourceReading":
        """Return what a stored preprocessing reads."""
        return cls(preprocess.channels, preprocess.page, preprocess.nodata, preprocess.z, preprocess.roi)


@dataclass(frozen=True)
class ImageSample:
    """One sampled image.

    Args:
        name: Name of the image.
        dtype: Native dtype.
        size: (h, w), pixels.
        channels: Number of channels that are read.
        channel_ranges: Minimum and maximum of each channel; empty for grey and RGB, which share one range.
        channel_values: As `values`, of each channel; empty for grey and RGB.
        grey: The image has no colour.
        low: Minimum value; only finite, valid and visible pixels count, also for `high` and `values`.
        high: Maximum value.
        values: Values spread over the image, at most 65,536.
        alpha: See `AlphaKind`.
        nodata: Some pixels are nodata by a tag or mask in the file.
        pages: Number of pages or frames; 1 if they were not counted.
        largest_page: Index of the page with the most pixels.
        unread_channels: Number of channels that are not read.
        channels_first: The file is an array (c, h, w), judged by its shape.
        not_inverted: As `Decoded.not_inverted`.
        absent_nodata: Values of `--nodata` that no pixel has.
        window: Level and width of the display window in the file, or None.
    """

    name: str
    dtype: np.dtype[Any]
    size: tuple[int, int]
    channels: int
    grey: bool
    low: float
    high: float
    values: NDArray[np.float64]
    alpha: AlphaKind
    nodata: bool
    pages: int
    largest_page: int
    unread_channels: int
    window: tuple[float, float] | None
    channels_first: bool
    not_inverted: bool
    absent_nodata: tuple[float, ...]
    channel_ranges: tuple[tuple[float, float], ...]
    channel_values: tuple[NDArray[np.float64], ...]


def sample_image(path: str, name: str, reading: SourceReading) -> ImageSample | str:
    """Sample an image at full resolution: downscaling would hide single hot pixels, which a range must not clip.

    Args:
        path: Image file.
        name: Name of the image, for messages.
        reading: The part of the file that is read.

    Returns:
        The sample, or the reason why the image cannot be read.
    """
    try:
        with Allowance() as allowance:
            page, channels, z = reading.page, reading.channels, reading.z
            image = decode(path, page=page, channels=channels, min_side=sys.maxsize, allowance=allowance, z=z)
            pages, largest_page = page_count(path, channels=channels, z=z) if not page else (1, 0)
            return _sample_of(image, name, reading, pages, largest_page)
    except DataError as error:
        return str(error)


def sample_in_memory(image: Image.Image | Pixels, name: str, reading: SourceReading) -> ImageSample | str:
    """Sample a PIL image or an array, as `sample_image` samples its file."""
    try:
        decoded = decode_in_memory(image, channels=reading.channels, min_side=sys.maxsize)
        return _sample_of(decoded, name, reading)
    except DataError as error:
        return str(error)


def _sample_of(whole: Decoded, name: str, reading: SourceReading, pages: int = 1, largest_page: int = 0) -> ImageSample:
    region, nodata = region_of(reading.roi, whole.original_size), reading.nodata
    image = whole if region is None else whole.crop(*region)
    alpha, untagged = _alpha_kind(image.alpha), replace(image, nodata=(), outside=None, masked=None)
    valid = _valid_values(image, nodata, use_alpha=alpha == "mask")
    if not valid.size:
        raise DataError(NO_VALID_PIXEL)
    by_channel = _values_by_channel(image, nodata) if image.colour.shape[-1] not in GREY_OR_RGB else []
    return ImageSample(
        name=name,
        dtype=image.colour.dtype,
        size=image.original_size,
        channels=image.colour.shape[-1],
        grey=is_grey(image.without_alpha("ignore" if alpha == "data" else "white")),
        low=float(valid.min()),
        high=float(valid.max()),
        values=spread(valid, _MAX_VALUES).astype(np.float64),
        alpha=alpha,
        nodata=image.masked is not None or (bool(image.nodata) and image.nodata_mask() is not None),
        pages=pages,
        largest_page=largest_page,
        unread_channels=image.unread_channels,
        window=image.window,
        channels_first=image.channels_first,
        not_inverted=image.not_inverted,
        absent_nodata=tuple(value for value in nodata if untagged.nodata_mask((value,)) is None),
        channel_ranges=tuple((float(v.min()), float(v.max())) if v.size else (0.0, 0.0) for v in by_channel),
        channel_values=tuple(spread(v, _MAX_VALUES // len(by_channel)).astype(np.float64) for v in by_channel),
    )


def _values_by_channel(image: Decoded, nodata: tuple[float, ...]) -> list[Pixels]:
    missing = image.nodata_mask(nodata)
    valid = np.isfinite(image.colour) if missing is None else np.isfinite(image.colour) & ~missing
    return [image.colour[..., channel][valid[..., channel]] for channel in range(image.colour.shape[-1])]


def _valid_values(image: Decoded, nodata: tuple[float, ...], *, use_alpha: bool) -> Pixels:
    """Return the finite values that are neither nodata nor, with `use_alpha`, transparent; 1-D."""
    colour, missing = image.colour, image.nodata_mask(nodata)
    if colour.dtype.kind != "f" and missing is None and not use_alpha:
        return colour.reshape(-1)
    valid = np.isfinite(colour)
    if missing is not None:
        valid &= ~missing
    if use_alpha and image.alpha is not None:
        valid &= image.alpha > 0
    return colour[valid]


def _alpha_kind(alpha: Pixels | None) -> AlphaKind:
    if alpha is None:
        return "none"
    full = full_range(alpha.dtype)[1]
    if bool((alpha == full).all()):
        return "opaque"
    if not (alpha > _MIN_PEAK_ALPHA * full).any():
        return "data"  # as alpha it would hide the whole image: unused zeros, or values of another scale
    some = spread(alpha.reshape(-1), _MAX_VALUES)
    extreme_fraction = np.count_nonzero((some == 0) | (some == full)) / some.size
    return "data" if extreme_fraction < _MIN_EXTREME_FRACTION and np.unique(some).size > _MAX_LEVELS else "mask"
