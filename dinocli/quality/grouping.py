"""Clusters of images: sorted labels, distance to the centre, margin and medoids.

Shapes: N images, D width, K clusters, R rows of one block.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dinocli.quality.kmeans import closeness
from dinocli.quality.normalized_features import NormalizedFeatures

NO_CLUSTER = -1
"""Label of an image that is in no cluster."""


@dataclass(frozen=True)
class Grouping:
    """A clustering of images. Cluster 0 is the largest; ties are ordered by the first image.

    Args:
        label_N: Cluster of each image, or -1.
        distance_N: 1 - cosine to the centre of its cluster, or of the nearest cluster for an image in none; 0 to 2.
        margin_N: Distance to the nearest other centre minus `distance_N`; small at a border. Negative where another
            centre is nearer: hdbscan and agglomerative do not assign by centres, and k-means prefers compact clusters
            at a border (`kmeans`). NaN with one cluster.
        medoids_K: Row of the medoid of each cluster, the image nearest to the centre.
        sizes_K: Number of images in each cluster.
    """

    label_N: NDArray[np.intp]
    distance_N: NDArray[np.float32]
    margin_N: NDArray[np.float32]
    medoids_K: list[int]
    sizes_K: list[int]


class _Assignment(NamedTuple):
    """Cluster of each row, the cosine to its centre, and that cosine minus the one to the next centre."""

    label_N: NDArray[np.intp]
    cosine_N: NDArray[np.float32]
    margin_N: NDArray[np.float32]


def group_by_centres(rows: NormalizedFeatures, centres_KD: NDArray[np.float32]) -> Grouping:
    """Assign every image to its nearest centre; centres without an image are dropped."""
    assigned = _assign(rows, centres_KD, None)
    return _ordered(assigned, assigned.label_N)


def group_by_labels(rows: NormalizedFeatures, label_N: NDArray[np.intp]) -> Grouping:
    """Build the clustering of given labels; centres are the means.

    Args:
        rows: Features of the images.
        label_N: Any integers, and -1 for no cluster; all can be -1.
    """
    if (label_N == NO_CLUSTER).all():
        nan_N = np.full(len(rows), np.nan, np.float32)
        return Grouping(label_N.astype(np.intp), nan_N, nan_N, [], [])
    in_group_N = label_N != NO_CLUSTER
    used_K, used_M = np.unique(label_N[in_group_N], return_inverse=True)
    label_N = np.full(len(label_N), NO_CLUSTER)
    label_N[in_group_N] = used_M
    return _ordered(_assign(rows, _means(rows, label_N, len(used_K)), label_N), label_N)


def without_small_groups(rows: NormalizedFeatures, grouping: Grouping, least: int) -> Grouping:
    """Dissolve groups of fewer than `least` images; these images are then in no group."""
    if not grouping.sizes_K or min(grouping.sizes_K) >= least:
        return grouping
    small_N = np.array(grouping.sizes_K)[grouping.label_N] < least
    return group_by_labels(rows, np.where(small_N, NO_CLUSTER, grouping.label_N))


def _assign(rows: NormalizedFeatures, centres_KD: NDArray[np.float32], label_N: NDArray[np.intp] | None) -> _Assignment:
    """Compare every row with every centre; a row without a label is compared with its nearest centre."""
    directions_KD = NormalizedFeatures(centres_KD).take(slice(None))

    def assign(part: slice, rows_RD: NDArray[np.float32]) -> _Assignment:
        best_R = closeness(rows_RD, centres_KD).argmax(axis=1)
        label_R = best_R if label_N is None else np.where(label_N[part] == NO_CLUSTER, best_R, label_N[part])
        cosine_R = np.einsum("rd,rd->r", rows_RD, directions_KD[label_R])
        cosine_RK = rows_RD @ directions_KD.T
        cosine_RK[np.arange(len(rows_RD)), label_R] = -np.inf
        return _Assignment(label_R, cosine_R, cosine_R - cosine_RK.max(axis=1))

    return _Assignment(*(np.concatenate(parts) for parts in zip(*rows.map(assign), strict=True)))


def _means(rows: NormalizedFeatures, label_N: NDArray[np.intp], count: int) -> NDArray[np.float32]:
    """Return the mean row of each cluster, (K, D)."""

    def add(part: slice, rows_RD: NDArray[np.float32]) -> NDArray[np.float64]:
        member_RK = label_N[part, None] == np.arange(count)
        return np.asarray(member_RK.T.astype(np.float32) @ rows_RD, np.float64)

    sum_KD = np.sum(list(rows.map(add)), axis=0)
    return np.asarray(sum_KD / np.bincount(label_N[label_N != NO_CLUSTER], minlength=count)[:, None], np.float32)


def _ordered(assigned: _Assignment, label_N: NDArray[np.intp]) -> Grouping:
    """Number the clusters by size, drop empty ones, and find the medoids."""
    in_group_M = np.flatnonzero(label_N != NO_CLUSTER)
    old_K, first_K, sizes_K = np.unique(label_N[in_group_M], return_index=True, return_counts=True)
    order_K = np.lexsort((first_K, -sizes_K))
    new = np.full(int(old_K.max()) + 2, NO_CLUSTER)  # index -1 maps to itself
    new[old_K[order_K]] = np.arange(len(old_K))
    label_N = new[label_N]
    best_first_M = in_group_M[np.argsort(-assigned.cosine_N[in_group_M], kind="stable")]
    _, medoid_K = np.unique(label_N[best_first_M], return_index=True)
    margin_N = np.where(np.isfinite(assigned.margin_N), assigned.margin_N, np.nan)
    return Grouping(
        label_N,
        np.maximum(1 - assigned.cosine_N, 0),
        margin_N.astype(np.float32),
        best_first_M[medoid_K].tolist(),
        sizes_K[order_K].tolist(),
    )
