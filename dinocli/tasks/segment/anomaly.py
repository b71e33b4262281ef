"""Defects on surfaces and parts: patches that are far from the typical patches of the other images.

Without a reference the bank is of the folder itself, without its rarest patches (`without_rare`), so that the folder
may hold defects; with a folder of good images it is a coreset of theirs. Three corrections make a distance a score:

- *place*: where images show the same part in the same position, some places are always harder to match (edges, glints).
  The median over the folder at each place is subtracted; where images are not aligned it is the same everywhere.
- *image*: the median of the image is subtracted: another lighting shifts all patches, a defect shifts a few.
- *threshold*: with good images, the 0.9 quantile of their own maxima, each compared with the others. Without, where one
  image in a hundred would be by chance, if distances fell off as an exponential from where the patches between the
  median and the upper quartile lie. Both say "no defect", also where every image of a folder is bad.

Legend: N patches, M patches of the bank, D width, h w rows and columns of the grid, S images of the sample.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, label, map_coordinates, maximum

from dinocli.errors import DataError, UsageError
from dinocli.quality.image_scores import image_score
from dinocli.quality.patch_bank import PatchBank, coreset, without_rare
from dinocli.tasks.segment.method import FeatureGrid, FeatureKind, PatchMaps, sample_patches

POOL = 12_000
"""Patches of the folder that the bank is chosen from."""

BANK = 4096
"""Patches of the bank at most."""

RARE = 0.1
"""Fraction of the folder's patches that is taken for rare and left out; defects may cover this much of the folder."""

CHANCE = 0.01
"""Fraction of images in which one patch would be seen by chance, if distances fell off as an exponential. They fall off
a little more slowly: with 0.05, one was seen in 13 of 100 textures without a defect."""

GOOD_QUANTILE = 0.9
"""Of the maxima of good images, each compared with the others: the threshold where there are good images. One of them
alone can have a defect that nobody saw; at the highest maximum it would hide all others."""

PLACES = 32
"""Rows and columns of the map of places."""

ALIGNED = 8
"""Images from which on the median at a place, or a quantile of their maxima, says something."""


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
        self.settled_threshold()

    def settled_threshold(self) -> tuple[str, float]:
        """Return ``auto``, ``value`` or ``quantile``, and the number that belongs to it."""
        if self.threshold == "auto":
            return "auto", GOOD_QUANTILE
        kind, _, text = self.threshold.rpartition(":")
        kind = kind or "value"
        try:
            number = float(text)
        except ValueError:
            number = -1.0
        if kind not in ("value", "quantile") or not 0 < number <= 1 or (kind == "value" and number == 1):
            raise UsageError(
                f"--threshold {self.threshold!r} is not auto, a value of the soft maps between 0 and 1, "
                f"or quantile:Q; for example 0.4 or quantile:0.9"
            )
        return kind, number

    def fit(self, sample: Sequence[FeatureGrid]) -> "FittedAnomaly":
        """Choose patches to compare with, and learn how far patches of the sample are from those of *other* images.

        Raises:
            DataError: Only one image; there is nothing to compare it with.
        """
        if len({grid.image for grid in sample}) < 2:
            raise DataError("one image has no others to be compared with: give more images, or --reference FOLDER")
        patches = sample_patches(sample, POOL, self.seed)
        if self.reference:
            kept = coreset(patches.features_ND, BANK)
        else:
            typical = without_rare(patches.features_ND, patches.image_N, RARE)
            kept = np.random.default_rng(self.seed).permutation(typical)[:BANK]
        bank = PatchBank(patches.features_ND[kept], patches.image_N[kept])
        raw = [_distances(bank, grid) for grid in sample]
        place = typical_places(raw)
        maps = [corrected(map_hw, place) for map_hw in raw]
        level = float(np.median([np.median(without_place(map_hw, place)) for map_hw in raw]))
        middle, upper = np.quantile(np.concatenate([map_hw.ravel() for map_hw in maps]), [0.5, 0.75])
        fall = float(max(upper - middle, 1e-9) / np.log(2))
        kind, number = self.settled_threshold()
        enough = self.reference and len(maps) >= ALIGNED  # the quantile of fewer maxima says nothing
        good = kind == "quantile" or (kind == "auto" and enough)
        fixed = float(np.quantile([map_hw.max() for map_hw in maps], number)) if good else None
        value = number if kind == "value" else None
        return FittedAnomaly(bank, self.reference, place, level, float(middle), fall, fixed, value)


