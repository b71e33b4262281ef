"""Interface of the methods of `segment`.

A method is fitted once to a sample of the folder, then applied to one image after the other. Both take features only:

    fitted = method.fit([grid, grid, ...])
    maps = fitted.apply(grid)

A tiled image is *one* grid as well: the features of its tiles are blended on the patch grid of the whole image, so
methods do not handle tiles. Methods with `whole_image_only` accept no tiles: attention is global, and the graph of a
normalised cut of 100,000 patches does not fit in memory.

Legend: h w rows and columns of the patch grid, D width, K objects or segments, n heads.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Soft = NDArray[np.float32]


class FeatureKind(StrEnum):
    """Kind of patch features that a method takes."""

    PATCHES = "patches"
    """ViT: patch tokens after the last norm. Convnet: feature map of stride 8."""
    COARSE = "coarse"
    """Convnet only: feature map of stride 16 of the image at a third of its size."""
    PATCHES_AND_COARSE = "patches and coarse"
    """Convnet only: both, as two grids."""
    KEYS = "keys"
    """ViT: keys of the last block, heads concatenated. Convnet: feature map of stride 16 and colour."""
    ATTENTION = "attention"
    """ViT only: attention of the last block to the patches, one channel per head (D heads)."""


@dataclass(frozen=True)
class FeatureGrid:
    """Patch features of one image.

    Args:
        values_hwD: float32 features of the method's `FeatureKind`.
        image: Index of the image in the folder, so that an image is not compared with itself; images from elsewhere
            have unique negative numbers.
        inside_hw: Patches inside the region of interest; all others are ignored. None: no region.
        deep: For the keys of a convnet: computes the deepest feature map, (h / 2, w / 2, D). None otherwise.
        fine_size: For coarse features: rows and columns of the fine grid of the same image. None otherwise.
        coarse: Coarse features of the same image, beside fine ones. None otherwise.
    """

    values_hwD: NDArray[np.float32]
    image: int = -1
    inside_hw: NDArray[np.bool_] | None = None
    deep: Callable[[], NDArray[np.float32] | None] | None = None
    fine_size: tuple[int, int] | None = None
    coarse: "FeatureGrid | None" = None

    @property
    def counts_hw(self) -> NDArray[np.bool_]:
        """The valid patches: all, or those inside the region of interest."""
        return np.ones(self.values_hwD.shape[:2], np.bool_) if self.inside_hw is None else self.inside_hw


@dataclass(frozen=True)
class PatchMaps:
    """Result of a method for one image, on its patch grid.

    To label pixels, upsample and refine `soft_Khw`, then call `label_map`; labels cannot be interpolated.

    Args:
        soft_Khw: float32 in [0, 1], one map per object or segment.
        threshold: Value above which a map is foreground; -1 if every pixel belongs to a segment.
        score: Confidence that the image has foreground, 0 to 1; comparable within a run.
        empty_reason: Reason why the image has no foreground; empty if it has. The maps are kept in either case.
        metrics: Numbers for `segments.csv` and `--json`, such as `lambda_2`.
        extra_maps: Further maps by name, (h, w) or (h, w, 3), float32 in [0, 1]: attention heads, false colours.
        saliency_hw: Saliency of each patch if it is not the maximum of `soft_Khw` over K.
        saliency_threshold: Value of the saliency above which the anomaly method detects a patch.
        distances_Fhw: Uncorrected distances of the anomaly method, one map for each kind of features (F), to which
            `--from` applies another threshold.
        heads_nhw: Masks of the attention heads, for the score of the best head against the ground truth.
    """

    soft_Khw: Soft
    threshold: float
    score: float
    empty_reason: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    extra_maps: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    saliency_hw: Soft | None = None
    saliency_threshold: float = 0.5
    distances_Fhw: NDArray[np.float32] | None = None
    heads_nhw: NDArray[np.bool_] | None = None

    def saliency(self) -> Soft:
        """Return the saliency of each patch, (h, w)."""
        saliency_hw: Soft = self.soft_Khw.max(axis=0) if self.saliency_hw is None else self.saliency_hw
        return saliency_hw

    def labels(self) -> NDArray[np.uint16]:
        """Return the label map on the patch grid; all 0 for an image without foreground."""
        if self.empty_reason:
            return np.zeros(self.soft_Khw.shape[1:], np.uint16)
        return label_map(self.soft_Khw, self.threshold)


def label_map(soft_Khw: NDArray[np.floating], threshold: float) -> NDArray[np.uint16]:
    """Return 0 where no map exceeds the threshold, else 1 + the index of the highest map, at any resolution."""
    highest = soft_Khw.argmax(axis=0) + 1
    return np.where(soft_Khw.max(axis=0) > threshold, highest, 0).astype(np.uint16)


class FittedMethod(Protocol):
    """A method after `fit`."""

    @property
    def parameters(self) -> Mapping[str, float | str]:
        """Fitted values for the report: number of segments, threshold, size of the bank."""
        ...

    def apply(self, grid: FeatureGrid) -> PatchMaps:
        """Map one image; only video propagation keeps state, for all others the order of images does not matter."""
        ...


class Method(Protocol):
    """A segmentation method; its options are its fields."""

    @property
    def feature_kind(self) -> FeatureKind:
        """Kind of features of its grids."""
        ...

    @property
    def whole_image_only(self) -> bool:
        """Whether tiled images are refused."""
        ...

    def fit(self, sample: Iterable[FeatureGrid]) -> FittedMethod:
        """Fit to a sample of at least one image, which is read on iteration: a method without a fit reads none."""
        ...


class Patches(NamedTuple):
    """Patches of several images.

    Args:
        features_ND: float32.
        image_N: Number of the image of each patch, as in `FeatureGrid.image`.
    """

    features_ND: NDArray[np.float32]
    image_N: NDArray[np.int64]


def sample_patches(sample: Sequence[FeatureGrid], count: int, seed: int) -> Patches:
    """Sample valid patches at random without replacement, the same number from each image or all it has.

    Args:
        sample: Grids with the same D.
        count: Total number of patches; at least one per image is drawn.
        seed: Seed of the sample.
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
