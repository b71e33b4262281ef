"""Memory bank of typical patches for anomaly maps, and the distance of a patch to its nearest neighbour in it.

Images that are known to be good are thinned to a coreset (PatchCore, Roth et al. 2022, arXiv:2106.08265). A folder that
may hold defects is trimmed first: how far a hundredth of all patches is from a patch, in *other* images, says how rare
it is, and the rarest patches are left out, however often they recur. What is left is thinned at random; a coreset would
keep just the defects.

Distances are Euclidean, not cosines as in `dinocli.quality.rarity`: middle feature maps of convnets have patches with
next to no signal, and scaled to length 1 their noise is as far from everything as a defect.

Legend: N patches, D width, M patches of the bank.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dinocli.quality.outliers import farthest_first

COMMON = 0.01
"""Fraction of all patches that look alike, from which they are not rare. Defects that images share are."""

FEWEST = 3
"""Patches of that fraction at least, in a small folder."""

_ROWS = 2048  # patches whose distances are held at a time


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
        others_MD = self.features_MD[self.image_M != image]
        found = [squared_distances(rows_RD, others_MD).min(axis=1) for rows_RD in _blocks(features_ND)]
        return _root(np.concatenate(found))


def without_rare(features_ND: NDArray[np.float32], image_N: NDArray[np.int64], fraction: float) -> NDArray[np.int64]:
    """Return the numbers of all patches but the rarest ones.

    Args:
        features_ND: Patches of at least two images.
        image_N: Number of the image of each.
        fraction: Of the patches that is left out.
    """
    neighbour = max(FEWEST, round(COMMON * len(features_ND)))
    found = []
    for start in range(0, len(features_ND), _ROWS):
        rows = slice(start, start + _ROWS)
        squared = squared_distances(features_ND[rows], features_ND)
        squared[image_N[rows, None] == image_N[None]] = np.inf
        found.append(np.partition(squared, neighbour - 1, axis=1)[:, neighbour - 1])
    rarity_N = np.concatenate(found)
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


def _blocks(features_ND: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    return [features_ND[start : start + _ROWS] for start in range(0, len(features_ND), _ROWS)]


def _root(squared: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(np.sqrt(squared.clip(0)), np.float32)
