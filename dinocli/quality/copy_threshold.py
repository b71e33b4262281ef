"""Threshold of near-duplicates: a cosine estimated from the folder's own nearest neighbours.

In a folder of photographs unrelated images reach a cosine of 0.6, in one of steel plates of 0.97. So the bulk of the
nearest-neighbour cosines is measured, and a copy has to stand out from it. Above the bulk a pair needs less likeness of
its pixels to count as a copy, the farther out it lies.

Shapes: N images, P pairs, R pairs of unrelated images.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BORDERLINE, CLEAR, FAR = 2.5, 5.0, 10.0
"""Standard deviations above the bulk: from where pixels may decide, where features do without them, where all fits."""

_NEEDED = ((BORDERLINE, 0.9), (CLEAR, 0.6), (FAR, 0.4))
_UNRELATED_QUANTILE, _BEYOND = 0.95, 0.25
_SAME = 1 - 1e-6  # equal features: the same file, or one that was saved again without loss
_LEAST_SPREAD = 0.02


@dataclass(frozen=True)
class CopyThreshold:
    """The bulk of nearest-neighbour cosines on the scale of `arctanh`, where it is about symmetric.

    Args:
        centre: Median.
        spread: Standard deviation, from the half below the median: copies lie above.
    """

    centre: float
    spread: float

    def cosine(self, deviations: float) -> float:
        """Return the cosine that lies this many standard deviations above the bulk."""
        return float(np.tanh(self.centre + deviations * self.spread))

    def deviations(self, cosine_P: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return how many standard deviations above the bulk cosines lie."""
        return np.asarray((np.arctanh(np.clip(cosine_P, -_SAME, _SAME)) - self.centre) / self.spread, np.float64)

    def needed(self, cosine_P: NDArray[np.floating], unrelated_R: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the likeness of pixels that makes a pair a copy.

        Args:
            cosine_P: Of the pairs.
            unrelated_R: Likeness of pixels of pairs drawn at random: parts from one mould are alike without being
                copies, so a copy has to go a quarter of the way from them to 1.
        """
        at, values = zip(*_NEEDED, strict=True)
        usual = float(np.quantile(unrelated_R, _UNRELATED_QUANTILE)) if len(unrelated_R) else 0.0
        return np.maximum(np.interp(self.deviations(cosine_P), at, values), usual + _BEYOND * (1 - usual))


def copy_threshold(nearest_N: NDArray[np.floating]) -> CopyThreshold:
    """Measure the bulk.

    Args:
        nearest_N: Cosine of each image to its nearest other one.
    """
    scale_N = np.arctanh(np.clip(nearest_N[nearest_N < _SAME], -_SAME, _SAME))
    if not len(scale_N):
        return CopyThreshold(0.0, 1.0)
    centre = float(np.median(scale_N))
    below = centre - scale_N[scale_N <= centre]
    return CopyThreshold(centre, max(1.4826 * float(np.median(below)), _LEAST_SPREAD))
