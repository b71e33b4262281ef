"""Weighted k-nearest-neighbour classification, leave-one-out or with a train/test split.

Shapes: N images, G images of the gallery, Q images that ask, D width, C classes, R rows of one block, k neighbours.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, f1_score

from dinocli.errors import DataError
from dinocli.quality.cosine import similarity_blocks, unit_rows


def knn_classify(
    features_ND: NDArray[np.floating],
    labels_N: NDArray[Any],
    *,
    k: int = 20,
    temperature: float = 0.07,
    groups_N: NDArray[Any] | None = None,
    learn_N: NDArray[np.bool_] | None = None,
) -> NDArray[Any]:
    """Predict every label from the k most similar other images.

    Each neighbour votes for its label with the weight exp(cosine / temperature). Images that were taken one after the
    other are almost copies and would vote for each other: give them a common group, and none of it takes part.

    Args:
        features_ND: Finite features.
        labels_N: One label per image, of any sortable type.
        k: Neighbours that vote, at most N - 1 of them.
        temperature: Of the weights; the smaller, the more the nearest alone decides.
        groups_N: One group per image (a part, a slide, a patient); without it only the image itself is left out.
        learn_N: The images that vote, and only the others are predicted; without it every image is and does both.

    Returns:
        One predicted label per image that is predicted, in their order, of the type of `labels_N`.

    Raises:
        DataError: If no image is left to vote.

    Source: Wu et al. 2018, arXiv:1805.01978, section 3.4, with DINO's k and temperature. Departs: leave-one-out.
    """
    classes_C = np.unique(labels_N)
    blocks = _voting(features_ND, labels_N, k, temperature, groups_N, learn_N)
    return np.asarray(classes_C[np.concatenate([votes_RC.argmax(axis=1) for *_, votes_RC in blocks])])


class NeighbourVotes(NamedTuple):
    """What the neighbours of each image say.

    Args:
        predicted_Q: Label with the most votes.
        confidence_Q: Its share of all votes, 0 to 1.
        own_Q: Share of the votes for the image's own label, 0 to 1.
        nearest_Qk: The neighbours that vote, most similar first, as rows of the features; -1 where there are fewer.
    """

    predicted_Q: NDArray[Any]
    confidence_Q: NDArray[np.float64]
    own_Q: NDArray[np.float64]
    nearest_Qk: NDArray[np.intp]


def knn_votes(
    features_ND: NDArray[np.floating],
    labels_N: NDArray[Any],
    *,
    k: int = 20,
    temperature: float = 0.07,
    groups_N: NDArray[Any] | None = None,
    learn_N: NDArray[np.bool_] | None = None,
) -> NeighbourVotes:
    """Predict as `knn_classify` does, and say by which neighbours and how surely.

    Args:
        features_ND: As for `knn_classify`, and so are all others.
        labels_N: One label per image.
        k: Neighbours that vote.
        temperature: Of the weights.
        groups_N: One group per image.
        learn_N: The images that vote.

    Raises:
        DataError: If no image is left to vote.
    """
    classes_C, class_N = np.unique(labels_N, return_inverse=True)
    found = []
    for query_R, cosine_Rk, nearest_Rk, votes_RC in _voting(features_ND, labels_N, k, temperature, groups_N, learn_N):
        share_RC = votes_RC / votes_RC.sum(axis=1, keepdims=True)
        order_Rk = np.argsort(-cosine_Rk, axis=1, kind="stable")
        sorted_Rk = np.take_along_axis(np.where(np.isfinite(cosine_Rk), nearest_Rk, -1), order_Rk, 1)
        own_R = np.take_along_axis(share_RC, class_N[query_R, None], 1)[:, 0]
        found.append((classes_C[share_RC.argmax(axis=1)], share_RC.max(axis=1), own_R, sorted_Rk))
    return NeighbourVotes(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


def _voting(
    features_ND: NDArray[np.floating],
    labels_N: NDArray[Any],
    k: int,
    temperature: float,
    groups_N: NDArray[Any] | None,
    learn_N: NDArray[np.bool_] | None,
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.float32], NDArray[np.intp], NDArray[np.float64]]]:
    """Yield for some images at a time their rows, the cosines and rows of their neighbours, and the votes."""
    count = len(features_ND)
    classes_C, class_N = np.unique(labels_N, return_inverse=True)
    group_N = np.arange(count) if groups_N is None else np.unique(groups_N, return_inverse=True)[1]
    if count == 0 or (group_N == group_N[0]).all():
        raise DataError(f"all {count} labelled images are in one group; k-NN needs at least two groups (or images)")
    gallery_G, query_Q = sides(count, learn_N)
    units_ND = unit_rows(features_ND).astype(np.float32)
    cut = len(gallery_G) - min(k, len(gallery_G) - (learn_N is None))
    for index_R, cosine_RG in similarity_blocks(units_ND[query_Q], units_ND[gallery_G]):
        # Weight 0; an image is always in its own group.
        cosine_RG[group_N[query_Q[index_R], None] == group_N[gallery_G]] = -np.inf
        places_Rk = np.argpartition(cosine_RG, cut, axis=1)[:, cut:]
        cosine_Rk, nearest_Rk = np.take_along_axis(cosine_RG, places_Rk, 1), gallery_G[places_Rk]
        yield (
            query_Q[index_R],
            cosine_Rk,
            nearest_Rk,
            _votes(cosine_Rk, class_N[nearest_Rk], len(classes_C), temperature),
        )


def sides(count: int, learn_N: NDArray[np.bool_] | None) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the numbers of the images that are looked at, and of those that ask: all and all without `learn_N`.

    Raises:
        DataError: One side is empty.
    """
    if learn_N is None:
        return np.arange(count), np.arange(count)
    if learn_N.all() or not learn_N.any():
        raise DataError(f"{learn_N.sum()} of {count} images are to learn from, none is left for the other side")
    return np.flatnonzero(learn_N), np.flatnonzero(~learn_N)


def accuracy(labels_N: NDArray[Any], predicted_N: NDArray[Any]) -> float:
    """Return the share of labels that were predicted, 0 to 1."""
    return float(accuracy_score(labels_N, predicted_N))


def balanced_accuracy(labels_N: NDArray[Any], predicted_N: NDArray[Any]) -> float:
    """Return the mean over the classes of the share that was predicted, 0 to 1: guessing gets 1 / classes."""
    classes_C, class_N = np.unique(labels_N, return_inverse=True)
    right_C = np.bincount(class_N, labels_N == predicted_N, len(classes_C))
    return float((right_C / np.bincount(class_N)).mean())


def macro_f1(labels_N: NDArray[Any], predicted_N: NDArray[Any]) -> float:
    """Return the mean of the F1 of the classes, 0 to 1: a rare defect counts as much as the good parts."""
    return float(f1_score(labels_N, predicted_N, average="macro", zero_division=0))


def _votes(
    cosine_Rk: NDArray[np.float32], class_Rk: NDArray[np.intp], classes: int, temperature: float
) -> NDArray[np.float64]:
    """Sum the weights per class; those of a row are relative to its largest, so that none overflows."""
    best_R1 = cosine_Rk.max(axis=1, keepdims=True)
    weight_Rk = np.exp((cosine_Rk - best_R1).astype(np.float64) / temperature)
    votes_RC = np.zeros((len(cosine_Rk), classes))
    np.add.at(votes_RC, (np.arange(len(cosine_Rk))[:, None], class_Rk), weight_Rk)
    return votes_RC
