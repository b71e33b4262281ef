"""Retrieval scores with labels: average precision and precision@k of each query.

Shapes: N images, G gallery images, Q queries, D width, R rows of one block.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dinocli.quality.cosine import similarity_blocks, unit_rows
from dinocli.quality.knn import gallery_and_queries, group_numbers


class Ranking(NamedTuple):
    """Scores of each query; NaN where the gallery has no image of its class.

    Args:
        average_precision_Q: Average precision, 0 to 1.
        precision_Q: Precision@k, 0 to 1.
    """

    average_precision_Q: NDArray[np.float64]
    precision_Q: NDArray[np.float64]


def rank_classes(
    features_ND: NDArray[np.floating],
    labels_N: NDArray[Any],
    *,
    first: int = 10,
    groups_N: NDArray[Any] | None = None,
    learn_N: NDArray[np.bool_] | None = None,
) -> Ranking:
    """Rank the gallery by cosine for each query and score the images of the query's class as relevant.

    The mean of the average precision is the mAP. It demands more than a classifier: all images of a class must be near
    each other, so a class with two modes scores lower. Chance is the share of the class.

    Args:
        features_ND: Finite features.
        labels_N: One label per image, of any sortable type.
        first: k of precision@k; at most the size of the gallery.
        groups_N: One group per image (a part, a slide, a patient); images of the query's group are excluded. Without it
            only the image itself is.
        learn_N: Gallery images; only the others are queries. Without it every image is both.

    Source: Manning, Raghavan and Schütze 2008, Introduction to Information Retrieval, section 8.4.
    """
    class_N = np.unique(labels_N, return_inverse=True)[1]
    group_N = group_numbers(len(class_N), groups_N)
    gallery_G, query_Q = gallery_and_queries(len(class_N), learn_N)
    units_ND = unit_rows(features_ND).astype(np.float32)
    average_Q, precision_Q = np.empty(len(query_Q)), np.empty(len(query_Q))
    ranks_G = np.arange(1, len(gallery_G) + 1)
    for index_R, cosine_RG in similarity_blocks(units_ND[query_Q], units_ND[gallery_G]):
        rows_R1 = query_Q[index_R, None]
        own_RG = group_N[rows_R1] == group_N[gallery_G]
        cosine_RG[own_RG] = -np.inf  # ranked last
        same_RG = (class_N[rows_R1] == class_N[gallery_G]) & ~own_RG
        hits_RG = np.take_along_axis(same_RG, np.argsort(-cosine_RG, axis=1, kind="stable"), 1)
        found_RG = hits_RG.cumsum(axis=1)
        relevant_R = found_RG[:, -1]
        with np.errstate(invalid="ignore"):
            average_Q[index_R] = (hits_RG * found_RG / ranks_G).sum(axis=1) / relevant_R
            length_R = np.clip((~own_RG).sum(axis=1), 1, first)
            precision_Q[index_R] = np.where(
                relevant_R, np.take_along_axis(found_RG, length_R[:, None] - 1, 1)[:, 0] / length_R, np.nan
            )
    return Ranking(average_Q, precision_Q)
