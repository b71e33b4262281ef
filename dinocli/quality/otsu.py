"""Otsu's threshold."""

import numpy as np
from numpy.typing import NDArray

BINS = 256


def otsu(values: NDArray[np.floating]) -> float:
    """Return the threshold with the largest variance between what is below and what is above; any shape.

    Of a stretch of equally good ones the middle; the value itself where all are the same.

    Source: Otsu 1979, on a histogram of 256 bins over the range of the values.
    """
    return _best(values)[0]


def separation(values: NDArray[np.floating]) -> float:
    """Return the share of the variance that lies between the two groups of `otsu`.

    1 for two points, 0.64 for one normal distribution, 0.75 for an even one: only above that there are two groups.
    """
    return _best(values)[1]


def _best(values: NDArray[np.floating]) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    if not low < high:
        return low, 0.0
    counts, edges = np.histogram(values, BINS, (low, high))
    middles = (edges[1:] + edges[:-1]) / 2
    below = counts.cumsum()[:-1]
    above = counts.sum() - below
    sums = (counts * middles).cumsum()
    between = np.zeros(BINS - 1)
    both = (below > 0) & (above > 0)
    gap = sums[:-1][both] / below[both] - (sums[-1] - sums[:-1][both]) / above[both]
    between[both] = below[both] * above[both] * gap**2
    best = np.flatnonzero(between >= between.max() * (1 - 1e-12))
    total = (counts * (middles - sums[-1] / counts.sum()) ** 2).sum() * counts.sum()
    return float(edges[1:-1][best].mean()), float(between.max() / total) if total > 0 else 0.0
