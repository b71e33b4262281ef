"""Few-shot accuracy: nearest class mean of a few labelled images per class.

Shapes: N images, D width, C classes, G groups, S draws.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dinocli.quality.cosine import unit_rows
from dinocli.quality.knn import gallery_and_queries, group_numbers


def few_shot(
    features_ND: NDArray[np.floating],
    labels_N: NDArray[Any],
    shots: int,
    *,
    draws: int = 20,
    groups_N: NDArray[Any] | None = None,
    learn_N: NDArray[np.bool_] | None = None,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Return the accuracy of each image over random few-shot draws, classified by the nearest class mean.

    The draws depend only on the labels and the seed, so that two networks get the same labelled images and can be
    compared image by image.

    Args:
        features_ND: Finite features.
        labels_N: One label per image, of any sortable type.
        shots: Labelled images a class. A smaller class gives all but one of its images.
        draws: Number of draws of labelled images.
        groups_N: One group per image (a part, a slide, a patient): images in the group of a labelled one are not
            tested.
        learn_N: Images to draw from; only the others are tested. Without it every image can be either.
        seed: Seed of the draws.

    Returns:
        Accuracy over the draws of each tested image, in their order; NaN for an image that was never tested.

    Source: Snell et al. 2017, arXiv:1703.05175 (nearest class mean); cosine instead of squared distance.
    """
    classes_C, class_N = np.unique(labels_N, return_inverse=True)
    group_N = group_numbers(len(class_N), groups_N)
    gallery, query = gallery_and_queries(len(class_N), learn_N)
    taken_G = np.zeros(int(group_N.max(initial=-1)) + 1, bool)
    units_ND = unit_rows(features_ND)
    random = np.random.default_rng(seed)
    right_SN = np.full((draws, len(class_N)), np.nan, np.float32)
    for right_N in right_SN:
        drawn = [
            _draw(gallery[class_N[gallery] == c], shots, random, spare=learn_N is None) for c in range(len(classes_C))
        ]
        means_CD = unit_rows(
            np.stack([units_ND[rows].mean(axis=0) if len(rows) else 0 * units_ND[0] for rows in drawn])
        )
        taken_G[:] = False
        taken_G[group_N[np.concatenate(drawn)]] = True
        test = query[~taken_G[group_N[query]]]
        right_N[test] = (units_ND[test] @ means_CD.T).argmax(axis=1) == class_N[test]
    tested_N = np.isfinite(right_SN).sum(axis=0)
    share_N = np.nansum(right_SN, axis=0, dtype=np.float64) / np.where(tested_N, tested_N, np.nan)
    return np.asarray(share_N[query])


def _draw(rows: NDArray[np.intp], shots: int, random: np.random.Generator, *, spare: bool) -> NDArray[np.intp]:
    """Choose labelled images of a class; `spare` leaves at least one for the test."""
    return random.permutation(rows)[: min(shots, max(1, len(rows) - spare))]
