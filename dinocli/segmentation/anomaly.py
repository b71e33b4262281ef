"""Defects on surfaces and parts: patches that are far from the typical patches of the other images.

Without a reference the bank is of the folder itself, without its rarest patches (`without_rare`), so that the folder
may hold defects; with a folder of good images it is a coreset of theirs. The median of each channel over an image is
subtracted first: light, wear and focus of whole images would be most of a distance. `DistanceScale` makes scores.

Legend: M patches of the bank, D width, h w rows and columns of the grid, S images of the sample, F folds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from dinocli.errors import DataError
from dinocli.quality.patch_bank import PatchBank, coreset, without_rare
from dinocli.segmentation.distance_scale import (
    ALIGNED,
    DistanceScale,
    Threshold,
    corrected,
    parse_threshold,
    resampled,
    typical_places,
)
from dinocli.segmentation.method import FeatureGrid, FeatureKind, PatchMaps, sample_patches

POOL = 12_000
"""Patches of the folder that the bank is chosen from."""

BANK = 4096
"""Patches of the bank at most."""

RARE = 0.1
"""Fraction of the folder's patches that is taken for rare and left out; defects may cover this much of the folder."""

FOLDS = 5
"""Parts of the good images. Each is measured by the other four: places that were learnt from the very images whose
maxima set the threshold made those maxima too low."""

