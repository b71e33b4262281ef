"""How far patches are from those of other images: one bank of patches, two distances.

- `nearest`: to the nearest patch of the bank. For images that are known to be good (PatchCore).
- `mutual`: to each image of the bank on its own, and then the mean over the 30 % of the images that are nearest. For a
  folder that holds defects: a patch of a normal kind has a neighbour in most images, a patch of a defect in few, also
  where several images share the defect. One bank for all images cannot say in how many a neighbour was found.

Distances are Euclidean, not cosines as in `dinocli.quality.rarity`: middle feature maps of convnets have patches with
next to no signal, and scaled to length 1 their noise is as far from everything as a defect.

Sources: Roth et al. 2022 (PatchCore, arXiv:2106.08265); Li et al. 2024 (MuSc, arXiv:2401.16753), section 3.2, equations
2 to 4. We depart from MuSc in one place: an image is represented by a random part of its patches, so that the work
grows with the folder and not with its square.

Legend: N patches, D width, M patches of the bank, I images of the bank.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dinocli.quality.outliers import farthest_first

NEAREST_IMAGES = 0.3
"""Fraction of the other images, the nearest ones, whose distances are averaged."""

_ROWS = 2048  # patches whose distances are held at a time


@dataclass(frozen=True)
class PatchBank:
    """Patches to compare with, sorted by the image of each.

    Args:
        features_MD: float32.
        image_M: Number of the image of each.
    """

    features_MD: NDArray[np.float32]
    image_M: NDArray[np.int64]

    @classmethod
    def of(cls, features_MD: NDArray[np.float32], image_M: NDArray[np.int64]) -> "PatchBank":
        """Sort patches by their images."""
        order = image_M.argsort(kind="stable")
        return cls(features_MD[order], image_M[order])

    def nearest(self, features_ND: NDArray[np.float32], image: int) -> NDArray[np.float32]:
        """Return the distance of each patch of an image to the nearest patch of any other image, (N,)."""
        others_MD = self.features_MD[self.image_M != image]
        found = [squared_distances(rows_RD, others_MD).min(axis=1) for rows_RD in _blocks(features_ND)]
        return _root(np.concatenate(found))

    def mutual(self, features_ND: NDArray[np.float32], image: int) -> NDArray[np.float32]:
        """Return the mean distance of each patch of an image to the nearest 30 % of the other images, (N,)."""
        kept_M = self.image_M != image
        others_MD = self.features_MD[kept_M]
        _, starts_I = np.unique(self.image_M[kept_M], return_index=True)
        count = max(1, round(NEAREST_IMAGES * len(starts_I)))
        found = []
        for rows_RD in _blocks(features_ND):
            nearest_RI = np.minimum.reduceat(squared_distances(rows_RD, others_MD), starts_I, axis=1)
            found.append(_root(np.partition(nearest_RI, count - 1, axis=1)[:, :count]).mean(axis=1))
        return np.concatenate(found)


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
