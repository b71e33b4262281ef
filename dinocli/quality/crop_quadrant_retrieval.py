"""Crop/quadrant retrieval: the label-free score that selects the weights of a run and decides its verdict.

Shapes: N images, D width, 4 quadrants.
"""

import numpy as np
from numpy.typing import NDArray

from dinocli.quality.scores import augmentation_retrieval

KEY = "crop_quadrant_retrieval"
LABEL = "crop/quadrant retrieval (0 is best)"
"""Mean over images; a sum of two logs of reciprocal ranks."""

QUADRANTS = 4
"""Quarters of an image: upper left, upper right, lower left, lower right."""


def crop_quadrant_retrieval(
    clean_ND: NDArray[np.floating], crop_ND: NDArray[np.floating], quadrants_4ND: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Return the log reciprocal rank at which a crop and the quadrants of each image find that image.

    A crop searches the clean images. A quadrant searches the quadrants of the opposite corner, with which it shares no
    pixel. No colour is changed, so a network that has learnt to ignore the colour changes of the training gains
    nothing. The mean of logs ranks networks like the log of the mean, with half of the noise where most quadrants are
    not found.

    Args:
        clean_ND: Finite features of whole images.
        crop_ND: Finite features of one crop of each image, same order.
        quadrants_4ND: Finite features of the quadrants of each image, same order.

    Returns:
        (N,): log reciprocal rank of the crop plus the mean log reciprocal rank of the two pairs of quadrants; at most
        0. One value per image, so that two networks can be compared image by image.

    Source: docs/guard.md has the comparison with other scores.
    """
    crop_N = augmentation_retrieval(clean_ND, crop_ND).reciprocal_rank_N
    upper_left, upper_right, lower_left, lower_right = quadrants_4ND
    pairs = ((upper_left, lower_right), (upper_right, lower_left))
    pairs_2N = np.stack([augmentation_retrieval(one, other).reciprocal_rank_N for one, other in pairs])
    return np.asarray(np.log(crop_N) + np.log(pairs_2N).mean(axis=0))
