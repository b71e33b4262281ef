"""Pixel statistics of an image: brightness, contrast, colour, entropy and sharpness.

An image can be an outlier in these (a screenshot among photographs) while its network features are not.

Shapes: N images, H W pixels, S statistics.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

BANDS = ((0.01, 0.05), (0.05, 0.12), (0.12, 0.25), (0.25, 0.5))
"""Bands of spatial frequency in cycles per pixel, for images of about 128 pixels a side."""
_TINY = 1e-6
_GREY_LEVELS = 64


class ImageStatistics(NamedTuple):
    """Statistics of an image, on a scale of 0 to 1 where no unit is named.

    Args:
        mean: Mean brightness.
        contrast: Standard deviation of the brightness.
        dark_end: 1st percentile of the brightness.
        bright_end: 99th percentile of the brightness.
        saturation: Mean over pixels of the largest minus the smallest of red, green and blue.
        saturation_spread: Standard deviation of the saturation.
        entropy: Entropy of the histogram of 64 grey levels, bits, 0 to 6.
        sharpness: Natural logarithm of the variance of the Laplacian.
        energy: Natural logarithm of the mean energy in the first (lowest) band of `BANDS`.
        fall_1: Log energy in the second band minus that in the first.
        fall_2: Log energy in the third band minus that in the first.
        fall_3: Log energy in the fourth band minus that in the first.
        red_green: Mean red minus green.
        yellow_blue: Mean yellow minus blue.
        skew: Skewness of the brightness.
    """

    mean: float
    contrast: float
    dark_end: float
    bright_end: float
    saturation: float
    saturation_spread: float
    entropy: float
    sharpness: float
    energy: float
    fall_1: float
    fall_2: float
    fall_3: float
    red_green: float
    yellow_blue: float
    skew: float


APPEARANCE = tuple(name for name in ImageStatistics._fields if name not in ("dark_end", "bright_end"))
"""Statistics used for outlier scores; the percentiles of the brightness only tell dark and bright images."""


def image_statistics(picture_HW3: NDArray[np.uint8]) -> ImageStatistics:
    """Compute the statistics of a small RGB image, 8 bits."""
    colour_HW3 = picture_HW3.astype(np.float32) / 255
    grey_HW = colour_HW3.mean(axis=2)
    saturation_HW = colour_HW3.max(axis=2) - colour_HW3.min(axis=2)
    share = np.histogram(grey_HW, _GREY_LEVELS, (0, 1))[0] / grey_HW.size
    red, green, blue = (float(colour_HW3[..., channel].mean()) for channel in range(3))
    energies = _band_energies(grey_HW)
    contrast = float(grey_HW.std())
    skew = float(((grey_HW - grey_HW.mean()) ** 3).mean()) / contrast**3 if contrast > _TINY else 0.0
    dark, bright = np.percentile(grey_HW, [1, 99])
    return ImageStatistics(
        mean=float(grey_HW.mean()),
        contrast=contrast,
        dark_end=float(dark),
        bright_end=float(bright),
        saturation=float(saturation_HW.mean()),
        saturation_spread=float(saturation_HW.std()),
        entropy=float(-(share[share > 0] * np.log2(share[share > 0])).sum()),
        sharpness=float(np.log(ndimage.laplace(grey_HW).var() + _TINY)),
        energy=energies[0],
        fall_1=energies[1] - energies[0],
        fall_2=energies[2] - energies[0],
        fall_3=energies[3] - energies[0],
        red_green=red - green,
        yellow_blue=(red + green) / 2 - blue,
        skew=skew,
    )


def robust_scores(values_N: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return robust z-scores: distance from the median in units of the median absolute deviation x 1.4826.

    The unit is at least a quarter of the standard deviation, for folders with mostly equal values (colour of grey
    images).
    """
    centre = np.median(values_N)
    spread = max(1.4826 * float(np.median(np.abs(values_N - centre))), 0.25 * float(np.std(values_N)), _TINY)
    return np.asarray((values_N - centre) / spread, np.float64)


def _band_energies(grey_HW: NDArray[np.float32]) -> list[float]:
    """Return the natural logarithm of the mean energy in each band."""
    energy_HW = np.abs(np.fft.fft2(grey_HW - grey_HW.mean())) ** 2
    y_H, x_W = (np.fft.fftfreq(side) for side in grey_HW.shape)
    distance_HW = np.hypot(y_H[:, None], x_W[None, :])
    bands = ((distance_HW >= low) & (distance_HW < high) for low, high in BANDS)
    return [float(np.log((energy_HW[band].mean() if band.any() else 0.0) + _TINY)) for band in bands]
