"""Is a difference more than luck: an interval for paired values.

Shapes: N pairs.
"""

from dataclasses import dataclass

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


def paired_bootstrap(
    start_N: NDArray[np.floating], end_N: NDArray[np.floating], *, draws: int = 2000, seed: int = 0
) -> Difference:
    """Estimate the mean of end - start and how sure it is.

    Pairs are drawn, not values: that some images are harder than others cancels out. The images count as independent,
    so a folder full of near-copies (frames of one video) gets an interval that is too narrow.

    Args:
        start_N: One value per image.
        end_N: The same images in the same order.
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
    # One draw at a time: all of them together would take draws * N indices, 800 MB for 50,000 images.
    means = [change_N[random.integers(0, len(change_N), len(change_N))].mean() for _ in range(draws)]
    low, high = np.percentile(means, [2.5, 97.5])
    return Difference(float(change_N.mean()), float(low), float(high))
