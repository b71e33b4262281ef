"""What is unlike the rest of the folder: the distance of every patch to typical patches of the other images.

For surfaces and textures, where the thing to find is a defect. Three corrections make a distance a score:

- *place*: where images show the same part in the same position, some places are always harder to match (edges, glints).
  The median over the folder at each place is subtracted; where images are not aligned it is the same everywhere.
- *image*: the median of the image is subtracted: another lighting shifts all patches, a defect shifts a few.
- *chance*: the line is where one image in a hundred would be by chance, if distances fell off as an exponential from
  where the patches between the median and the upper quartile lie. Nothing beyond it is "nothing here", also where every
  image of the folder is bad, which a comparison with the other images' maxima cannot say.

Source: the bank is PatchCore's (Roth et al. 2022, arXiv:2106.08265), built to hold for folders with defects in them.

Legend: N patches, M patches of the bank, D width, h w rows and columns of the grid, S images of the sample.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, label, map_coordinates, maximum

from dinocli.errors import DataError
from dinocli.tasks.segment.memory_bank import MemoryBank, build_memory_bank
from dinocli.tasks.segment.method import FeatureGrid, FeatureKind, PatchMaps, sample_patches

POOL = 12_000
"""Patches of the folder that the bank is chosen from."""

REMEMBERED = 4096
"""Patches of the bank at most."""

RARE = 0.1
"""Share of the folder's patches that is taken for rare and not remembered; defects may cover this much of it."""

CHANCE = 0.01
"""Share of images in which one patch would be seen by chance, if distances fell off as an exponential. They fall off a
little more slowly: with 0.05, one was seen in 13 of 100 textures without a defect."""

PLACES = 32
"""Rows and columns of the map of places."""

ALIGNED = 8
"""Images from which on the median at a place says something."""


@dataclass(frozen=True)
class Anomaly:
    """The method.

    Args:
        reference: The sample is of images that are known to be good: nothing of it is trimmed. Their numbers
            (`FeatureGrid.image`) are negative, each its own.
        seed: Of the sample and the coreset.
    """

    reference: bool = False
    seed: int = 0
    feature_kind: FeatureKind = FeatureKind.PATCHES
    whole_image_only: bool = False

    def fit(self, sample: Sequence[FeatureGrid]) -> "FittedAnomaly":
        """Remember typical patches, and how far patches of the sample are from those of *other* images.

        Raises:
            DataError: Only one image; there is nothing to compare it with.
        """
        if len({grid.image for grid in sample}) < 2:
            raise DataError("one image has no others to be compared with: give more images, or --reference FOLDER")
        bank = build_memory_bank(
            sample_patches(sample, POOL, self.seed), REMEMBERED, 0 if self.reference else RARE, self.seed
        )
        raw = [_distances(bank, grid) for grid in sample]
        place = typical_places(raw)
        residuals = np.concatenate([corrected(map_hw, place).ravel() for map_hw in raw])
        middle, upper = np.quantile(residuals, [0.5, 0.75])
        return FittedAnomaly(bank, place, float(middle), float(max(upper - middle, 1e-9) / np.log(2)))


@dataclass(frozen=True)
class FittedAnomaly:
    """What is typical of a folder.

    Args:
        bank: Its patches.
        place_PP: What is subtracted at each place, on a grid over the whole image.
        middle: Median of the corrected distances.
        fall: Corrected distance over which patches become fewer by a factor e.
    """

    bank: MemoryBank
    place_PP: NDArray[np.float32]
    middle: float
    fall: float

    @property
    def parameters(self) -> Mapping[str, float | str]:
        """Size of the bank and scale of the distances."""
        return {"bank": len(self.bank.features_MD), "fall": self.fall}

    def line(self, patches: int) -> float:
        """Return the distance that the furthest of this number of patches has by chance in one image of a hundred."""
        return self.middle + self.fall * float(np.log(patches / 2 / CHANCE))

    def apply(self, grid: FeatureGrid) -> PatchMaps:
        """Map one image: 0.5 is the line in what stands out, half the height of each peak in the mask."""
        far_hw = corrected(_distances(self.bank, grid), self.place_PP)
        line = self.line(far_hw.size)
        saliency_hw = (1 / (1 + np.exp((line - far_hw) * (4 / line)))).astype(np.float32)
        highest = float(far_hw.max())
        return PatchMaps(
            outlined(far_hw, line)[None],
            threshold=0.5,
            score=float(saliency_hw.max()),
            empty_reason=""
            if highest > line
            else f"no patch is further from the others than chance ({highest / line:.2f})",
            metrics={"furthest": highest / line},
            saliency_hw=saliency_hw,
        )


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
    without: NDArray[np.float32] = map_hw - _resampled(place_PP, map_hw.shape)
    return without - np.float32(np.median(without))


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


def _distances(bank: MemoryBank, grid: FeatureGrid) -> NDArray[np.float32]:
    h, w, width = grid.values_hwD.shape
    return bank.distances(grid.values_hwD.reshape(-1, width), grid.image).reshape(h, w)


def _resampled(map_hw: NDArray[np.float32], size: tuple[int, ...]) -> NDArray[np.float32]:
    """Bring a map over the whole image to another grid, bilinear between centres of cells."""
    places = [(np.arange(cells) + 0.5) * old / cells - 0.5 for cells, old in zip(size, map_hw.shape, strict=True)]
    resampled: NDArray[np.float32] = map_coordinates(
        map_hw, np.meshgrid(*places, indexing="ij"), order=1, mode="nearest"
    )
    return resampled
