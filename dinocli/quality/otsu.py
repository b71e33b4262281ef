"""Otsu's threshold and the separation of the two classes."""

import numpy as np
from numpy.typing import NDArray

BINS = 256


def otsu(values: NDArray[np.floating]) -> float:
    """Return the threshold that maximises the between-class variance; the values may have any shape.

    The mean of all equally good thresholds; for constant input, that value.

    Source: Otsu 1979, on a histogram of 256 bins over the range of the values.
    """
    return _best(values)[0]


def separation(values: NDArray[np.floating]) -> float:
    """Return the between-class share of the variance at Otsu's threshold.

    1 for two distinct values, 0.64 for a normal and 0.75 for a uniform distribution: only larger values mean two
    classes.
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
