"""A memory of typical patches, and the distance of any patch to it.

Legend: N patches, M patches of the memory, D width.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dinocli.tasks.segment.method import Patches

COMMON = 0.01
"""Share of all patches that look alike, from which they are not rare. Defects that images share are."""

FEWEST = 3
"""Patches of that share at least, in a small folder."""

PROJECTED = 64
"""Random directions that the coreset measures distances in, which keep them to about a tenth."""

_ROWS = 2048  # patches whose distances are held at a time


@dataclass(frozen=True)
class MemoryBank:
    """Patches to compare with, and the image of each.

    Args:
        features_MD: float32.
        image_M: Place of its image in the folder.
    """

    features_MD: NDArray[np.float32]
    image_M: NDArray[np.int64]

    def distances(self, features_ND: NDArray[np.float32], image: int) -> NDArray[np.float32]:
        """Return how far each patch of one image is from the nearest one of any other image, (N,)."""
        others_MD = self.features_MD[self.image_M != image]
        chunks = [features_ND[start : start + _ROWS] for start in range(0, len(features_ND), _ROWS)]
        nearest = [squared_distances(chunk, others_MD).min(axis=1) for chunk in chunks]
        distances: NDArray[np.float32] = np.sqrt(np.concatenate(nearest).clip(0))
        return distances


def build_memory_bank(patches: Patches, size: int, trim: float, seed: int) -> MemoryBank:
    """Choose the patches to remember.

    A folder holds its own defects. How far a hundredth of all patches is from a patch, in *other* images, says how rare
    it is; what is rarest is left out, however often it recurs within one image or over several, and the rest is thinned
    at random. Images that are known to be good are thinned as PatchCore does it, by always keeping the patch that is
    furthest from all that were kept: that covers what is uncommon but normal. Among defects it would keep just those.

    Args:
        patches: Of at least two images, unless `trim` is 0.
        size: Patches to keep at most.
        trim: Share of the patches that is left out as rare; 0 for images that are known to be good.
        seed: Of the random choice, or of the coreset's projection and first patch.

    Source: Roth et al. 2022 (PatchCore, arXiv:2106.08265), whose images are all good.
    """
    if trim <= 0:
        if len(patches.features_ND) <= size:
            return MemoryBank(*patches)
        return _part(patches, coreset(patches.features_ND, size, seed))
    rarity_N = rarity(patches)
    kept = np.flatnonzero(rarity_N <= np.quantile(rarity_N, 1 - trim))
    return _part(patches, np.random.default_rng(seed).permutation(kept)[:size])


def _part(patches: Patches, rows: NDArray[np.int64]) -> MemoryBank:
    return MemoryBank(patches.features_ND[rows], patches.image_N[rows])


def rarity(patches: Patches) -> NDArray[np.float32]:
    """Return how far, squared, a hundredth of all patches is from each one, counted in other images only, (N,)."""
    found, neighbour = [], max(FEWEST, round(COMMON * len(patches.features_ND)))
    for start in range(0, len(patches.features_ND), _ROWS):
        rows = slice(start, start + _ROWS)
        squared = squared_distances(patches.features_ND[rows], patches.features_ND)
        squared[patches.image_N[rows, None] == patches.image_N[None]] = np.inf
        found.append(np.partition(squared, neighbour - 1, axis=1)[:, neighbour - 1])
    return np.concatenate(found)


def coreset(features_ND: NDArray[np.float32], size: int, seed: int) -> NDArray[np.int64]:
    """Return the numbers of `size` patches, each the furthest from those before it (greedy k-centre)."""
    rng = np.random.default_rng(seed)
    width = features_ND.shape[1]
    if width > PROJECTED:
        turn = rng.standard_normal((width, PROJECTED), np.float32) / np.float32(np.sqrt(PROJECTED))
        features_ND = features_ND @ turn
    chosen = np.empty(size, np.int64)
    chosen[0] = rng.integers(len(features_ND))
    to_chosen_N = np.full(len(features_ND), np.inf, np.float32)
    for place in range(1, size):
        apart_ND = features_ND - features_ND[chosen[place - 1]]
        np.minimum(to_chosen_N, np.einsum("nd,nd->n", apart_ND, apart_ND), out=to_chosen_N)
        chosen[place] = to_chosen_N.argmax()
    return chosen


def squared_distances(a_ND: NDArray[np.float32], b_MD: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return all squared distances, (N, M); rounding can make the smallest ones slightly negative."""
    squared: NDArray[np.float32] = (a_ND**2).sum(axis=1, keepdims=True) + (b_MD**2).sum(axis=1) - 2 * (a_ND @ b_MD.T)
    return squared
