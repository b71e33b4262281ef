"""Similarity of two pictures up to crop, small rotation, scale and light: correlation of their aligned structure.

Different images of one kind (two x-rays, two steel plates) have similar features and different structure; a copy of an
image has the same structure in another place.

Shapes: H W pixels of a picture, T templates of one size, h w pixels of a template.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import fft, ndimage

SIDE = 96
"""Longest side of the pictures that are compared, pixels."""

_MIDDLE = 0.6  # of each side of the one picture, looked for in the other
_COARSE = ((0.7, 0.83, 1.0, 1.2, 1.43), (-8.0, -4.0, 0.0, 4.0, 8.0))  # scales, and turns in degrees
_FINE = ((0.94, 1.0, 1.06), (-1.5, 0.0, 1.5))
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
    _, scale, turn = _best(half_wanted, half_in, *_COARSE)
    scales, turns = _FINE
    return _best(wanted_HW, in_HW, [scale * more for more in scales], [turn + more for more in turns])[0]


def _best(
    wanted_HW: NDArray[np.float32], in_HW: NDArray[np.float32], scales: Sequence[float], turns: Sequence[float]
) -> tuple[float, float, float]:
    """Return the largest correlation over all scales and turns, with its scale and turn."""
    best = (-np.inf, 1.0, 0.0)
    for scale in scales:
        correlation_T = _correlations(np.stack([_template(wanted_HW, scale, turn) for turn in turns]), in_HW)
        first = int(np.argmax(correlation_T))
        if correlation_T[first] > best[0]:
            best = (float(correlation_T[first]), scale, turns[first])
    return best


def _template(picture_HW: NDArray[np.float32], scale: float, turn: float) -> NDArray[np.float32]:
    """Return the middle of a picture, scaled and turned about its centre."""
    size = [max(6, round(side * _MIDDLE * scale)) for side in picture_HW.shape]
    angle = np.deg2rad(turn)
    matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / scale
    centre, middle = (np.array(picture_HW.shape) - 1) / 2, (np.array(size) - 1) / 2
    offset = centre - matrix @ middle
    return np.asarray(ndimage.affine_transform(picture_HW, matrix, offset, tuple(size), order=1, mode="nearest"))


def _correlations(template_Thw: NDArray[np.float32], in_HW: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return for each template its largest normalised correlation over all places where it lies inside."""
    count, height, width = template_Thw.shape
    if height > in_HW.shape[0] or width > in_HW.shape[1]:
        return np.full(count, -1.0)
    flat = _FLAT * (height * width) ** 0.5
    centred_Thw = template_Thw - template_Thw.mean((1, 2), keepdims=True)
    length_T = np.sqrt((centred_Thw**2).sum((1, 2)))
    shape = [fft.next_fast_len(side, real=True) for side in in_HW.shape]
    product = fft.rfft2(in_HW, shape) * np.conj(fft.rfft2(centred_Thw, shape))
    cross_T = fft.irfft2(product, shape)[:, : in_HW.shape[0] - height + 1, : in_HW.shape[1] - width + 1]
    sums = _window_sums(in_HW, height, width)
    squares = _window_sums(in_HW**2, height, width)
    spread = np.sqrt(np.maximum(squares - sums**2 / (height * width), 1e-12))
    highest_T = np.where(spread < flat, 0.0, cross_T / spread).max((1, 2))
    return np.where(length_T < flat, 0.0, highest_T / np.maximum(length_T, flat))


def _window_sums(picture_HW: NDArray[np.float32], height: int, width: int) -> NDArray[np.float64]:
    total = np.pad(picture_HW.astype(np.float64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    return np.asarray(
        total[height:, width:] - total[:-height, width:] - total[height:, :-width] + total[:-height, :-width]
    )
