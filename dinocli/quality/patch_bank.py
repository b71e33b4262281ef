"""Memory bank of typical patches for anomaly maps, and the distance of a patch to its nearest neighbour in it.

Images that are known to be good are thinned to a coreset (PatchCore, Roth et al. 2022, arXiv:2106.08265). A folder that
may hold defects is trimmed first: how far the nearest patch is in three tenths of the *other* images says how rare a
patch is (as MuSc scores patches, Li et al. 2024, arXiv:2401.16753), and the rarest ones are left out. What is left is
thinned at random; a coreset would keep just the defects.

Distances are Euclidean, not cosines as in `dinocli.quality.rarity`: middle feature maps of convnets have patches with
next to no signal, and scaled to length 1 their noise is as far from everything as a defect.

Legend: N patches, D width, M patches of the bank.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dinocli.quality.outliers import farthest_first

COMMON = 0.3
"""Fraction of the other images that have to hold a like patch, for it not to be rare: a hole or an edge that every part
has once is usual, however few patches of the folder show it; a defect that many images share is not."""

_ROWS = 256  # patches whose distances are held at a time: few enough for the processor's cache
_BLOCK = 128, 2048  # patches and patches of the bank that are compared at a time: few enough for the processor's cache


@dataclass(frozen=True)
class PatchBank:
    """Patches to compare with, and the image of each.

    Args:
        features_MD: float32.
        image_M: Number of the image of each.
    """

    features_MD: NDArray[np.float32]
    image_M: NDArray[np.int64]

    def nearest(self, features_ND: NDArray[np.float32], image: int) -> NDArray[np.float32]:
        """Return the distance of each patch of an image to the nearest patch of any other image, (N,)."""
        others_M = self.image_M != image
        others_MD = self.features_MD if others_M.all() else self.features_MD[others_M]
        # One more column, so that a product is half of what a squared distance lacks of the patch's own length.
        half_M1 = (others_MD**2).sum(axis=1, keepdims=True) / -2
        bank_EM = np.concatenate([others_MD, half_M1], axis=1).T
        longer_NE = np.concatenate([features_ND, np.ones((len(features_ND), 1), np.float32)], axis=1)
        closest_N = np.full(len(features_ND), -np.inf, np.float32)
        rows, columns = _BLOCK
        for left in range(0, bank_EM.shape[1], columns):
            block_EC = np.ascontiguousarray(bank_EM[:, left : left + columns])
            for start in range(0, len(longer_NE), rows):
                closest_R = closest_N[start : start + rows]
                np.maximum(closest_R, (longer_NE[start : start + rows] @ block_EC).max(axis=1), out=closest_R)
        return _root((features_ND**2).sum(axis=1) - 2 * closest_N)


def without_rare(features_ND: NDArray[np.float32], image_N: NDArray[np.int64], fraction: float) -> NDArray[np.int64]:
    """Return the numbers of all patches but the rarest ones.

    Args:
        features_ND: Patches of at least two images.
        image_N: Number of the image of each.
        fraction: Of the patches that is left out.
    """
    order_N = np.argsort(image_N, kind="stable")
    images, start_I, place_N = np.unique(image_N[order_N], return_index=True, return_inverse=True)
    sorted_ND, others = features_ND[order_N], len(images) - 1
    rank = max(1, round(COMMON * others)) - 1
    rarity_N = np.empty(len(features_ND), np.float32)
    columns_DN, half_N = np.ascontiguousarray(sorted_ND.T), (sorted_ND**2).sum(axis=1) / 2
    for start in range(0, len(sorted_ND), _ROWS):
        rows = slice(start, start + _ROWS)
        closeness_RN = sorted_ND[rows] @ columns_DN
        closeness_RN -= half_N
        nearest_RI = half_N[rows, None] - np.maximum.reduceat(closeness_RN, start_I, axis=1)
        nearest_RI[np.arange(len(nearest_RI)), place_N[rows]] = np.inf
        rarity_N[order_N[rows]] = np.partition(nearest_RI, rank, axis=1)[:, rank]
    return np.flatnonzero(rarity_N <= np.quantile(rarity_N, 1 - fraction))


def coreset(features_ND: NDArray[np.float32], size: int) -> NDArray[np.int64]:
    """Return the numbers of `size` patches that cover all, each the furthest from those before it."""
    if len(features_ND) <= size:
        return np.arange(len(features_ND))
    return np.array(farthest_first(features_ND, size, first=0)[0], np.int64)


def squared_distances(a_ND: NDArray[np.float32], b_MD: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return all squared distances, (N, M); rounding can make the smallest ones slightly negative."""
    squared: NDArray[np.float32] = (a_ND**2).sum(axis=1, keepdims=True) + (b_MD**2).sum(axis=1) - 2 * (a_ND @ b_MD.T)
    return squared


def _root(squared: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(np.sqrt(squared.clip(0)), np.float32)
