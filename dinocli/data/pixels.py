"""Pixel arithmetic that every file format needs: the EXIF turn, alpha, nodata and channels, in the file's own dtype."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dinocli.config.preprocess import Channels
from dinocli.errors import DataError

Pixels = NDArray[Any]
"""An image as stored: (h, w, c), rows from the top, any real dtype."""

Mask = NDArray[np.bool_]
"""(h, w, c): samples without a measurement."""

NO_VALID_PIXEL = "no pixel has a value: all are nodata, not finite or transparent"

_MAX_EXAMPLE_CHANNELS = 16
"""Channels that an example names at most."""

TRANSPOSING_ORIENTATIONS = (5, 6, 7, 8)
"""EXIF orientations that exchange height and width."""


@dataclass(frozen=True)
class Decoded:
    """One image as its file holds it, upright, with colour and alpha apart.

    Args:
        colour: (h, w, c), native dtype; c is 1 or 3, or the number of channels that were asked for.
        original_size: (h, w) of the file, upright; a JPEG may have been decoded smaller.
        alpha: (h, w, 1), same dtype, 0 is transparent; None where there is none or channels were asked for.
        premultiplied: The colour was already multiplied by alpha ("associated" in TIFF).
        nodata: Sample values that mean "not measured", by the file's own tag.
        unread_channels: Channels beside colour and alpha.
        window: Level and width that the file names for viewers; None where it names none.
        outside: (h, w, 1), pixels outside the region of interest; None where all count.
        channels_first: The file holds (c, h, w), as far as its shape says.
        masked: (h, w, 1), pixels that the file's own mask hides; None where it has none.
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

    def crop(self, box: tuple[int, int, int, int], inside: NDArray[np.bool_] | None = None) -> "Decoded":
        """Return the part in a box (left, top, width, height), of which `inside`, (h, w), counts; None: all."""
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

    def is_empty(self, missing: Mask | None, alpha: str = "white") -> bool:
        """Return whether no pixel has a value: all are nodata (`missing`), not finite, or transparent."""
        if alpha == "white" and self.alpha is not None and not self.alpha.any():
            return True
        if self.colour.dtype.kind != "f":
            return missing is not None and bool(missing.all())
        valid = np.isfinite(self.colour)
        return not bool((valid if missing is None else valid & ~missing).any())

    def without_alpha(self, alpha: str = "white") -> Pixels:
        """Return (h, w, c) without alpha: laid over ``white``, or with alpha under ``ignore`` left out."""
        if self.alpha is None or alpha == "ignore":
            return self.colour
        return over_white(self.colour, self.alpha, premultiplied=self.premultiplied)

    def nodata_mask(self, nodata: tuple[float, ...] = ()) -> Mask | None:
        """Return the samples that are nodata, by the file's tag or mask or the given values, or outside; None: none is.

        In 8 bits 0 and 255 are also colours, so there all channels of a pixel have to be nodata.
        """
        values = (*self.nodata, *nodata)
        if not values and self.outside is None and self.masked is None:
            return None
        found = np.zeros(self.colour.shape, np.bool_)
        with np.errstate(over="ignore"):  # a double that a float32 cannot hold
            for value in values:
                equal = self.colour == (value if self.colour.dtype.kind != "f" else self.colour.dtype.type(value))
                found |= equal.all(axis=-1, keepdims=True) if self.colour.dtype == np.uint8 else equal
        for hidden in (self.outside, self.masked):
            if hidden is not None:
                found |= hidden
        return found if found.any() else None


def append_alpha(colour: Pixels, alpha: Pixels | None) -> Pixels:
    """Return all samples of an image side by side."""
    return colour if alpha is None else np.concatenate([colour, alpha], axis=-1)


def full_range(dtype: np.dtype[Any]) -> tuple[float, float]:
    """Return black and white of a dtype: the limits of an integer one, 0 and 1 of a float one."""
    if dtype.kind in "iu":
        return float(np.iinfo(dtype).min), float(np.iinfo(dtype).max)
    return 0.0, 1.0


def apply_orientation(pixels: Pixels, orientation: int) -> Pixels:
    """Put an image upright.

    Cameras and scanners store the turn as a tag and leave the pixels as they came. Done on arrays, because PIL cannot
    hold every dtype that has to be turned.

    Args:
        pixels: (h, w, c).
        orientation: EXIF tag 274, 1 to 8; anything else counts as 1 (upright).

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


def over_white(colour: Pixels, alpha: Pixels, *, premultiplied: bool = False) -> Pixels:
    """Lay an image over white.

    Transparent pixels hold arbitrary colour, often black; white is what viewers show.

    Args:
        colour: (h, w, c).
        alpha: (h, w, 1), same dtype; 0 is transparent, white of the dtype is opaque.
        premultiplied: The colour was already multiplied by alpha ("associated" in TIFF).

    Returns:
        (h, w, c), dtype of ``colour``.
    """
    white = full_range(colour.dtype)[1]
    share = alpha.astype(np.float32) / white
    front = colour.astype(np.float32) * (1 if premultiplied else share)
    mixed = np.clip(front + (1 - share) * white, 0, white)
    if colour.dtype.kind in "iu":
        mixed = np.rint(mixed)
    flat: Pixels = mixed.astype(colour.dtype)
    return flat


def select_channels(pixels: Pixels, channels: Channels, names: tuple[str, ...] = ()) -> Pixels:
    """Take the asked channels, in the asked order.

    Args:
        pixels: (h, w, c).
        channels: Numbers, from 0, or names.
        names: Names of the channels, where the file gives them.

    Raises:
        DataError: A channel that is not there.
    """
    numbers = channel_numbers(channels, names)
    missing = [number for number in numbers if number >= pixels.shape[-1]]
    if missing:
        raise DataError(f"channel {missing[0]} of an image with {pixels.shape[-1]} (counted from 0)")
    taken: Pixels = pixels[..., numbers]
    return taken


def unnamed_channels(count: int) -> str:
    """Say that nobody knows which of so many channels to read, and name the option."""
    example = ",".join(map(str, range(min(count, _MAX_EXAMPLE_CHANNELS))))
    return f"{count} channels: say which to read, for example --channels {example}"


def channel_numbers(channels: Channels, names: tuple[str, ...]) -> list[int]:
    """Turn names of channels into their numbers; ``C:DAPI`` and ``DAPI`` are the same, as are upper and lower case.

    Raises:
        DataError: No such name, or the file names no channels.
    """
    known = {name.casefold(): number for number, name in reversed(list(enumerate(names)))}
    numbers = []
    for channel in channels:
        number = channel if isinstance(channel, int) else known.get(channel.removeprefix("C:").casefold())
        if number is None:
            there = f"it has {', '.join(names[:20])}" if names else "the file gives its channels no names"
            raise DataError(f"no channel {channel!r}: {there}")
        numbers.append(number)
    return numbers
