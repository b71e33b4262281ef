"""Distances at each position of an image: their median over a folder, their spread, and the correction by both.

Legend: F kinds of features, h w rows and columns of the grid, S images of the sample, P rows and columns of the
position maps.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates, uniform_filter

PLACES = 48
"""Rows and columns of the position maps. 32 blurred the details of ball screws; maps as fine as the grid are noisy, and
hid defects that half of the images had at one position."""

MIN_ALIGNED_IMAGES = 8
"""Minimum number of images for the median at a position, and for the distribution of maxima of good images."""


class Places(NamedTuple):
    """Distances per position, on a grid over the whole image.

    Args:
        place_PP: Median over images of the distance at a position minus the median of its image.
        spread_PP: Spread of distances at a position relative to that at the median position, 1 or more.
    """

    place_PP: NDArray[np.float32]
    spread_PP: NDArray[np.float32]


def typical_places(maps: Sequence[NDArray[np.float32]]) -> Places:
    """Estimate offset and spread per position; 0 and 1 for fewer than `MIN_ALIGNED_IMAGES` images.

    Args:
        maps: Distance maps (h, w); grids may differ.
    """
    if len(maps) < MIN_ALIGNED_IMAGES:
        return Places(np.zeros((PLACES, PLACES), np.float32), np.ones((PLACES, PLACES), np.float32))
    stacked_SPP = np.stack([resampled(map_hw - np.median(map_hw), (PLACES, PLACES)) for map_hw in maps])
    middle_PP = np.median(stacked_SPP, axis=0)
    # The median absolute deviation ignores defects at one position as long as fewer than half of the images have them.
    deviation_PP = np.median(abs(stacked_SPP - middle_PP), axis=0)
    spread_PP = gaussian_filter(deviation_PP, 1, mode="nearest")
    varies_PP = deviation_PP > 0  # False outside a region of interest
    usual = max(float(np.median(spread_PP[varies_PP])) if varies_PP.any() else 0.0, 1e-9)
    place_PP = gaussian_filter(middle_PP, 1, mode="nearest")
    return Places(place_PP.astype(np.float32), np.maximum(spread_PP / usual, 1).astype(np.float32))


def corrected(
    map_hw: NDArray[np.float32],
    place_PP: NDArray[np.float32],
    spread_PP: NDArray[np.float32],
    *,
    keep_median: bool = False,
) -> NDArray[np.float32]:
    """Return the distances of one image, corrected for position and, without `keep_median`, for its median."""
    without = map_hw - resampled(place_PP, map_hw.shape)
    level = 0 if keep_median else np.median(without)
    return np.asarray((without - level) / resampled(spread_PP, map_hw.shape), np.float32)


def corrected_kinds(
    distances_Fhw: NDArray[np.float32], place_FPP: NDArray[np.float32], spread_FPP: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return the `corrected` distances of one image, (F, h, w)."""
    return np.stack([corrected(*maps) for maps in zip(distances_Fhw, place_FPP, spread_FPP, strict=True)])


def resampled(map_hw: NDArray[np.float32], size: tuple[int, ...]) -> NDArray[np.float32]:
    """Resample a map of the whole image to another grid: mean filter if that is coarser, bilinear between centres."""
    shrunk = [max(1, round(old / cells)) for cells, old in zip(size, map_hw.shape, strict=True)]
    places = [(np.arange(cells) + 0.5) * old / cells - 0.5 for cells, old in zip(size, map_hw.shape, strict=True)]
    smooth_hw = uniform_filter(map_hw, shrunk, mode="nearest")
    return np.asarray(map_coordinates(smooth_hw, np.meshgrid(*places, indexing="ij"), order=1, mode="nearest"))
