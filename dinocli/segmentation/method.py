"""The contract between the methods of `segment` and what stands around them.

A method is fitted once on a sample of the folder and then maps one image after the other; both see features only:

    fitted = method.fit([grid, grid, ...])
    maps = fitted.apply(grid)

A tiled image is *one* grid too: the features of its tiles are blended on the patch grid of the whole image before a
method sees them, so no method knows of tiles, and a seam can come from the features alone. Methods that are `whole`
take an image in one piece: attention looks across the image, a normalised cut of 100,000 patches fits no memory.

Legend: h w rows and columns of the patch grid, D width, K objects or segments, n heads.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Soft = NDArray[np.float32]


class FeatureKind(StrEnum):
    """Which features of a patch a method works on."""

    PATCHES = "patches"
    """Patch tokens after the last norm of a ViT; the feature map of stride 8 of a convnet."""
    COARSE = "coarse"
    """The feature map of stride 16 of a convnet, of the image at a third of its size."""
    KEYS = "keys"
    """Keys of the last block of a ViT, all heads side by side; map of stride 16 and colour for a convnet."""
    ATTENTION = "attention"
    """Attention of the last block to the patches, a channel a head: D is the number of heads."""


@dataclass(frozen=True)
class FeatureGrid:
    """One image as a method sees it.

    Args:
        values_hwD: float32, what the method's `FeatureKind` asks for.
        image: Place of the image in the folder, so that it can be left out of what it is compared with; images that are
            not of the folder have numbers below 0, each its own.
        inside_hw: Patches inside the region of interest; the others count for nothing. None: all are.
        deep: Computes the deepest map beside the keys of a convnet, (h / 2, w / 2, D); None elsewhere.
        fine_size: Rows and columns of the grid of the whole image that coarse features lie on; None for all others.
    """

    values_hwD: NDArray[np.float32]
    image: int = -1
    inside_hw: NDArray[np.bool_] | None = None
    deep: Callable[[], NDArray[np.float32] | None] | None = None
    fine_size: tuple[int, int] | None = None

    @property
    def counts_hw(self) -> NDArray[np.bool_]:
        """The patches that count."""
        return np.ones(self.values_hwD.shape[:2], np.bool_) if self.inside_hw is None else self.inside_hw


@dataclass(frozen=True)
class PatchMaps:
    """What a method has to say about one image, on its patch grid.

    Whoever wants pixels enlarges and refines `soft_Khw`, then calls `label_map`: labels themselves cannot be enlarged.

    Args:
        soft_Khw: float32 in [0, 1], a map for each object or segment.
        threshold: Where a map is above it there is something; -1 where every pixel belongs to some segment.
        score: How sure the method is that there is something, 0 to 1; comparable within a run.
        nothing: Why there is nothing here; empty where there is something. The maps are kept for the curious.
        metrics: Numbers for `segments.csv` and `--json`, such as `lambda_2`.
        extra_maps: Further maps by name, (h, w) or (h, w, 3), float32 in [0, 1]: heads, false colours.
        saliency_hw: For segments: how much a patch is what one looks for. Elsewhere `soft_Khw` itself says it.
        distances_hw: What the maps were made of, where another threshold can be tried on it without features.
    """

    soft_Khw: Soft
    threshold: float
    score: float
    empty_reason: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    extra_maps: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    saliency_hw: Soft | None = None
    distances_hw: NDArray[np.float32] | None = None

    def saliency(self) -> Soft:
        """Return one map (h, w): how much each patch is part of what the method found."""
        found: Soft = self.soft_Khw.max(axis=0) if self.saliency_hw is None else self.saliency_hw
        return found

    def labels(self) -> NDArray[np.uint16]:
        """Return the label map on the patch grid, all 0 where there is nothing."""
        if self.empty_reason:
            return np.zeros(self.soft_Khw.shape[1:], np.uint16)
        return label_map(self.soft_Khw, self.threshold)


def label_map(soft_Khw: NDArray[np.floating], threshold: float) -> NDArray[np.uint16]:
    """Return 0 where no map is above the threshold, else 1 + the number of the highest map, at any resolution."""
    highest = soft_Khw.argmax(axis=0) + 1
    return np.where(soft_Khw.max(axis=0) > threshold, highest, 0).astype(np.uint16)


class FittedMethod(Protocol):
    """A method that has seen the folder."""

    @property
    def parameters(self) -> Mapping[str, float | str]:
        """What was settled for the whole folder (number of segments, threshold, size of the bank), for the report."""
        ...

    def apply(self, grid: FeatureGrid) -> PatchMaps:
        """Map one image; never changes the state, so that images can come in any order."""
        ...


class Method(Protocol):
    """A way to segment; its options are its fields."""

    @property
    def feature_kind(self) -> FeatureKind:
        """What its grids hold."""
        ...

    @property
    def whole_image_only(self) -> bool:
        """Takes an image in one piece only, no tiles."""
        ...

    def fit(self, sample: Sequence[FeatureGrid]) -> FittedMethod:
        """Look at a sample of the folder, at least one image."""
        ...


class Patches(NamedTuple):
    """Patches of several images.

    Args:
        features_ND: float32.
        image_N: Where each one comes from, as in `FeatureGrid.image`.
    """

    features_ND: NDArray[np.float32]
    image_N: NDArray[np.int64]


def sample_patches(sample: Sequence[FeatureGrid], count: int, seed: int) -> Patches:
    """Draw the same number of patches that count from every image, at random, all of an image that has no more.

    Args:
        sample: Grids of one width.
        count: Patches wanted in all, at least one an image.
        seed: Of the draw.
    """
    rng = np.random.default_rng(seed)
    each = max(1, count // len(sample))
    features, images = [], []
    for grid in sample:
        patches_ND = grid.values_hwD[grid.counts_hw]
        drawn = rng.choice(len(patches_ND), min(each, len(patches_ND)), replace=False)
        features.append(patches_ND[drawn])
        images.append(np.full(len(drawn), grid.image))
    return Patches(np.concatenate(features), np.concatenate(images))
