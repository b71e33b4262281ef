"""Anomaly maps of surfaces and parts: distance of each patch to its nearest neighbour in a bank of typical patches.

Without a reference, the bank is sampled from the folder itself after its rarest patches are removed (`without_rare`),
so the folder may contain defects; with a reference of good images, the bank is a coreset of their patches. The median
of each channel over an image is subtracted first, because illumination, wear and focus of the whole image would
dominate the distance. `DistanceScale` turns distances into scores.

Legend: M patches of the bank, D width, h w rows and columns of the grid, F kinds of features, K folds.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from dinocli.errors import DataError, UsageError
from dinocli.quality.patch_bank import PatchBank, coreset, without_rare
from dinocli.segmentation.anomaly_threshold import Threshold, parse_threshold
from dinocli.segmentation.distance_scale import DistanceScale
from dinocli.segmentation.method import FeatureGrid, FeatureKind, PatchMaps, sample_patches
from dinocli.segmentation.position_maps import MIN_ALIGNED_IMAGES, corrected, resampled, typical_places

FEATURES = {"fine": FeatureKind.PATCHES, "coarse": FeatureKind.COARSE, "both": FeatureKind.PATCHES_AND_COARSE}
"""Features to compare, by name."""

CANDIDATE_PATCHES = 12_000
"""Number of sampled patches that the bank is selected from."""

MAX_BANK_PATCHES = 4096
"""Maximum number of patches in the bank."""

RARE_FRACTION = 0.1
"""Fraction of the patches removed as rare; defects may cover this fraction of the folder."""

FOLDS = 5
"""Folds of good images, each measured with the bank and position maps of the others, which would else be too low."""

COARSE_SMOOTHING = 4.5
"""Standard deviation of the Gaussian filter on distances of coarse features, in cells of the fine grid; a coarse cell
is six of them wide."""

SMOOTHING = 0.7
"""Standard deviation, cells, of the Gaussian filter on distances. Without it the maximum of thousands of patches, and a
threshold from these maxima, is noise. With 1, a fifth of the good leather was flagged and masks of textures widened."""


@dataclass(frozen=True)
class Anomaly:
    """Options of the anomaly method.

    Args:
        reference: The sample consists of images known to be good, with unique negative numbers (`FeatureGrid.image`).
        seed: Seed of the patch sampling and of the folds.
        threshold: ``auto``; a value of the soft maps between 0 and 1, where ``auto`` is 0.5; or ``quantile:Q`` of the
            sample's per-image maxima.
        features: ``fine``; ``coarse``, deeper features of the images at a third of their size, uncentred, for large,
            faint defects; ``both``; or ``auto``: the caller decides with which grids it fits the method.

    Raises:
        UsageError: The threshold or the features have none of these forms.
    """

    whole_image_only: ClassVar = False

    reference: bool = False
    seed: int = 0
    threshold: str = "auto"
    features: str = "auto"

    def __post_init__(self) -> None:
        parse_threshold(self.threshold)
        if self.features not in ("auto", *FEATURES):
            raise UsageError(f"--features {self.features!r} is not known; use one of auto, {', '.join(FEATURES)}")

    @property
    def feature_kind(self) -> FeatureKind:
        """`FeatureKind.COARSE` for ``coarse``, else `FeatureKind.PATCHES`."""
        return FEATURES.get(self.features, FeatureKind.PATCHES)

    def fit(self, sample: Iterable[FeatureGrid]) -> "FittedAnomaly":
        """Build the bank, and measure the sample against it, each image without its own patches.

        Raises:
            DataError: The sample has only one image, so there is nothing to compare it with.
        """
        grids = list({grid.image: grid for grid in sample}.values())
        if len(grids) < 2:
            raise DataError(
                "one image has no others to be compared with: give at least two, here or with --reference FOLDER"
            )
        kinds = list(zip(*(kinds_of(grid) for grid in grids), strict=True))
        banks = tuple(self._bank(of_kind) for of_kind in kinds)
        if self.reference and len(grids) >= MIN_ALIGNED_IMAGES:
            parts = [held_out(bank, of_kind, self.seed) for bank, of_kind in zip(banks, kinds, strict=True)]
            measured, judged = (
                [np.stack(maps) for maps in zip(*part, strict=True)] for part in zip(*parts, strict=True)
            )
        else:
            measured, judged = [distances(banks, grid) for grid in grids], None
        coarse = grids[0].fine_size is not None
        inside = None if coarse else [grid.counts_hw for grid in grids]
        scale = DistanceScale.of(measured, good=self.reference, coarse=coarse, inside=inside, held_out=judged)
        known = {grid.image: maps_Fhw for grid, maps_Fhw in zip(grids, measured, strict=True) if grid.image >= 0}
        sizes = {(maps_Fhw.shape[1], maps_Fhw.shape[2]) for maps_Fhw in measured}
        grid = sizes.pop() if len(sizes) == 1 else None
        return FittedAnomaly(banks, scale, parse_threshold(self.threshold), known, kind_of(grids[0]), grid)

    def _bank(self, grids: Sequence[FeatureGrid]) -> PatchBank:
        drawn_ND, image_N = sample_patches(grids, CANDIDATE_PATCHES, self.seed)
        centre_of = {grid.image: centre(grid) for grid in grids}
        features_ND = drawn_ND - np.stack([centre_of[image] for image in image_N.tolist()])
        if self.reference:
            rows = coreset(features_ND, MAX_BANK_PATCHES)
        else:
            typical = without_rare(features_ND, image_N, RARE_FRACTION)
            rows = np.random.default_rng(self.seed).permutation(typical)[:MAX_BANK_PATCHES]
        return PatchBank(features_ND[rows], image_N[rows])


@dataclass(frozen=True)
class FittedAnomaly:
    """Fitted anomaly method.

    Args:
        banks: Typical patches of each kind of features.
        scale: Distribution of the distances of the sample to the bank.
        threshold: Parsed `--threshold`.
        known: Distance maps of the sample's images of the folder, which need no second forward pass.
        feature_kind: Kind of features of the grids that `apply` takes.
        grid: Rows and columns of the (fine) grids of the sample; None if they differ, or of a stored method.
    """

    banks: tuple[PatchBank, ...]
    scale: DistanceScale
    threshold: Threshold
    known: Mapping[int, NDArray[np.float32]] = field(default_factory=dict)
    feature_kind: FeatureKind = FeatureKind.PATCHES
    grid: tuple[int, int] | None = None

    @property
    def features(self) -> str:
        """``fine``, ``coarse`` or ``both``."""
        return next(name for name, kind in FEATURES.items() if kind == self.feature_kind)

    @property
    def parameters(self) -> Mapping[str, float | str]:
        """Number of patches in the banks, decay length of the distances, and rule of the threshold."""
        patches = sum(len(bank.features_MD) for bank in self.banks)
        return {"bank_patches": patches, **self.scale.parameters(self.threshold)}

    def apply_known(self, image: int) -> PatchMaps | None:
        """Map an image of the sample from its stored distances; None for other images."""
        distances_Fhw = self.known.get(image)
        return None if distances_Fhw is None else self.scale.judge(distances_Fhw, self.threshold)

    def apply(self, grid: FeatureGrid) -> PatchMaps:
        """Map one image."""
        return self.scale.judge(distances(self.banks, grid), self.threshold)


def kinds_of(grid: FeatureGrid) -> list[FeatureGrid]:
    """Return the grid of each kind of features, the fine ones first."""
    return [grid] if grid.coarse is None else [grid, grid.coarse]


def kind_of(grid: FeatureGrid) -> FeatureKind:
    """Return the kind of the features of a grid."""
    if grid.coarse is not None:
        return FeatureKind.PATCHES_AND_COARSE
    return FeatureKind.COARSE if grid.fine_size else FeatureKind.PATCHES


def centre(grid: FeatureGrid) -> NDArray[np.float32]:
    """Return the median of each channel over the valid patches, (D,); 0 for coarse features, worse if centred."""
    if grid.fine_size:
        return np.zeros(grid.values_hwD.shape[2], np.float32)
    middle_D: NDArray[np.float32] = np.median(grid.values_hwD[grid.counts_hw], axis=0)
    return middle_D


def distances(banks: Sequence[PatchBank], grid: FeatureGrid) -> NDArray[np.float32]:
    """Return the smoothed distance of each patch to the nearest bank patch of any other image, (F, h, w)."""
    maps = []
    for bank, of_kind in zip(banks, kinds_of(grid), strict=True):
        maps.append(smoothed(nearest_map(bank, of_kind.values_hwD - centre(of_kind), of_kind.image), of_kind))
    return np.stack(maps)


def nearest_map(bank: PatchBank, centred_hwD: NDArray[np.float32], image: int) -> NDArray[np.float32]:
    """Return the distance of each patch to the nearest bank patch of any other image, (h, w); infinite without one."""
    h, w, width = centred_hwD.shape
    return bank.nearest(centred_hwD.reshape(-1, width), image).reshape(h, w)


def smoothed(nearest_hw: NDArray[np.float32], grid: FeatureGrid) -> NDArray[np.float32]:
    """Smooth distances; outside a region of interest, set them to the median of those inside.

    Distances of coarse features are resampled to the fine grid first. Infinite distances become 0: where all images are
    equal, the bank is one patch of one image, which has no patch of another image to be compared with.
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
    """Cross-validated distances of good images, of one kind of features.

    Args:
        distances: Distance map (h, w) of each image to the patches of all other images.
        judged: Corrected distances (h, w) of each image, with bank and position maps of the other folds only.
    """

    distances: list[NDArray[np.float32]]
    judged: list[NDArray[np.float32]]


