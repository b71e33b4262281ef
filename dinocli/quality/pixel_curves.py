"""Pixel AUROC and AUPRO over a folder, in memory that does not grow with the folder.

A thousand images have a billion pixel scores, too many to sort. So scores are counted in a histogram that needs no
known range: bins are the leading bits of the float, which sort like the floats. A bin is 0.2 % of its score wide;
scores within one bin count as ties. Stored are the counts per image, and for more than 256 images per group of images.

Shapes: H W pixels, K bins, G groups of images.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dinocli.quality.bootstrap import ScoreInterval, bootstrap

GROUPS = 256
"""Resampling units of the intervals; with more images, every unit holds several, and the interval stays valid."""

MAX_FALSE_POSITIVE_RATE = 0.3
"""Upper limit of the integral of AUPRO, as usually reported."""

_BITS = 18  # sign, 8 bits of exponent, 9 of the fraction
_DRAWS = 300
_EIGHT_NEIGHBOURS = np.ones((3, 3))


class PixelScores(NamedTuple):
    """Pixel AUROC and AUPRO, 0 to 1.

    Args:
        auroc: Probability that a defective pixel scores higher than a good one.
        aupro: Area under the per-region overlap curve up to a false positive rate of 0.3, divided by 0.3: small regions
            count as much as large ones.
    """

    auroc: ScoreInterval
    aupro: ScoreInterval


class PixelCurves:
    """Accumulator of pixel scores, image by image."""

    def __init__(self) -> None:
        self._groups: list[_Counts] = []
        self._images = 0

    def add(self, truth_HW: NDArray[np.bool_], score_HW: NDArray[np.floating]) -> None:
        """Add one image.

        Args:
            truth_HW: Ground-truth mask.
            score_HW: Anomaly map, finite, any range, comparable between images.

        Raises:
            ValueError: The sizes differ, or a score is not finite.
        """
        if truth_HW.shape != score_HW.shape:
            raise ValueError(f"scores of {score_HW.shape} pixels do not lie on a truth of {truth_HW.shape}")
        counts = _count(truth_HW, score_HW)
        place = self._images % GROUPS
        self._images += 1
        if place == len(self._groups):
            self._groups.append(counts)
        else:
            self._groups[place] = _merged(self._groups[place], counts)

    def scores(self, *, seed: int = 0) -> PixelScores:
        """Return both areas with intervals; NaN if the ground truth is empty or covers every pixel."""
        bins_K = np.unique(np.concatenate([group.bins_K for group in self._groups] or [np.empty(0, np.int64)]))
        columns_GK3 = np.zeros((len(self._groups), len(bins_K), 3), np.float32)
        for place, group in enumerate(self._groups):
            columns_GK3[place, np.searchsorted(bins_K, group.bins_K)] = group.columns_K3
        regions_G = np.array([group.regions for group in self._groups], np.float64)
        flat = columns_GK3.reshape(len(self._groups), 3 * len(bins_K))

        def total(weights_G: NDArray[np.float64]) -> NDArray[np.float64]:
            return (weights_G.astype(np.float32) @ flat).reshape(-1, 3).astype(np.float64)

        return PixelScores(
            bootstrap(lambda w_G: _auroc(total(w_G)), len(regions_G), draws=_DRAWS, seed=seed),
            bootstrap(lambda w_G: _aupro(total(w_G), float(w_G @ regions_G)), len(regions_G), draws=_DRAWS, seed=seed),
        )


class _Counts(NamedTuple):
    """Histogram: sorted bins, with columns for good pixels, defective pixels and summed region fractions."""

    bins_K: NDArray[np.int64]
    columns_K3: NDArray[np.float64]
    regions: int


def ordered_bins(scores: NDArray[np.floating]) -> NDArray[np.int64]:
    """Return the bin of each score, a monotonic function of the score."""
    # Adding 0 turns -0.0, which has another bit pattern, into 0.0.
    bits = (scores.astype(np.float32) + np.float32(0)).view(np.int32).astype(np.int64)
    ordered = np.where(bits < 0, -(bits & 0x7FFFFFFF) - 1, bits)  # negative floats sort in reverse
    return ordered >> (32 - _BITS)


def _count(truth_HW: NDArray[np.bool_], score_HW: NDArray[np.floating]) -> _Counts:
    if not np.isfinite(score_HW).all():
        raise ValueError("a score is not finite")
    region_HW, regions = ndimage.label(truth_HW, _EIGHT_NEIGHBOURS)
    share = np.zeros(regions + 1)
    share[1:] = 1 / np.bincount(region_HW.reshape(-1), minlength=regions + 1)[1:]
    bins_K, place = np.unique(ordered_bins(score_HW).reshape(-1), return_inverse=True)
    columns = [
        np.bincount(place, weights=weights.reshape(-1), minlength=len(bins_K))
        for weights in (~truth_HW, truth_HW, share[region_HW])
    ]
    return _Counts(bins_K, np.stack(columns, axis=1), int(regions))


def _merged(one: _Counts, other: _Counts) -> _Counts:
    bins_K = np.union1d(one.bins_K, other.bins_K)
    columns_K3 = np.zeros((len(bins_K), 3))
    for part in (one, other):
        columns_K3[np.searchsorted(bins_K, part.bins_K)] += part.columns_K3
    return _Counts(bins_K, columns_K3, one.regions + other.regions)


def _auroc(columns_K3: NDArray[np.float64]) -> float:
    outside, inside = columns_K3[:, 0], columns_K3[:, 1]
    pairs = outside.sum() * inside.sum()
    below = np.cumsum(outside) - outside / 2  # equal scores count half
    return float(inside @ below / pairs) if pairs else float("nan")


def _aupro(columns_K3: NDArray[np.float64], regions: float) -> float:
    """Integrate the mean per-region overlap over the false positive rate, from the highest score down.

    Source: Bergmann et al. 2021, The MVTec Anomaly Detection Dataset, section 5.3 (PRO), limit 0.3.
    """
    outside = columns_K3[:, 0].sum()
    if not outside or not regions:
        return float("nan")
    rate = np.concatenate([[0.0], np.cumsum(columns_K3[::-1, 0]) / outside])
    overlap = np.concatenate([[0.0], np.cumsum(columns_K3[::-1, 2]) / regions])
    inner = rate < MAX_FALSE_POSITIVE_RATE
    x = np.append(rate[inner], MAX_FALSE_POSITIVE_RATE)
    y = np.append(overlap[inner], np.interp(MAX_FALSE_POSITIVE_RATE, rate, overlap))
    return float(np.trapezoid(y, x) / MAX_FALSE_POSITIVE_RATE)
