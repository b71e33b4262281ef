"""Pixel arithmetic that every file format needs: the EXIF turn and the removal of alpha, in the file's own dtype."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[Any]
"""An image as stored: (h, w, c), rows from the top, any real dtype."""

SWAPPING = (5, 6, 7, 8)
"""EXIF orientations that exchange height and width."""


def full_range(dtype: np.dtype[Any]) -> tuple[float, float]:
    """Return black and white of a dtype: the limits of an integer one, 0 and 1 of a float one."""
    if dtype.kind in "iu":
        return float(np.iinfo(dtype).min), float(np.iinfo(dtype).max)
    return 0.0, 1.0


def turned(pixels: Pixels, orientation: int) -> Pixels:
    """Put an image upright.

    Cameras and scanners store the turn as a tag and leave the pixels as they came. Done on arrays, because PIL cannot
    hold every dtype that has to be turned.

    Args:
        pixels: (h, w, c).
        orientation: EXIF tag 274, 1 to 8; anything else counts as 1 (upright).

    Returns:
        (h, w, c), or (w, h, c) for orientations 5 to 8.
    """
    if orientation in SWAPPING:
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


def with_channels(pixels: Pixels, channels: tuple[int, ...]) -> Pixels:
    """Take the asked channels, in the asked order; an `IndexError` says which one is not there."""
    missing = [channel for channel in channels if channel >= pixels.shape[-1]]
    if missing:
        raise IndexError(f"channel {missing[0]} of an image with {pixels.shape[-1]} (counted from 0)")
    taken: Pixels = pixels[..., list(channels)]
    return taken
