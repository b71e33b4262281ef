"""Overlap of the k nearest neighbours of each image between two networks, such as student and frozen teacher.

Shapes: N images, D and E widths, k neighbours.
"""

import numpy as np
from numpy.typing import NDArray

from dinocli.quality.nearest_rows import nearest_rows

NEIGHBOURS = 10
"""k, reduced to N - 1 in small sets."""


def shared_neighbours(features_ND: NDArray[np.floating], other_NE: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the share of nearest neighbours of each image that two networks have in common.

    It does not measure which of the two is right.

    Args:
        features_ND: Finite features of one network.
        other_NE: Finite features of the other, the same images in the same order; the width may differ.

    Returns:
        (N,), 0 to 1; k / (N - 1) on average by chance, and 1 for a single image.

    Raises:
        ValueError: The numbers of images differ.
    """
    count = len(features_ND)
    if count != len(other_NE):
        raise ValueError(f"the same images are needed twice: {count} and {len(other_NE)}")
    if count < 2:
        return np.ones(count)
    k, itself_N = min(NEIGHBOURS, count - 1), np.arange(count)
    one, other = (nearest_rows(rows, rows, k, leave_out=itself_N).rows_QK for rows in (features_ND, other_NE))
    return np.array([np.isin(a, b, assume_unique=True).sum() / k for a, b in zip(one, other, strict=True)])
