"""Confidence interval of a mean paired difference.

Shapes: N pairs, U units that are drawn together (images, or groups of them).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Difference:
    """A mean difference and its 95 % interval.

    Args:
        mean: Of end - start.
        low: Lower end of the interval.
        high: Upper end of the interval.
    """

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        """Write it as reports do: `delta -0.12, 95 % CI -0.71 to +0.42`."""
        return f"delta {self.mean:+.2g}, 95 % CI {self.low:+.2g} to {self.high:+.2g}"


def paired_bootstrap(
    start_N: NDArray[np.floating],
    end_N: NDArray[np.floating],
    *,
    groups_N: NDArray[Any] | None = None,
    draws: int = 2000,
    seed: int = 0,
) -> Difference:
    """Estimate the mean of end - start and how sure it is.

    Pairs are drawn, not values: that some images are harder than others cancels out. Without groups the images count as
    independent, so a folder full of near-copies (frames of one video) gets an interval that is too narrow.

    Args:
        start_N: One value per image.
        end_N: The same images in the same order.
        groups_N: One group per image (a part, a slide, a patient): whole groups are drawn.
        draws: Resampled sets of images.
        seed: Of the drawing; the same seed gives the same interval.

    Returns:
        The mean and the 2.5 and 97.5 percentiles of the resampled means.

    Raises:
        ValueError: If there is no pair, or one side has more values.

    Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 13 (percentile interval).
    """
    if start_N.shape != end_N.shape or start_N.size == 0:
        raise ValueError(f"paired values need the same number, at least 1: {start_N.shape} and {end_N.shape}")
    change_N = end_N.astype(np.float64) - start_N.astype(np.float64)
    random = np.random.default_rng(seed)
    unit_N = np.arange(len(change_N)) if groups_N is None else np.unique(groups_N, return_inverse=True)[1]
    sums_U, sizes_U = np.bincount(unit_N, change_N), np.bincount(unit_N)
    means = []
    for _ in range(draws):  # one at a time: all of them together would take draws * N indices, 800 MB for 50,000 images
        drawn = random.integers(0, len(sums_U), len(sums_U))
        means.append(sums_U[drawn].sum() / sizes_U[drawn].sum())
    low, high = np.percentile(means, [2.5, 97.5])
    return Difference(float(change_N.mean()), float(low), float(high))