COARSE_SMOOTHING = 4.5
"""Standard deviation of the Gaussian over distances of coarse features, cells of the fine grid, a sixth as wide."""

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
        coarse: Compare deeper features of the images at a third of their size, as they are: for large, faint defects.

    Raises:
        UsageError: A threshold that is none of these.
    """

    reference: bool = False
    seed: int = 0
    threshold: str = "auto"
    coarse: bool = False
    whole_image_only: bool = False

    def __post_init__(self) -> None:
        parse_threshold(self.threshold)

    @property
    def feature_kind(self) -> FeatureKind:
        """Fine or coarse features."""
        return FeatureKind.COARSE if self.coarse else FeatureKind.PATCHES

    def fit(self, sample: Sequence[FeatureGrid]) -> "FittedAnomaly":
        """Choose patches to compare with, and learn how far patches of the sample are from those of *other* images.

        Raises:
            DataError: Only one image; there is nothing to compare it with.
        """
        grids = list({grid.image: grid for grid in sample}.values())
        if len(grids) < 2:
            raise DataError(
                "one image has no others to be compared with: give at least two, here or with --reference FOLDER"
            )
        bank = self._bank(grids)
        inside = None if self.coarse else [grid.counts_hw for grid in grids]
        if self.reference and len(grids) >= ALIGNED:
            measured, maxima_S = held_out(bank, grids, self.seed)
        else:
            measured, maxima_S = [distances(bank, grid) for grid in grids], None
        scale = DistanceScale.of(measured, good=self.reference, inside=inside, maxima_S=maxima_S)
        known = {grid.image: map_hw for grid, map_hw in zip(grids, measured, strict=True) if grid.image >= 0}
        return FittedAnomaly(bank, scale, parse_threshold(self.threshold), known, self.feature_kind)

    def _bank(self, grids: Sequence[FeatureGrid]) -> PatchBank:
        drawn_ND, image_N = sample_patches(grids, POOL, self.seed)
        centre_of = {grid.image: centre(grid) for grid in grids}
        features_ND = drawn_ND - np.stack([centre_of[image] for image in image_N.tolist()])
        if self.reference:
            kept = coreset(features_ND, BANK)
        else:
            typical = without_rare(features_ND, image_N, RARE)
            kept = np.random.default_rng(self.seed).permutation(typical)[:BANK]
        return PatchBank(features_ND[kept], image_N[kept])


@dataclass(frozen=True)
class FittedAnomaly:
    """What is typical of a folder.

    Args:
        bank: Its patches.
        scale: Which distances from them are usual.
        threshold: What the user asked for.
        known: Distances of the images of the folder that were in the sample: they need no second look.
        feature_kind: What the grids of further images have to hold.
    """

    bank: PatchBank
    scale: DistanceScale
    threshold: Threshold
    known: Mapping[int, NDArray[np.float32]] = field(default_factory=dict)
    feature_kind: FeatureKind = FeatureKind.PATCHES

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


def centre(grid: FeatureGrid) -> NDArray[np.float32]:
    """Return the median of each channel over the patches that count, (D,); 0 for coarse features, which lose by it."""
    if grid.fine_size:
        return np.zeros(grid.values_hwD.shape[2], np.float32)
    middle_D: NDArray[np.float32] = np.median(grid.values_hwD[grid.counts_hw], axis=0)
    return middle_D


def distances(bank: PatchBank, grid: FeatureGrid) -> NDArray[np.float32]:
    """Return how far each patch is from the nearest one of any other image, smoothed, (h, w)."""
    return smoothed(nearest_map(bank, grid.values_hwD - centre(grid), grid.image), grid)


def nearest_map(bank: PatchBank, centred_hwD: NDArray[np.float32], image: int) -> NDArray[np.float32]:
    """Return how far each patch is from the nearest one of any other image, (h, w); infinite where there is none."""
    h, w, width = centred_hwD.shape
    return bank.nearest(centred_hwD.reshape(-1, width), image).reshape(h, w)


def smoothed(nearest_hw: NDArray[np.float32], grid: FeatureGrid) -> NDArray[np.float32]:
    """Smooth distances; outside a region of interest they become the median of those inside, nothing unusual.

    Distances of coarse features are brought to the fine grid first.

    Where all images are the same the bank is one patch of one of them, which has nothing to be compared with: 0.
    """
    nearest_hw = np.where(np.isfinite(nearest_hw), nearest_hw, np.float32(0))
    if grid.fine_size:
        known_hw = np.where(grid.counts_hw, nearest_hw, np.median(nearest_hw[grid.counts_hw]))
        fine_hw = gaussian_filter(resampled(known_hw, grid.fine_size), COARSE_SMOOTHING, mode="nearest")
        return np.asarray(fine_hw, np.float32)
    if grid.inside_hw is None:
        return np.asarray(gaussian_filter(nearest_hw, SMOOTHING, mode="nearest"), np.float32)
    weights_hw = grid.inside_hw.astype(np.float64)
    summed_hw, weight_hw = (
        gaussian_filter(map_hw, SMOOTHING, mode="nearest") for map_hw in (nearest_hw * weights_hw, weights_hw)
    )
    smoothed_hw = summed_hw / np.maximum(weight_hw, 1e-9)
    usual = np.median(smoothed_hw[grid.inside_hw])
    return np.asarray(np.where(grid.inside_hw, smoothed_hw, usual), np.float32)


class HeldOut(NamedTuple):
    """Distances of good images.

    Args:
        distances: Of each image from the patches of all others, (h, w).
        maxima_S: Largest corrected distance of each image, by patches and places of images of other folds alone.
    """

    distances: list[NDArray[np.float32]]
    maxima_S: NDArray[np.float32]


def held_out(bank: PatchBank, grids: Sequence[FeatureGrid], seed: int) -> HeldOut:
    """Measure good images as new ones will be: the images that set the threshold teach neither bank nor places.

    Args:
        bank: Of the images.
        grids: Each image once.
        seed: Of the folds.
    """
    fold_S = np.random.default_rng(seed).permutation(len(grids)) % FOLDS
    fold_of = {grid.image: fold for grid, fold in zip(grids, fold_S.tolist(), strict=True)}
    fold_M = np.array([fold_of[image] for image in bank.image_M.tolist()])
    banks = [PatchBank(bank.features_MD[fold_M == fold], bank.image_M[fold_M == fold]) for fold in range(FOLDS)]
    seen = []
    for grid in grids:
        centred_hwD = grid.values_hwD - centre(grid)
        near_Fhw = np.stack([nearest_map(part, centred_hwD, grid.image) for part in banks])
        seen.append((near_Fhw, grid))
    maxima_S = np.empty(len(grids), np.float32)
    for fold in range(FOLDS):
        others = [smoothed(np.delete(near_Fhw, fold, 0).min(axis=0), grid) for near_Fhw, grid in seen]
        places = typical_places([others[row] for row in np.flatnonzero(fold_S != fold)])
        for row in np.flatnonzero(fold_S == fold):
            maxima_S[row] = corrected(others[row], *places).max()
    return HeldOut([smoothed(near_Fhw.min(axis=0), grid) for near_Fhw, grid in seen], maxima_S)
