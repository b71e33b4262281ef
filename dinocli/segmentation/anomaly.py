"""Defects on surfaces and parts: patches that are far from the typical patches of the other images.

Without a reference the bank is of the folder itself, without its rarest patches (`without_rare`), so that the folder
may hold defects; with a folder of good images it is a coreset of theirs. `DistanceScale` makes scores of the distances.

Legend: M patches of the bank, D width, h w rows and columns of the grid.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from dinocli.errors import DataError
from dinocli.quality.patch_bank import PatchBank, coreset, without_rare
from dinocli.segmentation.distance_scale import DistanceScale, Threshold, parse_threshold
from dinocli.segmentation.method import FeatureGrid, FeatureKind, PatchMaps, sample_patches

POOL = 12_000
"""Patches of the folder that the bank is chosen from."""

BANK = 4096
"""Patches of the bank at most."""

RARE = 0.1
"""Fraction of the folder's patches that is taken for rare and left out; defects may cover this much of the folder."""


SMOOTHING = 0.7
"""Standard deviation, cells, of the Gaussian over the distances: the furthest of thousands of patches is noise, and so
is a threshold that is taken from it. With 1, a fifth of the good leather was flagged, and masks of textures widened."""


@dataclass(frozen=True)
class Anomaly:
    """The method.

    Args:
        reference: The sample is of images that are known to be good. Their numbers (`FeatureGrid.image`) are negative,
            each its own.
        seed: Of the sampled patches.
        threshold: ``auto``; a value of the soft maps, 0 to 1, of which 0.5 is what ``auto`` takes; or ``quantile:Q`` of
            the maxima of the sample's images.

    Raises:
        UsageError: A threshold that is none of these.
    """

    reference: bool = False
    seed: int = 0
    threshold: str = "auto"
    feature_kind: FeatureKind = FeatureKind.PATCHES
    whole_image_only: bool = False

    def __post_init__(self) -> None:
        parse_threshold(self.threshold)

    def fit(self, sample: Sequence[FeatureGrid]) -> "FittedAnomaly":
        """Choose patches to compare with, and learn how far patches of the sample are from those of *other* images.

        Raises:
            DataError: Only one image; there is nothing to compare it with.
        """
        if len({grid.image for grid in sample}) < 2:
            raise DataError(
                "one image has no others to be compared with: give at least two, here or with --reference FOLDER"
            )
        patches = sample_patches(sample, POOL, self.seed)
        if self.reference:
            kept = coreset(patches.features_ND, BANK)
        else:
            typical = without_rare(patches.features_ND, patches.image_N, RARE)
            kept = np.random.default_rng(self.seed).permutation(typical)[:BANK]
        bank = PatchBank(patches.features_ND[kept], patches.image_N[kept])
        measured = {grid.image: distances(bank, grid) for grid in sample}
        inside = [grid.counts_hw for grid in {grid.image: grid for grid in sample}.values()]
        scale = DistanceScale.of(list(measured.values()), good=self.reference, inside=inside)
        known = {image: distances_hw for image, distances_hw in measured.items() if image >= 0}
        return FittedAnomaly(bank, scale, parse_threshold(self.threshold), known)


@dataclass(frozen=True)
class FittedAnomaly:
    """What is typical of a folder.

    Args:
        bank: Its patches.
        scale: Which distances from them are usual.
        threshold: What the user asked for.
        known: Distances of the images of the folder that were in the sample: they need no second look.
    """

    bank: PatchBank
    scale: DistanceScale
    threshold: Threshold
    known: Mapping[int, NDArray[np.float32]] = field(default_factory=dict)

    @property
    def parameters(self) -> Mapping[str, float | str]:
        """Size of the bank, scale of the distances, and where the threshold comes from."""
        return {"bank_patches": len(self.bank.features_MD), **self.scale.parameters(self.threshold)}

    def apply_known(self, image: int) -> PatchMaps | None:
        """Map an image of the sample without its features; None for other images."""
        distances_hw = self.known.get(image)
        return None if distances_hw is None else self.scale.judge(distances_hw, self.threshold)

    def apply(self, grid: FeatureGrid) -> PatchMaps:
        """Map one image."""
        return self.scale.judge(distances(self.bank, grid), self.threshold)


def distances(bank: PatchBank, grid: FeatureGrid) -> NDArray[np.float32]:
    """Return how far each patch is from the nearest one of any other image, smoothed, (h, w).

    Outside a region of interest it is the median of those inside, which is nothing unusual anywhere.
    """
    h, w, width = grid.values_hwD.shape
    nearest_hw = bank.nearest(grid.values_hwD.reshape(-1, width), grid.image).reshape(h, w)
    if grid.inside_hw is None:
        return np.asarray(gaussian_filter(nearest_hw, SMOOTHING, mode="nearest"), np.float32)
    weights_hw = grid.inside_hw.astype(np.float64)
    summed_hw, weight_hw = (
        gaussian_filter(map_hw, SMOOTHING, mode="nearest") for map_hw in (nearest_hw * weights_hw, weights_hw)
    )
    smoothed_hw = summed_hw / np.maximum(weight_hw, 1e-9)
    usual = np.median(smoothed_hw[grid.inside_hw])
    return np.asarray(np.where(grid.inside_hw, smoothed_hw, usual), np.float32)
