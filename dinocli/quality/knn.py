"""Weighted k-nearest-neighbour classification, leave-one-out or with a train/test split.

Shapes: N images, G gallery images, Q queries, D width, C classes, R rows of one block, k neighbours.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dinocli.errors import DataError
from dinocli.quality.cosine import similarity_blocks, unit_rows

NEIGHBOURS, TEMPERATURE = 20, 0.07
"""k, and temperature of the votes, as in DINO."""


class NeighbourVotes(NamedTuple):
    """k-NN predictions with votes and neighbours.

    Args:
        predicted_Q: Label with the largest weight of votes.
        confidence_Q: Share of the votes for the predicted label, 0 to 1.
        own_Q: Share of the votes for the true label, 0 to 1.
        nearest_Qk: Rows of the neighbours, most similar first; -1 where there are fewer than k.
    """

    predicted_Q: NDArray[Any]
    confidence_Q: NDArray[np.float64]
    own_Q: NDArray[np.float64]
    nearest_Qk: NDArray[np.intp]


def knn_votes(
    features_ND: NDArray[np.floating],
    labels_N: NDArray[Any],
    *,
    k: int = NEIGHBOURS,
    groups_N: NDArray[Any] | None = None,
    learn_N: NDArray[np.bool_] | None = None,
) -> NeighbourVotes:
    """Predict every label by weighted k-NN over the other images.

    Each neighbour votes for its label with the weight exp(cosine / `TEMPERATURE`). Consecutive frames are almost copies
    and would vote for each other: give them a common group, whose images are not neighbours of each other.

    Args:
        features_ND: Finite features.
        labels_N: One label per image, of any sortable type.
        k: Number of neighbours, reduced to N - 1 in small sets.
        groups_N: One group per image (a part, a slide, a patient); without it only the image itself is left out.
        learn_N: Gallery images; only the others are predicted. Without it every image is in the gallery and is
            predicted.

    Raises:
        DataError: No gallery image is left.

    Source: Wu et al. 2018, arXiv:1805.01978, section 3.4, with DINO's k and temperature. Departs: leave-one-out.
    """
    count = len(features_ND)
    classes_C, class_N = np.unique(labels_N, return_inverse=True)
    group_N = group_numbers(count, groups_N)
    if count == 0 or (group_N == group_N[0]).all():
        raise DataError(f"all {count} labelled images are in one group; k-NN needs at least two groups (or images)")
    gallery_G, query_Q = gallery_and_queries(count, learn_N)
    units_ND = unit_rows(features_ND).astype(np.float32)
    cut = len(gallery_G) - min(k, len(gallery_G) - (learn_N is None))
    blocks = []
    for index_R, cosine_RG in similarity_blocks(units_ND[query_Q], units_ND[gallery_G]):
        query_R = query_Q[index_R]
        # Gives weight 0. An image is always in its own group.
        cosine_RG[group_N[query_R, None] == group_N[gallery_G]] = -np.inf
        places_Rk = np.argpartition(cosine_RG, cut, axis=1)[:, cut:]
        cosine_Rk, nearest_Rk = np.take_along_axis(cosine_RG, places_Rk, 1), gallery_G[places_Rk]
        votes_RC = _votes(cosine_Rk, class_N[nearest_Rk], len(classes_C))
        share_RC = votes_RC / votes_RC.sum(axis=1, keepdims=True)
        order_Rk = np.argsort(-cosine_Rk, axis=1, kind="stable")
        sorted_Rk = np.take_along_axis(np.where(np.isfinite(cosine_Rk), nearest_Rk, -1), order_Rk, 1)
        own_R = np.take_along_axis(share_RC, class_N[query_R, None], 1)[:, 0]
        blocks.append((classes_C[votes_RC.argmax(axis=1)], share_RC.max(axis=1), own_R, sorted_Rk))
    return NeighbourVotes(*(np.concatenate(parts) for parts in zip(*blocks, strict=True)))


def _votes(cosine_Rk: NDArray[np.float32], class_Rk: NDArray[np.intp], classes: int) -> NDArray[np.float64]:
    """Sum the weights per class, (R, C); relative to the largest of the row, to avoid overflow."""
    best_R1 = cosine_Rk.max(axis=1, keepdims=True)
    weight_Rk = np.exp((cosine_Rk - best_R1).astype(np.float64) / TEMPERATURE)
    votes_RC = np.zeros((len(cosine_Rk), classes))
    np.add.at(votes_RC, (np.arange(len(cosine_Rk))[:, None], class_Rk), weight_Rk)
    return votes_RC


def group_numbers(count: int, groups_N: NDArray[Any] | None) -> NDArray[np.intp]:
    """Return the number of the group of each of `count` images; without groups every image is its own."""
    return np.arange(count) if groups_N is None else np.unique(groups_N, return_inverse=True)[1]


def gallery_and_queries(count: int, learn_N: NDArray[np.bool_] | None) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the indices of gallery and query images; both are all images without `learn_N`.

    Raises:
        DataError: Gallery or queries are empty.
    """
    if learn_N is None:
        return np.arange(count), np.arange(count)
    if learn_N.all() or not learn_N.any():
        raise DataError(f"{learn_N.sum()} of {count} images are to learn from, none is left for the other side")
    return np.flatnonzero(learn_N), np.flatnonzero(~learn_N)


def accuracy(labels_N: NDArray[Any], predicted_N: NDArray[Any]) -> float:
    """Return the share of correct predictions, 0 to 1."""
    from sklearn.metrics import accuracy_score  # loads for two seconds, and most runs have no labels

    return float(accuracy_score(labels_N, predicted_N))


def balanced_accuracy(labels_N: NDArray[Any], predicted_N: NDArray[Any]) -> float:
    """Return the mean recall over the classes, 0 to 1; chance is 1 / classes."""
    from sklearn.metrics import recall_score

    return float(recall_score(labels_N, predicted_N, labels=np.unique(labels_N), average="macro"))


def macro_f1(labels_N: NDArray[Any], predicted_N: NDArray[Any]) -> float:
    """Return the unweighted mean F1 over the classes, 0 to 1: a rare defect counts as much as the good parts."""
    from sklearn.metrics import f1_score

    return float(f1_score(labels_N, predicted_N, average="macro", zero_division=0))
