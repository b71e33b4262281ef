"""Outlines of anomalies: corrected distances scaled so that a mask ends at half the height of its peak.

Legend: F kinds of features, the fine ones first; h w rows and columns of the grid.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label, maximum, maximum_filter

HALO_CELLS = 3
"""Radius of the halo of a fine peak, cells: what lies farther away is outlined by its own peak. Mean Dice over 30 rows
of image sets: .339 with 2, .346 with 3, .345 with 4, and .336 with one peak for a whole part."""

MIN_LOCAL_PEAK = 0.6
"""Smallest peak beside a higher one, as a fraction of it: lower ones are the halo of structure around a defect."""

COARSE_LEVEL = 0.8
"""Smallest weighted sum that is marked where only coarse distances detect, as a fraction of the threshold. Half of the
peak alone marked 7,000 to 15,000 pixels of ball screws just above the threshold, where defects have 1,700."""

PLATEAU_HEIGHT = 0.75
"""Fraction of the peak above which the area of its plateau is measured. Lower down, the coarse distances of a small
defect and those of good structure beside it are one region."""

PLATEAU_CELLS = 290
"""Minimum plateau of a large defect, cells of the fine grid (eight coarse cells). A defect of one point has half of
this: the width of a coarse cell and of the Gaussian filter."""

LARGE_RATIO = 1.5
"""Smallest ratio of a coarse peak to the fine one, each relative to its threshold, of a large defect. Where fine
distances show it as clearly, they outline it. Magnetic tiles have large defects (Dice .07 -> .21); on 12 other sets
with good references, and on 11 sets that chose nothing, nothing is marked so."""

_EIGHT = np.ones((3, 3))
_HALO = np.hypot(*np.mgrid[-HALO_CELLS : HALO_CELLS + 1, -HALO_CELLS : HALO_CELLS + 1]) <= HALO_CELLS


def outlined(
    far_hw: NDArray[np.float32], line: float, far_Fhw: NDArray[np.float32], lines_F: Sequence[float]
) -> NDArray[np.float32]:
    """Scale each peak above the threshold so that 0.5 is half its height; all other values are at most 0.5.

    A patch has a receptive field beyond its cell, so an anomaly has a halo; its edge is where the peak falls to half.
    An extended defect has several peaks, each with its own edge; one below the threshold counts as if it were as high.
    The halo of coarse distances is several times as wide as a small defect, so peaks of fine distances are outlined
    unless only the coarse ones are above their own threshold: then the weighted sum is. Large defects are
    outlined by both (`large_defects`).

    Args:
        far_hw: Corrected distances, around 0, or their weighted sum.
        line: Threshold. A connected part counts if its maximum exceeds it; parts are cut at half the threshold.
        far_Fhw: Corrected distances of each kind of features, whose peaks are outlined.
        lines_F: Threshold of each kind alone.
    """
    parts_hw, count = label(far_hw > line / 2, structure=_EIGHT)
    numbers = np.arange(1, count + 1)
    peak_hw, *peak_Fhw = (np.append(0, maximum(map_hw, parts_hw, numbers))[parts_hw] for map_hw in (far_hw, *far_Fhw))
    above = peak_hw > line
    local_hw = maximum_filter(np.where(above, far_Fhw[0], -np.inf), footprint=_HALO, mode="nearest")
    least_hw = np.maximum(MIN_LOCAL_PEAK * peak_Fhw[0], np.minimum(lines_F[0], peak_Fhw[0]))
    coarse_hw = (peak_Fhw[0] < lines_F[0]) & (peak_Fhw[-1] > lines_F[-1])
    height_hw = np.where(coarse_hw, far_hw, far_Fhw[0])
    full_hw = np.where(coarse_hw, np.maximum(peak_hw, 2 * COARSE_LEVEL * line), np.maximum(local_hw, least_hw))
    capped_hw = (far_hw / line).clip(0, 0.5)
    soft_hw = np.where(above, (height_hw / full_hw.clip(1e-9)).clip(0, 1), capped_hw).astype(np.float32)
    if len(far_Fhw) == 1:
        return soft_hw
    return np.maximum(soft_hw, large_defects(far_Fhw, np.where(above, parts_hw, 0), lines_F))


def large_defects(
    far_Fhw: NDArray[np.float32], parts_hw: NDArray[np.integer], lines_F: Sequence[float]
) -> NDArray[np.float32]:
    """Outline large defects by coarse distances; return 0 elsewhere, (h, w).

    Fine distances respond to parts of a large, faint defect, such as its edges; the coarse ones to its whole area,
    where they have a plateau in place of a peak.

    Args:
        far_Fhw: Corrected distances, fine and coarse.
        parts_hw: Number of the detected part of each cell; 0 for none.
        lines_F: Threshold of each kind alone; the coarse plateau exceeds its own.
    """
    fine_hw, coarse_hw = far_Fhw
    soft_hw: NDArray[np.float32] = np.zeros_like(coarse_hw)
    for part in np.unique(parts_hw[parts_hw > 0]):
        part_hw = parts_hw == part
        place = int(np.where(part_hw, coarse_hw, -np.inf).argmax())
        peak = float(coarse_hw.flat[place])
        if peak / lines_F[1] <= max(1, LARGE_RATIO * float(fine_hw[part_hw].max()) / lines_F[0]):
            continue
        plateau = int(_connected(coarse_hw > PLATEAU_HEIGHT * peak, place).sum())
        if plateau >= PLATEAU_CELLS:
            region_hw = _connected(coarse_hw > peak / 2, place)
            np.maximum(soft_hw, np.where(region_hw, (coarse_hw / peak).clip(0, 1), 0), out=soft_hw)
    return soft_hw


def _connected(mask_hw: NDArray[np.bool_], place: int) -> NDArray[np.bool_]:
    """Return the connected region of a mask that holds a cell, by its flat index."""
    regions_hw, _ = label(mask_hw, structure=_EIGHT)
    return np.asarray(regions_hw == regions_hw.flat[place])
