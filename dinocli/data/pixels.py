"""Pixel operations common to all file formats, in the native dtype: EXIF orientation, alpha, nodata, channels."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dinocli.config.preprocess import Channels
from dinocli.data.spread import spread
from dinocli.errors import DataError

Pixels = NDArray[Any]
"""Image in its native dtype: (h, w, c), rows from the top, any real dtype."""

Mask = NDArray[np.bool_]
"""(h, w, c): samples without a valid value."""

NO_VALID_PIXEL = "no pixel has a value: all are nodata, not finite or transparent"

_MAX_EXAMPLE_CHANNELS = 16
"""Maximum number of channels in the example of a message."""

_MAX_GREY_CHROMA = 2 / 255
"""Maximum difference between channels that JPEG leaves in a grey image, as a fraction of the range of the values."""

_MAX_COLOURED_FRACTION = 0.001
"""Maximum fraction of pixels beyond that: at sharp edges compression leaves more colour."""

_MAX_VALUES = 1 << 16
"""Maximum number of values looked at for their range."""

TRANSPOSING_ORIENTATIONS = (5, 6, 7, 8)
"""EXIF orientations that swap height and width."""


@dataclass(frozen=True)
class Decoded:
    """One decoded image, upright, in its native dtype, with colour and alpha separate.

    Args:
        colour: (h, w, c); c is 1 or 3, or the number of selected channels.
        original_size: (h, w) of the file, upright; larger than `colour` if a JPEG was downscaled.
        alpha: (h, w, 1), same dtype, 0 is transparent; None without alpha, or if channels were selected.
        premultiplied: The colour is already multiplied by alpha ("associated" in TIFF).
        nodata: Nodata values by the tag of the file.
        unread_channels: Number of channels besides colour and alpha.
        window: Level and width of the display window in the file; None without one.
        outside: (h, w, 1), pixels outside the region of interest; None without a region.
        channels_first: The file holds (c, h, w), judged by its shape.
        not_inverted: A TIFF with WhiteIsZero whose signed or float values are as stored: their white is not defined.
        masked: (h, w, 1), pixels that a mask in the file hides; None without one.
    """

    colour: Pixels
    original_size: tuple[int, int]
    alpha: Pixels | None = None
    premultiplied: bool = False
    nodata: tuple[float, ...] = ()
    unread_channels: int = 0
    window: tuple[float, float] | None = None
    outside: Mask | None = None
    masked: Mask | None = None
    channels_first: bool = False
    not_inverted: bool = False

    @property
    def samples(self) -> int:
        """Number of channels with alpha."""
        return int(self.colour.shape[-1]) + (self.alpha is not None)

    def crop(self, box: tuple[int, int, int, int], inside: NDArray[np.bool_] | None = None) -> "Decoded":
        """Crop to a box (left, top, width, height); pixels where `inside`, (h, w), is false are marked as outside."""
        left, top, width, height = box
        rows, columns = slice(top, top + height), slice(left, left + width)
        return replace(
            self,
            colour=self.colour[rows, columns],
            original_size=(height, width),
            alpha=None if self.alpha is None else self.alpha[rows, columns],
            outside=None if inside is None else ~inside[..., None],
            masked=None if self.masked is None else self.masked[rows, columns],
        )

    def is_empty(self, missing: Mask | None, alpha: str) -> bool:
        """Return whether all pixels are nodata (`missing`), not finite, or transparent."""
        if alpha == "white" and self.alpha is not None and not self.alpha.any():
            return True
        if self.colour.dtype.kind != "f":
            return missing is not None and bool(missing.all())
        valid = np.isfinite(self.colour)
        return not bool((valid if missing is None else valid & ~missing).any())

    def without_alpha(self, alpha: str = "white") -> Pixels:
        """Return (h, w, c) without alpha: composited over ``white``, or with ``ignore`` the colour alone."""
        if self.alpha is None or alpha == "ignore":
            return self.colour
        return over_white(self.colour, self.alpha, premultiplied=self.premultiplied)

    def nodata_mask(self, nodata: tuple[float, ...] = ()) -> Mask | None:
        """Return the samples that are nodata (by the file or the given values), masked or outside; None if none are.

        In 8-bit images 0 and 255 are also colours, so a pixel is nodata only if all its channels are.
        """
        values = (*self.nodata, *nodata)
        if not values and self.outside is None and self.masked is None:
            return None
        missing = np.zeros(self.colour.shape, np.bool_)
        with np.errstate(over="ignore"):  # a float64 value that float32 cannot represent
            for value in values:
                equal = self.colour == (value if self.colour.dtype.kind != "f" else self.colour.dtype.type(value))
                missing |= equal.all(axis=-1, keepdims=True) if self.colour.dtype == np.uint8 else equal
        for hidden in (self.outside, self.masked):
            if hidden is not None:
                missing |= hidden
        return missing if missing.any() else None


def append_alpha(colour: Pixels, alpha: Pixels | None) -> Pixels:
    """Return colour with alpha as its last channel."""
    return colour if alpha is None else np.concatenate([colour, alpha], axis=-1)


def full_range(dtype: np.dtype[Any]) -> tuple[float, float]:
    """Return black and white of a dtype: its limits for integers, 0 and 1 for floats."""
    if dtype.kind in "iu":
        return float(np.iinfo(dtype).min), float(np.iinfo(dtype).max)
    return 0.0, 1.0


def apply_orientation(pixels: Pixels, orientation: int) -> Pixels:
    """Rotate and flip an image upright by its EXIF orientation.

    Works on arrays, because PIL has no mode for some dtypes.

    Args:
        pixels: (h, w, c).
        orientation: EXIF tag 274, 1 to 8; other values count as 1 (upright).

    Returns:
        (h, w, c), or (w, h, c) for orientations 5 to 8.
    """
    if orientation in TRANSPOSING_ORIENTATIONS:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def over_white(colour: Pixels, alpha: Pixels, *, premultiplied: bool) -> Pixels:
    """Composite an image over white.

    Transparent pixels hold arbitrary colours, often black; viewers show them white.

    Args:
        colour: (h, w, c).
        alpha: (h, w, 1), same dtype; 0 is transparent, the maximum of `full_range` is opaque.
        premultiplied: The colour is already multiplied by alpha ("associated" in TIFF).

    Returns:
        (h, w, c), dtype of ``colour``.
    """
    white = full_range(colour.dtype)[1]
    opacity = alpha.astype(np.float32) / white
    foreground = colour.astype(np.float32) * (1 if premultiplied else opacity)
    composite = np.clip(foreground + (1 - opacity) * white, 0, white)
    if colour.dtype.kind in "iu":
        composite = np.rint(composite)
    opaque: Pixels = composite.astype(colour.dtype)
    return opaque


def select_channels(pixels: Pixels, channels: Channels, names: tuple[str, ...] = ()) -> Pixels:
    """Select channels, in the given order.

    Args:
        pixels: (h, w, c).
        channels: Channel numbers, from 0, or names.
        names: Channel names in the file; empty if it has none.

    Raises:
        DataError: No such channel.
    """
    numbers = channel_numbers(channels, names)
    check_channels(numbers, pixels.shape[-1])
    selected: Pixels = pixels[..., numbers]
    return selected


def check_channels(numbers: list[int], count: int) -> None:
    """Raise `DataError` for channel numbers that an image of `count` channels does not have."""
    missing = [number for number in numbers if number >= count]
    if missing:
        raise DataError(f"channel {missing[0]} of an image with {count} (counted from 0)")


def unnamed_channels(count: int) -> str:
    """Return the message for an image of neither 1 nor 3 channels without `--channels`."""
    example = ",".join(map(str, range(min(count, _MAX_EXAMPLE_CHANNELS))))
    return f"{count} channels: say which to read, for example --channels {example}"


def channel_numbers(channels: Channels, names: tuple[str, ...]) -> list[int]:
    """Convert channel names to numbers; case is ignored, and ``C:DAPI`` equals ``DAPI``.

    Raises:
        DataError: No such name, or the file has no channel names.
    """
    number_of = {name.casefold(): number for number, name in reversed(list(enumerate(names)))}
    numbers = []
    for channel in channels:
        number = channel if isinstance(channel, int) else number_of.get(channel.removeprefix("C:").casefold())
        if number is None:
            available = f"it has {', '.join(names[:20])}" if names else "the file gives its channels no names"
            raise DataError(f"no channel {channel!r}: {available}")
        numbers.append(number)
    return numbers


def is_grey(pixels: Pixels) -> bool:
    """Return whether an image (h, w, c) has no colour: one channel, or three that hardly differ.

    In 8 bits the difference counts in levels. Deeper images may use a small part of their type, such as 8-bit values in
    32 bits, so there it counts as a fraction of the range of their own values.
    """
    if pixels.shape[-1] != 3:
        return bool(pixels.shape[-1] == 1)
    wide = pixels.astype(np.float64) if pixels.dtype.kind == "i" else pixels  # a difference may not fit
    red, green, blue = (wide[..., channel] for channel in range(3))
    with np.errstate(invalid="ignore", over="ignore"):  # differences of infinities
        spread = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    coloured = int(np.count_nonzero(spread > _MAX_GREY_CHROMA * _value_range(pixels)))
    return coloured <= _MAX_COLOURED_FRACTION * int(spread.size)


def _value_range(pixels: Pixels) -> float:
    """Return 255 for 8 bits, else the range of the values without a few hot or dead pixels."""
    if pixels.dtype == np.uint8:
        return 255.0
    some = spread(pixels.reshape(-1), _MAX_VALUES)
    some = some[np.isfinite(some)]
    low, high = np.quantile(some.astype(np.float64), (0.001, 0.999)) if some.size else (0.0, 0.0)
    return float(high - low)
