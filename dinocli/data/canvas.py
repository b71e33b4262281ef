"""`Canvas`: an image ready for cropping; its size, the windows of a strip, its channels."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dinocli.config.preprocess import GREY_OR_RGB, LUMA_WEIGHTS
from dinocli.errors import DataError

Canvas = NDArray[Any]
"""An image ready for cropping: (C, h, w), uint8 or uint16; C is `Preprocess.canvas_channels`."""

STRIP_RATIO = 2.5
"""Aspect ratio (longer / shorter side) above which an image is a strip and is cut into overlapping windows."""

_WINDOW_RATIO = 1.5  # aspect ratio of a window
_MAX_WINDOWS = 10_000  # of one image
_MIN_OVERLAP = 0.25  # fraction of a window that neighbours share, so that no object lies only on a border
_LUMA_3 = np.array(LUMA_WEIGHTS, np.float32)


def rgb(canvas: Canvas) -> NDArray[np.uint8]:
    """Return a canvas as 8-bit RGB, (h, w, 3): the first three channels; two channels become red and green."""
    canvas_8bit = (canvas >> 8).astype(np.uint8) if canvas.dtype == np.uint16 else canvas
    rgb_3hw = np.repeat(canvas_8bit, 3, axis=0) if len(canvas_8bit) == 1 else canvas_8bit[:3]
    if len(rgb_3hw) == 2:
        rgb_3hw = np.concatenate([rgb_3hw, np.zeros_like(rgb_3hw[:1])])
    return np.ascontiguousarray(rgb_3hw.transpose(1, 2, 0))


def shrunk_size(height: int, width: int, short_side: int) -> tuple[int, int]:
    """Return (h, w) downscaled to a shorter side of `short_side`, aspect ratio kept; smaller sizes stay unchanged."""
    short = min(height, width)
    if short <= short_side:
        return height, width
    return max(1, round(height * short_side / short)), max(1, round(width * short_side / short))


def scaled(canvas: Canvas, size: tuple[int, int]) -> Canvas:
    """Resize a canvas of `Reader.full` to (height, width), bicubic with antialiasing."""
    return resized(canvas, canvas.shape[1:], size)


def windows(height: int, width: int) -> Iterator[tuple[slice, slice]]:
    """Yield (rows, columns) of each canvas of an image: the whole image, or the overlapping windows of a strip.

    Raises:
        DataError: A strip of more than 10,000 windows.
    """
    short, long = sorted((height, width))
    if long <= STRIP_RATIO * short:
        yield slice(0, height), slice(0, width)
        return
    length = round(_WINDOW_RATIO * short)
    count = 1 + math.ceil((long - length) / (length * (1 - _MIN_OVERLAP)))
    if count > _MAX_WINDOWS:
        raise DataError(f"a strip of {width} x {height} pixels would be {count:,} windows; cut it into images first")
    for start in np.linspace(0, long - length, count).round().astype(int).tolist():
        window = slice(start, start + length)
        yield (window, slice(0, width)) if height > width else (slice(0, height), window)


def convert_channels(canvas: Canvas, wanted: int) -> Canvas:
    """Convert RGB to grey or grey to RGB, as the dataset needs; any other number of channels has to match."""
    count = len(canvas)
    if count == wanted:
        return canvas
    if (count, wanted) == (3, 1):
        luma: Canvas = np.rint(np.tensordot(_LUMA_3, canvas.astype(np.float32), axes=1)).astype(canvas.dtype)
        return luma[None]
    if (count, wanted) == (1, 3):
        return np.repeat(canvas, 3, axis=0)
    raise DataError(f"{count} channel{'s' * (count > 1)}, and {wanted} are needed: select them with --channels")


def resized(canvas: Canvas, original_size: tuple[int, int], size: tuple[int, int]) -> Canvas:
    """Resize with PIL: bicubic with antialiasing; dtypes without a PIL mode as float.

    Args:
        canvas: (C, h, w), at the original size, or at 1/2, 1/4 or 1/8 of it, rounded up, from the JPEG decoder.
        original_size: (h, w) of the file. The decoder's last row and column can stand for fewer pixels than the others;
            only their valid part is resampled, since the result would otherwise be stretched by up to one pixel.
        size: (h, w) of the result.
    """
    if canvas.shape[1:] == original_size == size:
        return canvas
    factor = round(max(original_size) / max(canvas.shape[1:]))
    box = (0.0, 0.0, original_size[1] / factor, original_size[0] / factor)
    if canvas.dtype == np.uint8 and len(canvas) in GREY_OR_RGB:
        image = Image.fromarray(canvas[0] if len(canvas) == 1 else np.ascontiguousarray(canvas.transpose(1, 2, 0)))
        pixels: Canvas = np.asarray(image.resize(size[::-1], Image.Resampling.BICUBIC, box))
        return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    planes = [Image.fromarray(plane.astype(np.float32)) for plane in canvas]
    pixels = np.stack([np.asarray(plane.resize(size[::-1], Image.Resampling.BICUBIC, box)) for plane in planes])
    rounded: Canvas = np.rint(pixels.clip(0, np.iinfo(canvas.dtype).max)).astype(canvas.dtype)
    return rounded
