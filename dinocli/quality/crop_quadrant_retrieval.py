"""Crop/quadrant retrieval: the label-free selection score of a run, on which the verdict is based.

Shapes: N images, D width, 4 quadrants.
"""

import numpy as np
from numpy.typing import NDArray

from dinocli.quality.scores import augmentation_retrieval

RETRIEVAL_SCORE = "crop_quadrant_retrieval"
RETRIEVAL_LABEL = "crop/quadrant retrieval (0 is best)"
"""Label of the mean over images: a sum of two log reciprocal ranks."""

QUADRANTS = 4
"""Quarters of an image: upper left, upper right, lower left, lower right."""


def crop_quadrant_retrieval(
    clean_ND: NDArray[np.floating], crop_ND: NDArray[np.floating], quadrants_4ND: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Return the log reciprocal rank of each image among the results of its crop and its quadrants.

    The query of the first term is a crop, its gallery the clean images. The query of the second is a quadrant, its
    gallery the quadrants of the opposite corner, with which it shares no pixel. No colour is changed, so that a network
    trained to ignore colour jitter gains nothing. The mean of logs ranks networks like the log of the mean, with half
    the noise where most quadrants are not found.

    Args:
        clean_ND: Finite features of whole images.
        crop_ND: Finite features of one crop of each image, same order.
        quadrants_4ND: Finite features of the quadrants of each image, same order.

    Returns:
        (N,): log reciprocal rank of the crop plus the mean log reciprocal rank of the two pairs of quadrants; at most
        0. One value per image, so that two networks can be compared image by image.

    Source: docs/guard.md compares it with other scores.
    """
    crop_N = augmentation_retrieval(clean_ND, crop_ND).reciprocal_rank_N
    upper_left, upper_right, lower_left, lower_right = quadrants_4ND
    pairs = ((upper_left, lower_right), (upper_right, lower_left))
    pairs_2N = np.stack([augmentation_retrieval(one, other).reciprocal_rank_N for one, other in pairs])
    return np.asarray(np.log(crop_N) + np.log(pairs_2N).mean(axis=0))
