"""Similarity of two pictures up to crop, small rotation, scale and light: correlation of their aligned structure.

Different images of one kind (two x-rays, two steel plates) have similar features and different structure; a copy of an
image has the same structure in another place.

Shapes: H W pixels of a picture, h w pixels of a template.
"""

from itertools import product

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import fft, ndimage

SIDE = 96
"""Longest side of the pictures that are compared, pixels."""

_MIDDLE = 0.6  # of each side of the one picture, looked for in the other
_COARSE = (*product((0.7, 0.83, 1.0, 1.2, 1.43), (-8.0, -4.0, 0.0, 4.0, 8.0)),)
_FINE = (*product((0.94, 1.0, 1.06), (-1.5, 0.0, 1.5)),)
_CLEAR = 0.9  # of one direction: the other is not tried
_FLAT = 1e-3  # standard deviation of a structure that is none: 8-bit rounding has as much


def structure(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the band-passed brightness of a picture, (H, W): edges of a few pixels, without light and noise.

    Args:
        picture: RGB or grey, 8 bits, (H, W) or (H, W, C); scaled to `SIDE`.
    """
    grey = picture.mean(axis=2) if picture.ndim == 3 else picture
    image = Image.fromarray(grey.astype(np.float32))
    scale = SIDE / max(image.size)
    image = image.resize((max(16, round(image.width * scale)), max(16, round(image.height * scale))))
    pixels_HW = np.asarray(image, np.float32) / 255
    return np.asarray(ndimage.gaussian_filter(pixels_HW, 1.0) - ndimage.gaussian_filter(pixels_HW, 4.0), np.float32)


def aligned_similarity(first_HW: NDArray[np.float32], second_HW: NDArray[np.float32]) -> float:
    """Return the best correlation of the middle of one structure with any place in the other.

    Scales of 0.7 to 1.43 and turns up to 8 degrees are tried, in both directions.

    Args:
        first_HW: From `structure`.
        second_HW: From `structure`, of the other picture.

    Returns:
        -1 to 1; 0 where one of the two has no structure.
    """
    found = _found(first_HW, second_HW)
    return found if found >= _CLEAR else max(found, _found(second_HW, first_HW))


def _found(wanted_HW: NDArray[np.float32], in_HW: NDArray[np.float32]) -> float:
    if min(wanted_HW.std(), in_HW.std()) < _FLAT:
        return 0.0
    half_wanted, half_in = (ndimage.zoom(one, 0.5, order=1) for one in (wanted_HW, in_HW))
    scores = [_correlation(_template(half_wanted, scale, turn), half_in) for scale, turn in _COARSE]
    scale, turn = _COARSE[int(np.argmax(scores))]
    return max(_correlation(_template(wanted_HW, scale * more, turn + further), in_HW) for more, further in _FINE)


def _template(picture_HW: NDArray[np.float32], scale: float, turn: float) -> NDArray[np.float32]:
    """Return the middle of a picture, scaled and turned about its centre."""
    size = [max(6, round(side * _MIDDLE * scale)) for side in picture_HW.shape]
    angle = np.deg2rad(turn)
    matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / scale
    centre, middle = (np.array(picture_HW.shape) - 1) / 2, (np.array(size) - 1) / 2
    offset = centre - matrix @ middle
    return np.asarray(ndimage.affine_transform(picture_HW, matrix, offset, tuple(size), order=1, mode="nearest"))


def _correlation(template_hw: NDArray[np.float32], in_HW: NDArray[np.float32]) -> float:
    """Return the largest normalised correlation of a template over all places where it lies inside."""
    height, width = template_hw.shape
    if height > in_HW.shape[0] or width > in_HW.shape[1]:
        return -1.0
    centred_hw = template_hw - template_hw.mean()
    length = float(np.sqrt((centred_hw**2).sum()))
    if length < _FLAT * centred_hw.size**0.5:
        return 0.0
    shape = [fft.next_fast_len(side, real=True) for side in in_HW.shape]
    product_ = fft.rfft2(in_HW, shape) * np.conj(fft.rfft2(centred_hw, shape))
    inside = (slice(0, in_HW.shape[0] - height + 1), slice(0, in_HW.shape[1] - width + 1))
    cross = fft.irfft2(product_, shape)[inside]
    sums = _window_sums(in_HW, height, width)
    squares = _window_sums(in_HW**2, height, width)
    spread = np.sqrt(np.maximum(squares - sums**2 / centred_hw.size, 1e-12))
    flat = spread < _FLAT * centred_hw.size**0.5
    return float(np.where(flat, 0.0, cross / (spread * length)).max())


def _window_sums(picture_HW: NDArray[np.float32], height: int, width: int) -> NDArray[np.float64]:
    total = np.pad(picture_HW.astype(np.float64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    return np.asarray(
        total[height:, width:] - total[:-height, width:] - total[height:, :-width] + total[:-height, :-width]
    )
