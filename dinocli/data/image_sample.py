"""Facts of one image of the sample: pixel values, size, colour, alpha and pages, by its pixels and its file."""

import sys
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dinocli.config.preprocess import GREY_OR_RGB, Channels
from dinocli.data.decode import decode, page_count
from dinocli.data.limits import Allowance
from dinocli.data.pixels import NO_VALID_PIXEL, Decoded, Pixels, full_range
from dinocli.data.region_of_interest import region_of
from dinocli.errors import DataError

AlphaKind = Literal["none", "opaque", "mask", "data"]
"""No alpha; full everywhere; one that hides something; a channel of its own that is only named alpha."""

_CHROMA = 2
"""Largest difference of the channels, in levels of 255, that JPEG leaves in a grey image."""

_COLOURED = 0.001
"""Share of the pixels that may still differ more: at sharp edges compression leaves more colour."""

_VALUES = 1 << 16
"""Most pixel values kept of one sampled image, for percentiles."""

_VISIBLE = 1 / 8
"""Share of full that alpha reaches somewhere, if it is one."""

_ALPHA_ENDS, _ALPHA_LEVELS = 0.5, 16
"""A real alpha is mostly empty or full, or even; less than that share in more levels is a measurement."""


@dataclass(frozen=True)
class ImageSample:
    """One sampled image.

    Args:
        name: Name of the image.
        dtype: As stored.
        size: (h, w), pixels.
        channels: That are read of it.
        spans: Smallest and largest value of each channel; empty for grey and RGB, whose channels are alike.
        grey: It has no colour.
        low: Smallest value; finite, measured and not transparent, like the next two.
        high: Largest value.
        values: Every k-th value.
        alpha: See `AlphaKind`.
        nodata: Some pixels are nodata by the file's own tag or mask.
        pages: Pages or frames of the file; 1 if they were not counted.
        largest: Which of them has the most pixels.
        unread_channels: Channels that are not read.
        channels_first: It is an array (c, h, w), as far as its shape says.
        absent: Of the values that were said to be nodata, those that no pixel has.
        window: Level and width that the file names for viewers, or None.
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
    largest: int
    unread_channels: int
    window: tuple[float, float] | None = None
    channels_first: bool = False
    absent: tuple[float, ...] = ()
    spans: tuple[tuple[float, float], ...] = ()


def sample_image(
    path: str, name: str, *, page: int, channels: Channels, nodata: tuple[float, ...], z: str = "", roi: str = ""
) -> ImageSample | str:
    """Read an image whole, not shrunk: shrinking would hide the single hot pixels that a range must not clip.

    Args:
        path: The file.
        name: How messages name it.
        page: As `read_native`.
        channels: Source channels, as `decode`.
        nodata: Values that mean "not measured", beside the file's own tag.
        z: As `Preprocess.z`.
        roi: Region of interest, as `Preprocess.roi`; nothing else is looked at.

    Returns:
        The sample, or the reason why the image cannot be read.
    """
    try:
        with Allowance() as allowance:
            image = decode(path, page=page, channels=channels, min_side=sys.maxsize, allowance=allowance, z=z)
            region = region_of(roi, image.original_size)
            image = image if region is None else image.crop(*region)
            pages, largest = page_count(path, channels=channels, z=z) if not page else (1, 0)
            return _described(image, name, nodata, pages, largest)
    except DataError as error:
        return str(error)


def _described(image: Decoded, name: str, nodata: tuple[float, ...], pages: int, largest: int) -> ImageSample:
    alpha, bare = _alpha_kind(image.alpha), replace(image, nodata=(), outside=None, masked=None)
    measured = _measured(image, nodata, hides=alpha == "mask")
    if not measured.size:
        raise DataError(NO_VALID_PIXEL)
    return ImageSample(
        name=name,
        dtype=image.colour.dtype,
        size=image.original_size,
        channels=image.colour.shape[-1],
        grey=_is_grey(image.without_alpha("ignore" if alpha == "data" else "white")),
        low=float(measured.min()),
        high=float(measured.max()),
        values=measured[:: max(1, measured.size // _VALUES)].astype(np.float64),
        alpha=alpha,
        nodata=image.masked is not None or (bool(image.nodata) and image.nodata_mask() is not None),
        pages=pages,
        largest=largest,
        unread_channels=image.unread_channels,
        window=image.window,
        channels_first=image.channels_first,
        absent=tuple(value for value in nodata if bare.nodata_mask((value,)) is None),
        spans=_spans(image, nodata) if image.colour.shape[-1] not in GREY_OR_RGB else (),
    )


def _spans(image: Decoded, nodata: tuple[float, ...]) -> tuple[tuple[float, float], ...]:
    missing = image.nodata_mask(nodata)
    valid = np.isfinite(image.colour) if missing is None else np.isfinite(image.colour) & ~missing
    measured = (image.colour[..., part][valid[..., part]] for part in range(image.colour.shape[-1]))
    return tuple((float(one.min()), float(one.max())) if one.size else (0.0, 0.0) for one in measured)


def _measured(image: Decoded, nodata: tuple[float, ...], *, hides: bool) -> Pixels:
    """Return all values that are finite, measured and not transparent, flat."""
    colour, missing = image.colour, image.nodata_mask(nodata)
    if colour.dtype.kind != "f" and missing is None and not hides:
        return colour.reshape(-1)
    valid = np.isfinite(colour)
    if missing is not None:
        valid &= ~missing
    if hides and image.alpha is not None:
        valid &= image.alpha > 0
    return colour[valid]


def _alpha_kind(alpha: Pixels | None) -> AlphaKind:
    if alpha is None:
        return "none"
    full = full_range(alpha.dtype)[1]
    if bool((alpha == full).all()):
        return "opaque"
    if not (alpha > _VISIBLE * full).any():
        return "data"  # it would hide the whole image: zeros that nobody meant, or another scale
    some = alpha.reshape(-1)[:: max(1, alpha.size // _VALUES)]
    ends = np.count_nonzero((some == 0) | (some == full)) / some.size
    return "data" if ends < _ALPHA_ENDS and np.unique(some).size > _ALPHA_LEVELS else "mask"


def _is_grey(pixels: Pixels) -> bool:
    if pixels.shape[-1] != 3:
        return bool(pixels.shape[-1] == 1)
    red, green, blue = (pixels[..., channel] for channel in range(3))
    with np.errstate(invalid="ignore", over="ignore"):  # differences of infinities
        spread = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    coloured = np.count_nonzero(spread > _CHROMA / 255 * full_range(pixels.dtype)[1])
    return int(coloured) <= _COLOURED * spread.size
