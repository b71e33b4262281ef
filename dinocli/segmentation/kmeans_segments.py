"""k-means over the patches of a folder: a segment has the same number and colour in every image.

Patches are L2-normalised and centres are their means (`dinocli.quality.kmeans`), as in `dinocli cluster`.

Legend: N patches, K segments, D width, h w rows and columns of the grid.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from dinocli.quality.auto_k import choose_k
from dinocli.quality.kmeans import closeness, nearest, unit_kmeans
from dinocli.quality.normalized_features import NormalizedFeatures
from dinocli.segmentation.method import FeatureGrid, FeatureKind, PatchMaps, sample_patches

FIT_PATCHES = 20_000
"""Number of sampled patches that the centres are fitted to."""


@dataclass(frozen=True)
class KMeansMethod:
    """Options of the k-means method.

    Args:
        segments: Number of segments; 0 selects it with `choose_k`.
        seed: Seed of the sample and of the initial centres.
    """

    feature_kind: ClassVar = FeatureKind.PATCHES
    whole_image_only: ClassVar = False

    segments: int = 0
    seed: int = 0

    def fit(self, sample: Iterable[FeatureGrid]) -> "FittedKMeans":
        """Fit the centres, most frequent segment first; a single one if the patches form no clear clusters."""
        rows = NormalizedFeatures(sample_patches([*sample], FIT_PATCHES, self.seed).features_ND)
        patches_ND = rows.take(slice(None))
        choice = None if self.segments else choose_k(rows, seed=self.seed)
        count = choice.k if choice and choice.clear else self.segments or 1
        fit = unit_kmeans(rows, min(count, len(rows)), seed=self.seed)
        fraction_K = np.bincount(nearest(patches_ND, fit.centres_KD), minlength=len(fit.centres_KD)) / len(rows)
        order = (-fraction_K).argsort(kind="stable")
        spread = 1 - 2 * fit.closeness
        return FittedKMeans(fit.centres_KD[order], fraction_K[order], spread, choice.reason if choice else "")


@dataclass(frozen=True)
class FittedKMeans:
    """Fitted k-means method.

    Args:
        centres_KD: Means of unit rows, of length 1 or less; most frequent segment first.
        fraction_K: Fraction of the sample's patches in each segment.
        spread: Mean squared distance of a patch to its centre.
        reason: Reason for the number of segments; empty if the user set it.
    """

    centres_KD: NDArray[np.float32]
    fraction_K: NDArray[np.float64]
    spread: float
    reason: str

    @property
    def parameters(self) -> Mapping[str, float | str]:
        """Number of segments, the reason for it, and the area fraction of each."""
        fractions = {f"area_fraction_{segment}": float(part) for segment, part in enumerate(self.fraction_K, 1)}
        chosen = {"reason": self.reason} if self.reason else {}
        return {"segments": len(self.centres_KD), **chosen, **fractions}

    def apply(self, grid: FeatureGrid) -> PatchMaps:
        """Assign each patch to a segment, softly; saliency is the expected rarity of its segment."""
        h, w, width = grid.values_hwD.shape
        units_ND = NormalizedFeatures(grid.values_hwD.reshape(-1, width)).take(slice(None))
        squared_NK = 1 - 2 * closeness(units_ND, self.centres_KD)
        member_NK = np.exp(-(squared_NK - squared_NK.min(axis=1, keepdims=True)) / (2 * max(self.spread, 1e-12)))
        member_NK /= member_NK.sum(axis=1, keepdims=True)
        rare_hw = (member_NK @ (1 - self.fraction_K)).reshape(h, w).astype(np.float32)
        counts_N = grid.counts_hw.ravel()
        counts_K = np.bincount(squared_NK.argmin(axis=1)[counts_N], minlength=len(self.centres_KD))
        return PatchMaps(
            member_NK.T.reshape(-1, h, w).astype(np.float32),
            threshold=-1,
            score=float(rare_hw[grid.counts_hw].max()),
            empty_reason="" if (counts_K > 0).sum() > 1 else "the whole image is one segment",
            metrics={"segments": int((counts_K > 0).sum())},
            saliency_hw=rare_hw,
        )