def held_out(bank: PatchBank, grids: Sequence[FeatureGrid], seed: int) -> HeldOut:
    """Measure good images by cross-validation, so that their maxima are distributed as those of new images.

    Args:
        bank: Bank of all images.
        grids: One grid per image.
        seed: Seed of the assignment to folds.
    """
    fold_S = np.random.default_rng(seed).permutation(len(grids)) % FOLDS
    fold_of = {grid.image: fold for grid, fold in zip(grids, fold_S.tolist(), strict=True)}
    fold_M = np.array([fold_of[image] for image in bank.image_M.tolist()])
    banks = [PatchBank(bank.features_MD[fold_M == fold], bank.image_M[fold_M == fold]) for fold in range(FOLDS)]
    near = []
    for grid in grids:
        centred_hwD = grid.values_hwD - centre(grid)
        near.append((np.stack([nearest_map(part, centred_hwD, grid.image) for part in banks]), grid))
    judged: dict[int, NDArray[np.float32]] = {}
    for fold in range(FOLDS):
        others = [smoothed(np.delete(near_Khw, fold, 0).min(axis=0), grid) for near_Khw, grid in near]
        places = typical_places([others[row] for row in np.flatnonzero(fold_S != fold)])
        judged |= {row: corrected(others[row], *places) for row in np.flatnonzero(fold_S == fold).tolist()}
    measured = [smoothed(near_Khw.min(axis=0), grid) for near_Khw, grid in near]
    return HeldOut(measured, [judged[row] for row in range(len(grids))])