@dataclass(frozen=True)
class FittedAnomaly:
    """What is typical of a folder.

    Args:
        bank: Its patches.
        reference: The bank is of good images.
        place_PP: What is subtracted at each place, on a grid over the whole image.
        level: Distance that is usual in the median image, without what is subtracted at its place.
        middle: Median of the corrected distances.
        fall: Corrected distance over which patches become fewer by a factor e.
        fixed: Threshold of the corrected distances from the maxima of images; None takes that of chance.
        value: Cut the soft maps at it; None draws outlines at half of each peak above the threshold.
    """

    bank: PatchBank
    reference: bool
    place_PP: NDArray[np.float32]
    level: float
    middle: float
    fall: float
    fixed: float | None = None
    value: float | None = None

    @property
    def parameters(self) -> Mapping[str, float | str]:
        """Size of the bank, scale of the distances, and where the threshold comes from."""
        rule = "chance" if self.fixed is None else "maxima of good images" if self.reference else "maxima of images"
        fixed = {} if self.fixed is None else {"threshold_distance": self.fixed}
        return {"bank": len(self.bank.features_MD), "fall": self.fall, "threshold_rule": rule, **fixed}

    def line(self, patches: int) -> float:
        """Return the threshold: fixed, or what the furthest of that many patches has by chance in 1 % of images."""
        if self.fixed is not None:
            return max(self.fixed, self.middle + self.fall)
        return self.middle + self.fall * float(np.log(patches / 2 / CHANCE))

    def apply(self, grid: FeatureGrid) -> PatchMaps:
        """Map one image: in the soft map 0.5 is the threshold, and a mask ends at half the height of its peak."""
        raw_hw = _distances(self.bank, grid)
        far_hw = corrected(raw_hw, self.place_PP)
        # Worn and stained images are far from the others as a whole, so their own median counts here.
        overall = image_score(without_place(raw_hw, self.place_PP)) - self.level
        line = self.line(far_hw.size)
        saliency_hw = _soft(far_hw, line)
        highest = float(far_hw.max())
        soft_hw, threshold = (outlined(far_hw, line), 0.5) if self.value is None else (saliency_hw, self.value)
        found = highest > line if self.value is None else float(saliency_hw.max()) > self.value
        return PatchMaps(
            soft_hw[None],
            threshold=threshold,
            score=float(_soft(np.array(overall), line)),
            empty_reason="" if found else f"no patch is above the threshold ({highest / line:.2f} of that of auto)",
            metrics={"furthest": highest / line},
            saliency_hw=saliency_hw,
        )


def _soft(far: NDArray[np.floating], line: float) -> NDArray[np.float32]:
    """Bring distances to 0 to 1: 0.5 at the threshold."""
    return np.asarray(1 / (1 + np.exp((line - far) * (4 / line))), np.float32)


def typical_places(maps: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Return how much further than elsewhere patches at each place are in the median image, zeros for few images.

    Args:
        maps: Distances (h, w) each; grids may differ.

    Returns:
        (PLACES, PLACES) over the whole image.
    """
    if len(maps) < ALIGNED:
        return np.zeros((PLACES, PLACES), np.float32)
    stacked_SPP = np.stack([_resampled(map_hw - np.median(map_hw), (PLACES, PLACES)) for map_hw in maps])
    place_PP: NDArray[np.float32] = gaussian_filter(np.median(stacked_SPP, axis=0), 1, mode="nearest")
    return place_PP


def corrected(map_hw: NDArray[np.float32], place_PP: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the distances of one image without what is usual at their place and in their image."""
    without = without_place(map_hw, place_PP)
    return without - np.float32(np.median(without))


def without_place(map_hw: NDArray[np.float32], place_PP: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the distances of one image without what is usual at their place."""
    return np.asarray(map_hw - _resampled(place_PP, map_hw.shape), np.float32)


def outlined(far_hw: NDArray[np.float32], line: float) -> NDArray[np.float32]:
    """Scale each peak above the line so that 0.5 is half its height; elsewhere nothing is above 0.5.

    A patch sees some of its surroundings, so that what is odd has a halo; an edge lies where a peak is half as high.

    Args:
        far_hw: Corrected distances, around 0.
        line: A part is kept if any of its patches is above it; parts end at half of it at the latest.
    """
    parts_hw, count = label(far_hw > line / 2, structure=np.ones((3, 3)))
    peaks = np.append(0.0, maximum(far_hw, parts_hw, np.arange(1, count + 1)))
    peak_hw = np.where(peaks > line, peaks, 0)[parts_hw]
    soft_hw = (far_hw / np.where(peak_hw > 0, peak_hw, line)).clip(0, 1)
    capped: NDArray[np.float32] = np.where(peak_hw > 0, soft_hw, np.minimum(soft_hw, 0.5)).astype(np.float32)
    return capped


def _distances(bank: PatchBank, grid: FeatureGrid) -> NDArray[np.float32]:
    h, w, width = grid.values_hwD.shape
    return bank.nearest(grid.values_hwD.reshape(-1, width), grid.image).reshape(h, w)


def _resampled(map_hw: NDArray[np.float32], size: tuple[int, ...]) -> NDArray[np.float32]:
    """Bring a map over the whole image to another grid, bilinear between centres of cells."""
    places = [(np.arange(cells) + 0.5) * old / cells - 0.5 for cells, old in zip(size, map_hw.shape, strict=True)]
    resampled: NDArray[np.float32] = map_coordinates(
        map_hw, np.meshgrid(*places, indexing="ij"), order=1, mode="nearest"
    )
    return resampled
