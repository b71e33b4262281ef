"""IoU and Dice of masks, per image and over a folder, with confidence intervals.

Shapes: H W pixels, N images, A attention heads.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dinocli.quality.bootstrap import DRAWS, ScoreInterval, bootstrap


class Overlap(NamedTuple):
    """Pixel counts of a mask and its ground truth.

    Args:
        both: Pixels of the intersection.
        either: Pixels of the union.
        mask: Pixels of the mask.
        truth: Pixels of the ground truth.
    """

    both: int
    either: int
    mask: int
    truth: int

    @property
    def iou(self) -> float:
        """Intersection over union; 1 where both are empty, a correct prediction."""
        return self.both / self.either if self.either else 1.0

    @property
    def dice(self) -> float:
        """Dice coefficient (pixel F1): 2 x intersection / sum of both areas; 1 where both are empty."""
        return 2 * self.both / (self.mask + self.truth) if self.either else 1.0


class HeadOverlap(NamedTuple):
    """Overlap of attention heads with the objects of one image.

    Args:
        best: Mean over objects of the best head's IoU: an upper bound, as the ground truth selects the head.
        mean: Mean IoU over objects and heads.
    """

    best: float
    mean: float


def overlap(truth_HW: NDArray[np.bool_], mask_HW: NDArray[np.bool_]) -> Overlap:
    """Count the pixels of a mask and its ground truth.

    Raises:
        ValueError: Their sizes differ.
    """
    if truth_HW.shape != mask_HW.shape:
        raise ValueError(f"a mask of {mask_HW.shape} pixels does not lie on a truth of {truth_HW.shape}")
    both, mask, truth = (int(np.count_nonzero(part)) for part in (truth_HW & mask_HW, mask_HW, truth_HW))
    return Overlap(both, mask + truth - both, mask, truth)


def head_overlap(objects_HW: NDArray[np.integer], masks_AHW: NDArray[np.bool_]) -> HeadOverlap:
    """Return the IoU of the masks of attention heads with the objects of an image.

    Args:
        objects_HW: 0 is background, every other value one object.
        masks_AHW: One mask per head.

    Returns:
        NaN for an image without an object.

    Source: Jaccard score of Caron et al. 2021, arXiv:2104.14294, section 4.2.2 (best head). Departs: mean head too.
    """
    values = np.unique(objects_HW)
    objects = [objects_HW == value for value in values[values != 0]]
    if not objects:
        return HeadOverlap(float("nan"), float("nan"))
    ious_OA = np.array([[overlap(item, mask).iou for mask in masks_AHW] for item in objects])
    return HeadOverlap(float(ious_OA.max(axis=1).mean()), float(ious_OA.mean()))


def mean_estimate(values_N: Sequence[float]) -> ScoreInterval:
    """Return the mean over images with its interval, NaN ignored."""
    defined_N = np.array([value for value in values_N if value == value], dtype=np.float64)
    if not defined_N.size:
        return ScoreInterval(float("nan"), float("nan"), float("nan"))
    return bootstrap(lambda weights_N: float(weights_N @ defined_N / weights_N.sum()), defined_N.size)


def overall(overlaps_N: Sequence[Overlap], *, dice: bool = False, draws: int = DRAWS) -> ScoreInterval:
    """Return the IoU (or Dice) over the pooled pixels of all images: large images and objects weigh more."""
    counts_N4 = np.array(overlaps_N, dtype=np.float64).reshape(-1, 4)

    def pooled(weights_N: NDArray[np.float64]) -> float:
        both, either, mask, truth = weights_N @ counts_N4
        above, below = (2 * both, mask + truth) if dice else (both, either)
        return float(above / below) if below else 1.0

    return bootstrap(pooled, len(counts_N4), draws=draws)
