"""Cosine threshold for near-duplicates, estimated from the nearest-neighbour cosines of the folder.

Unrelated images reach a cosine of 0.6 in a folder of photographs, and 0.97 in a folder of steel plates. So the
threshold is relative to the distribution of the nearest-neighbour cosines (the bulk). The farther a pair lies above the
bulk, the less pixel similarity it needs to count as a copy.

Shapes: N images, P pairs, R pairs of unrelated images.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MUTUAL, BORDERLINE, CLEAR, FAR = 1.0, 3.0, 5.0, 10.0
"""Standard deviations above the bulk of cosines: lower limit of a candidate pair of mutual nearest neighbours, of any
candidate pair, of a clear one, of a certain one."""

UNRELATED_QUANTILE = 0.95
"""Quantile of the pixel similarity of unrelated pairs that a copy has to exceed."""

_MIN_PIXEL_SIMILARITY = ((BORDERLINE, 0.9), (CLEAR, 0.6), (FAR, 0.4))  # deviations above the bulk -> similarity
_UNRELATED_MARGIN = 0.25
_IDENTICAL = 1 - 1e-6  # cosine of equal features: the same file, or a lossless copy
_MIN_SPREAD = 0.02


@dataclass(frozen=True)
class CopyThreshold:
    """Location and scale of the nearest-neighbour cosines after `arctanh`, which makes them about symmetric.

    Args:
        centre: Median.
        spread: Robust standard deviation of the half below the median; copies lie above.
        measured: Some image has a neighbour with other features.
    """

    centre: float
    spread: float
    measured: bool = True

    def cosine(self, deviations: float) -> float:
        """Return the cosine at a number of standard deviations above the centre."""
        return float(np.tanh(self.centre + deviations * self.spread))

    def deviations(self, cosine_P: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the distance of each cosine above the centre in standard deviations, (P,)."""
        return np.asarray(
            (np.arctanh(np.clip(cosine_P, -_IDENTICAL, _IDENTICAL)) - self.centre) / self.spread, np.float64
        )

    def needed(self, cosine_P: NDArray[np.floating], unrelated_R: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the pixel similarity from which each pair counts as a copy, (P,).

        Args:
            cosine_P: Cosine of each pair.
            unrelated_R: Pixel similarity of random pairs. Parts from one mould are similar without being copies, so a
                copy needs at least a quarter of the distance from their 95 % quantile to 1.
        """
        at, values = zip(*_MIN_PIXEL_SIMILARITY, strict=True)
        usual = float(np.quantile(unrelated_R, UNRELATED_QUANTILE)) if len(unrelated_R) else 0.0
        return np.maximum(np.interp(self.deviations(cosine_P), at, values), usual + _UNRELATED_MARGIN * (1 - usual))


def copy_threshold(nearest_N: NDArray[np.floating]) -> CopyThreshold:
    """Estimate the threshold; pairs of identical features are left out.

    Args:
        nearest_N: Cosine of each image to its nearest neighbour.
    """
    scale_N = np.arctanh(np.clip(nearest_N[nearest_N < _IDENTICAL], -_IDENTICAL, _IDENTICAL))
    if not len(scale_N):
        return CopyThreshold(0.0, 1.0, measured=False)
    centre = float(np.median(scale_N))
    below = centre - scale_N[scale_N <= centre]
    return CopyThreshold(centre, max(1.4826 * float(np.median(below)), _MIN_SPREAD))
