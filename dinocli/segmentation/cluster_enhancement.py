"""Threshold-free cluster enhancement: the height of a cell counts with the area of the region that is as high.

The maximum of an image misses a defect of many cells of which none is far out, such as a crack or a stain.

Legend: h w rows and columns of the grid.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label

HEIGHTS = 24
"""Number of heights at which regions are measured."""

_EIGHT = np.ones((3, 3))


def cluster_enhanced(far_hw: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the enhanced heights of a map, (h, w); a single cell keeps its height, a larger region gains.

    Each cell gets the integral of area times squared height over the heights below its own, where area is that of the
    connected region above a height; its cube root has the unit of the map. Values of 0 and less become 0.

    Args:
        far_hw: Corrected distances, around 0.

    Source: Smith and Nichols 2009, doi:10.1016/j.neuroimage.2008.03.061, with the exponents of a plane (area 1, height
    2). Departs: normalisation and cube root.
    """
    highest, summed_hw = float(far_hw.max()), np.zeros(far_hw.shape)
    if highest <= 0:
        return np.zeros_like(far_hw)
    for height in (np.arange(HEIGHTS) + 0.5) * highest / HEIGHTS:
        regions_hw, _ = label(far_hw > height, structure=_EIGHT)
        area = np.bincount(regions_hw.ravel())
        area[0] = 0
        summed_hw += area[regions_hw] * height**2
    return np.asarray(np.cbrt(3 * summed_hw * highest / HEIGHTS), np.float32)
