"""Similarity of two images up to crop, small rotation, scale and brightness: template matching on band-passed images.

Two different x-rays or steel plates have similar features but different pixel structure; a copy of an image has the
same structure at another position.

Shapes: H W pixels of an image, T templates of one size, h w pixels of a template.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import fft, ndimage

SIDE = 96
"""Longest side of the compared images, pixels."""

_TEMPLATE_FRACTION = 0.6  # central part of each side of one image, searched for in the other
_COARSE_GRID = ((0.7, 0.83, 1.0, 1.2, 1.43), (-8.0, -4.0, 0.0, 4.0, 8.0))  # scales, rotations in degrees
_FINE_GRID = ((0.94, 1.0, 1.06), (-1.5, 0.0, 1.5))  # factors on the best scale, offsets to the best rotation
_SUFFICIENT = 0.9  # correlation above which the reverse direction is not tried
_MIN_STD = 1e-3  # below it an image has no structure: 8-bit rounding alone reaches this


def structure(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the band-passed brightness (difference of Gaussians, sigma 1 and 4 px), (H, W).

    Args:
        picture: RGB or grey, 8 bits, (H, W) or (H, W, C); resized so that the longest side is `SIDE`.
    """
    grey = picture.mean(axis=2) if picture.ndim == 3 else picture
    image = Image.fromarray(grey.astype(np.float32))
    scale = SIDE / max(image.size)
    image = image.resize((max(16, round(image.width * scale)), max(16, round(image.height * scale))))
    pixels_HW = np.asarray(image, np.float32) / 255
    return np.asarray(ndimage.gaussian_filter(pixels_HW, 1.0) - ndimage.gaussian_filter(pixels_HW, 4.0), np.float32)


def is_plain(structure_HW: NDArray[np.float32]) -> bool:
    """Return whether an image has no structure, so that pixels cannot tell copies of it."""
    return bool(structure_HW.std() < _MIN_STD)


def aligned_similarity(first_HW: NDArray[np.float32], second_HW: NDArray[np.float32]) -> float:
    """Return the largest normalised correlation of the centre of one image with any position in the other.

    Tries scales of 0.7 to 1.43 and rotations up to 8 degrees, in both directions.

    Args:
        first_HW: From `structure`.
        second_HW: From `structure`, of the other image.

    Returns:
        -1 to 1; 0 where one of the two has no structure.
    """
    similarity = _one_way_similarity(first_HW, second_HW)
    return similarity if similarity >= _SUFFICIENT else max(similarity, _one_way_similarity(second_HW, first_HW))


def _one_way_similarity(template_HW: NDArray[np.float32], image_HW: NDArray[np.float32]) -> float:
    """Search for the centre of one image in the other: coarse at half resolution, then fine at full resolution."""
    if is_plain(template_HW) or is_plain(image_HW):
        return 0.0
    half_template, half_image = (ndimage.zoom(full, 0.5, order=1) for full in (template_HW, image_HW))
    _, scale, rotation = _best_match(half_template, half_image, *_COARSE_GRID)
    factors, offsets = _FINE_GRID
    return _best_match(
        template_HW, image_HW, [scale * factor for factor in factors], [rotation + offset for offset in offsets]
    )[0]


def _best_match(
    template_HW: NDArray[np.float32], image_HW: NDArray[np.float32], scales: Sequence[float], rotations: Sequence[float]
) -> tuple[float, float, float]:
    """Return the largest correlation over all scales and rotations, with its scale and rotation."""
    best = (-np.inf, 1.0, 0.0)
    for scale in scales:
        templates_Thw = np.stack([_template(template_HW, scale, rotation) for rotation in rotations])
        correlation_T = _correlations(templates_Thw, image_HW)
        first = int(np.argmax(correlation_T))
        if correlation_T[first] > best[0]:
            best = (float(correlation_T[first]), scale, rotations[first])
    return best


def _template(picture_HW: NDArray[np.float32], scale: float, rotation: float) -> NDArray[np.float32]:
    """Return the central part of an image, scaled and rotated (degrees) about its centre."""
    size = [max(6, round(side * _TEMPLATE_FRACTION * scale)) for side in picture_HW.shape]
    angle = np.deg2rad(rotation)
    matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / scale
    centre, middle = (np.array(picture_HW.shape) - 1) / 2, (np.array(size) - 1) / 2
    offset = centre - matrix @ middle
    return np.asarray(ndimage.affine_transform(picture_HW, matrix, offset, tuple(size), order=1, mode="nearest"))


def _correlations(template_Thw: NDArray[np.float32], image_HW: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the largest normalised cross-correlation of each template over positions inside the image, (T,)."""
    count, height, width = template_Thw.shape
    if height > image_HW.shape[0] or width > image_HW.shape[1]:
        return np.full(count, -1.0)
    flat = _MIN_STD * (height * width) ** 0.5
    centred_Thw = template_Thw - template_Thw.mean((1, 2), keepdims=True)
    length_T = np.sqrt((centred_Thw**2).sum((1, 2)))
    shape = [fft.next_fast_len(side, real=True) for side in image_HW.shape]
    product = fft.rfft2(image_HW, shape) * np.conj(fft.rfft2(centred_Thw, shape))
    cross_T = fft.irfft2(product, shape)[:, : image_HW.shape[0] - height + 1, : image_HW.shape[1] - width + 1]
    sums = _window_sums(image_HW, height, width)
    squares = _window_sums(image_HW**2, height, width)
    spread = np.sqrt(np.maximum(squares - sums**2 / (height * width), 1e-12))
    highest_T = np.where(spread < flat, 0.0, cross_T / spread).max((1, 2))
    return np.where(length_T < flat, 0.0, highest_T / np.maximum(length_T, flat))


def _window_sums(picture_HW: NDArray[np.float32], height: int, width: int) -> NDArray[np.float64]:
    """Return the sum over each window of height x width, from an integral image."""
    total = np.pad(picture_HW.astype(np.float64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    return np.asarray(
        total[height:, width:] - total[:-height, width:] - total[height:, :-width] + total[:-height, :-width]
    )
