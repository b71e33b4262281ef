"""Memory bank of nominal patches for anomaly maps, and nearest-neighbour distances to it.

Patches of images known to be good are subsampled to a coreset (PatchCore, Roth et al. 2022, arXiv:2106.08265). In a
folder that may contain defects the rarest patches are removed first; rarity is the 30 % quantile, over the *other*
images, of the distance to the nearest patch (as in MuSc, Li et al. 2024, arXiv:2401.16753). The rest is subsampled at
random: a coreset would prefer the remaining defects.

Distances are Euclidean, not cosines as in `dinocli.quality.rarity`: intermediate feature maps of convnets have patches
of nearly zero norm, whose noise would be as distant as a defect after L2 normalisation.

Legend: N patches, D width, M patches of the bank.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dinocli.quality.farthest_first import farthest_first

COMMON_FRACTION = 0.3
"""Fraction of the other images that must contain a similar patch for it to be common: a hole or an edge that every part
has once is common, however few patches of the folder show it; a defect shared by fewer images is not."""

ROUNDING = 2e-6
"""Squared distance, as a fraction of the squared length, up to which patches are equal: it is rounding in float32."""

_BLOCK_ROWS = 256  # patches compared with all others at a time: fits into the processor's cache
_BLOCK_SHAPE = 128, 2048  # patches and bank patches compared at a time: fits into the processor's cache


@dataclass(frozen=True)
class PatchBank:
    """Nominal patches and the image of each.

    Args:
        features_MD: Patch features, float32.
        image_M: Index of the image of each patch.
    """

    features_MD: NDArray[np.float32]
    image_M: NDArray[np.int64]

    def nearest(self, features_ND: NDArray[np.float32], image: int) -> NDArray[np.float32]:
        """Return the distance of each patch of an image to the nearest patch of any other image, (N,); 0 if equal."""
        others_M = self.image_M != image
        others_MD = self.features_MD if others_M.all() else self.features_MD[others_M]
        # An extra column adds -|b|^2 / 2 to each product a.b, so that |a - b|^2 = |a|^2 - 2 product.
        half_M1 = (others_MD**2).sum(axis=1, keepdims=True) / -2
        bank_EM = np.concatenate([others_MD, half_M1], axis=1).T
        extended_NE = np.concatenate([features_ND, np.ones((len(features_ND), 1), np.float32)], axis=1)
        closest_N = np.full(len(features_ND), -np.inf, np.float32)
        rows, columns = _BLOCK_SHAPE
        for left in range(0, bank_EM.shape[1], columns):
            block_EC = np.ascontiguousarray(bank_EM[:, left : left + columns])
            for start in range(0, len(extended_NE), rows):
                closest_R = closest_N[start : start + rows]
                np.maximum(closest_R, (extended_NE[start : start + rows] @ block_EC).max(axis=1), out=closest_R)
        squared_N = (features_ND**2).sum(axis=1)
        distance_N = squared_N - 2 * closest_N
        return _root(np.where(distance_N > ROUNDING * squared_N, distance_N, np.float32(0)))


def without_rare(features_ND: NDArray[np.float32], image_N: NDArray[np.int64], fraction: float) -> NDArray[np.int64]:
    """Return the indices of all patches except the rarest ones.

    Args:
        features_ND: Patches of at least two images.
        image_N: Index of the image of each patch.
        fraction: Fraction of the patches to leave out.
    """
    order_N = np.argsort(image_N, kind="stable")
    images, start_I, place_N = np.unique(image_N[order_N], return_index=True, return_inverse=True)
    sorted_ND, others = features_ND[order_N], len(images) - 1
    rank = max(1, round(COMMON_FRACTION * others)) - 1
    rarity_N = np.empty(len(features_ND), np.float32)
    columns_DN, half_N = np.ascontiguousarray(sorted_ND.T), (sorted_ND**2).sum(axis=1) / 2
    for start in range(0, len(sorted_ND), _BLOCK_ROWS):
        rows = slice(start, start + _BLOCK_ROWS)
        closeness_RN = sorted_ND[rows] @ columns_DN
        closeness_RN -= half_N
        nearest_RI = half_N[rows, None] - np.maximum.reduceat(closeness_RN, start_I, axis=1)
        nearest_RI[np.arange(len(nearest_RI)), place_N[rows]] = np.inf
        rarity_N[order_N[rows]] = np.partition(nearest_RI, rank, axis=1)[:, rank]
    rounding = ROUNDING * float(half_N.mean())
    return np.flatnonzero(rarity_N <= max(float(np.quantile(rarity_N, 1 - fraction)), rounding))


def coreset(features_ND: NDArray[np.float32], size: int) -> NDArray[np.int64]:
    """Return the indices of a greedy coreset of `size` patches (farthest-first traversal)."""
    if len(features_ND) <= size:
        return np.arange(len(features_ND))
    return np.array(farthest_first(features_ND, size, first=0)[0], np.int64)


def squared_distances(a_ND: NDArray[np.float32], b_MD: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return all squared Euclidean distances, (N, M); rounding can make the smallest slightly negative."""
    squared: NDArray[np.float32] = (a_ND**2).sum(axis=1, keepdims=True) + (b_MD**2).sum(axis=1) - 2 * (a_ND @ b_MD.T)
    return squared


def _root(squared: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the square root, negative rounding errors as 0."""
    return np.asarray(np.sqrt(squared.clip(0)), np.float32)
