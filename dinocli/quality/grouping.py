"""Distance, margin and medoids of images in groups.

Shapes: N images, D width, K clusters, R rows of one block.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dinocli.quality.normalized_features import NormalizedFeatures
from dinocli.quality.spherical_kmeans import closeness

NONE = -1
"""Label of an image that is in no group."""


@dataclass(frozen=True)
class Grouping:
    """Images in groups. Group 0 is the largest; of equals, the one whose first image comes first.

    Args:
        label_N: Group of each image, or -1.
        distance_N: 1 - cosine to the centre of its group, of the nearest group for an image in none; 0 to 2.
        margin_N: How much nearer its centre is than the next, half the difference of the squared distances; small at a
            border, negative where the method put the image into another group. Not a number with a single group.
        medoids_K: Most typical image of each group: nearest to the centre, and so nearest to all others together.
        sizes_K: Images in each group.
    """

    label_N: NDArray[np.intp]
    distance_N: NDArray[np.float32]
    margin_N: NDArray[np.float32]
    medoids_K: list[int]
    sizes_K: list[int]


class _Calls(NamedTuple):
    """Of each row: its group, the cosine to its centre, and how much nearer that is than the next."""

    label_N: NDArray[np.intp]
    cosine_N: NDArray[np.float32]
    margin_N: NDArray[np.float32]


def group_by_centres(rows: NormalizedFeatures, centres_KD: NDArray[np.float32]) -> Grouping:
    """Give every image to its nearest centre; centres without an image are dropped."""
    calls = _calls(rows, centres_KD, None)
    return _ordered(calls, calls.label_N)


def group_by_labels(rows: NormalizedFeatures, label_N: NDArray[np.intp]) -> Grouping:
    """Describe the groups that some other method found; their centres are the means.

    Args:
        rows: Of the images.
        label_N: Any numbers, and -1 for no group; all can be -1.
    """
    if (label_N == NONE).all():
        nan_N = np.full(len(rows), np.nan, np.float32)
        return Grouping(label_N.astype(np.intp), nan_N, nan_N, [], [])
    in_group_N = label_N != NONE
    used_K, used_M = np.unique(label_N[in_group_N], return_inverse=True)
    label_N = np.full(len(label_N), NONE)
    label_N[in_group_N] = used_M
    return _ordered(_calls(rows, _means(rows, label_N, len(used_K)), label_N), label_N)


def _calls(rows: NormalizedFeatures, centres_KD: NDArray[np.float32], label_N: NDArray[np.intp] | None) -> _Calls:
    """Compare every row with every centre; a row without a label counts as of the nearest."""
    directions_KD = NormalizedFeatures(centres_KD).take(slice(None))

    def call(part: slice, rows_RD: NDArray[np.float32]) -> _Calls:
        near_RK = closeness(rows_RD, centres_KD)
        best_R = near_RK.argmax(axis=1)
        label_R = best_R if label_N is None else np.where(label_N[part] == NONE, best_R, label_N[part])
        row_R = np.arange(len(rows_RD))
        own_R = near_RK[row_R, label_R]
        near_RK[row_R, label_R] = -np.inf
        cosine_R = np.einsum("rd,rd->r", rows_RD, directions_KD[label_R])
        return _Calls(label_R, cosine_R, own_R - near_RK.max(axis=1))

    return _Calls(*(np.concatenate(parts) for parts in zip(*rows.map(call), strict=True)))


def _means(rows: NormalizedFeatures, label_N: NDArray[np.intp], count: int) -> NDArray[np.float32]:
    def add(part: slice, rows_RD: NDArray[np.float32]) -> NDArray[np.float64]:
        member_RK = label_N[part, None] == np.arange(count)
        return np.asarray(member_RK.T.astype(np.float32) @ rows_RD, np.float64)

    sum_KD = np.sum(list(rows.map(add)), axis=0)
    return np.asarray(sum_KD / np.bincount(label_N[label_N != NONE], minlength=count)[:, None], np.float32)


def _ordered(calls: _Calls, label_N: NDArray[np.intp]) -> Grouping:
    """Number the groups by size, drop empty ones, and find the medoids."""
    in_group_M = np.flatnonzero(label_N != NONE)
    old_K, first_K, sizes_K = np.unique(label_N[in_group_M], return_index=True, return_counts=True)
    order_K = np.lexsort((first_K, -sizes_K))
    new = np.full(int(old_K.max()) + 2, NONE)  # the last place answers for -1
    new[old_K[order_K]] = np.arange(len(old_K))
    label_N = new[label_N]
    best_first_M = in_group_M[np.argsort(-calls.cosine_N[in_group_M], kind="stable")]
    _, medoid_K = np.unique(label_N[best_first_M], return_index=True)
    margin_N = np.where(np.isfinite(calls.margin_N), calls.margin_N, np.nan)
    return Grouping(
        label_N,
        np.maximum(1 - calls.cosine_N, 0),
        margin_N.astype(np.float32),
        best_first_M[medoid_K].tolist(),
        sizes_K[order_K].tolist(),
    )
