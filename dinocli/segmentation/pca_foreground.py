"""Foreground by the first principal component of all patches of a folder, and a false-colour picture of the rest.

Source: Oquab et al. 2023 (DINOv2, arXiv:2304.07193), figure 1. There the threshold and the sign are picked by eye; here
the threshold is Otsu's, and the foreground is the side that fewer patches at the borders of the images are on.

Legend: N patches, D width, h w rows and columns of the grid.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion
from sklearn.decomposition import PCA

from dinocli.quality.otsu import otsu, separation
from dinocli.segmentation.method import FeatureGrid, FeatureKind, PatchMaps, sample_patches

PATCHES = 40_000
"""Patches of the sample that the components are fitted on."""

TWO_GROUPS = 0.7
"""Share of the variance that lies between two sides, from which they are two; one normal distribution has 0.64."""

_COLOURS = 3


@dataclass(frozen=True)
class PcaMethod:
    """The method."""

    seed: int = 0
    feature_kind: FeatureKind = FeatureKind.PATCHES
    whole_image_only: bool = False

    def fit(self, sample: Sequence[FeatureGrid]) -> "FittedPca":
        """Find the first component, its sign and threshold, and three components of the foreground for the colours."""
        patches_ND = sample_patches(sample, PATCHES, self.seed).features_ND
        mean_D = patches_ND.mean(axis=0)
        axis_D = _components(patches_ND, 1)[0]
        along_N = (patches_ND - mean_D) @ axis_D
        middle = otsu(along_N)
        at_border_N = np.concatenate([_border(grid) for grid in sample])
        if ((at_border_N - mean_D) @ axis_D > middle).mean() > (along_N > middle).mean():
            axis_D, along_N, middle = -axis_D, -along_N, -middle
        front_ND = patches_ND[along_N > middle]
        low, high = along_N[along_N <= middle].mean(), float(along_N[along_N > middle].mean())
        colours_3D = _components(front_ND, _COLOURS)
        range_23 = np.quantile((front_ND - mean_D) @ colours_3D.T, [0.01, 0.99], axis=0)
        return FittedPca(mean_D, axis_D, float(low), high, separation(along_N), colours_3D, range_23)


@dataclass(frozen=True)
class FittedPca:
    """Components of a folder.

    Args:
        mean_D: Of the patches.
        axis_D: First component, towards the foreground.
        low: Mean place along it of the background.
        high: Mean of the foreground along the axis.
        separation: See `dinocli.quality.otsu.separation`.
        colours_3D: Components of the foreground.
        range_23: Values along them that become 0 and 1.
    """

    mean_D: NDArray[np.float32]
    axis_D: NDArray[np.float32]
    low: float
    high: float
    separation: float
    colours_3D: NDArray[np.float32]
    range_23: NDArray[np.float32]

    @property
    def parameters(self) -> Mapping[str, float | str]:
        """How far the two sides are apart."""
        return {"separation": self.separation}

    def apply(self, grid: FeatureGrid) -> PatchMaps:
        """Map one image: 0 at the middle of the background, 1 at the middle of the foreground, cut in between."""
        centred_hwD = grid.values_hwD - self.mean_D
        soft_hw = ((centred_hwD @ self.axis_D - self.low) / max(self.high - self.low, 1e-12)).clip(0, 1)
        soft_hw = soft_hw * grid.counts_hw
        width_3 = np.maximum(self.range_23[1] - self.range_23[0], 1e-12)
        shades_hw3 = (centred_hwD @ self.colours_3D.T - self.range_23[0]) / width_3
        return PatchMaps(
            soft_hw[None].astype(np.float32),
            threshold=0.5,
            score=float(soft_hw.max()),
            empty_reason=self._why_not(soft_hw),
            metrics={"area_fraction": float((soft_hw > 0.5).sum() / grid.counts_hw.sum())},
            extra_maps={"colours": shades_hw3.clip(0, 1).astype(np.float32)},
        )

    def _why_not(self, soft_hw: NDArray[np.floating]) -> str:
        if self.separation < TWO_GROUPS:
            return f"the patches of the folder are one group, not two (separation {self.separation:.2f})"
        return "" if (soft_hw > 0.5).any() else "no patch is like the foreground of the other images"


def _components(patches_ND: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """Return the first components as rows of unit length, largest entry positive; zeros where patches give fewer."""
    found = PCA(min(count, *patches_ND.shape), svd_solver="covariance_eigh").fit(patches_ND.astype(np.float64))
    return np.pad(found.components_, ((0, count - len(found.components_)), (0, 0))).astype(np.float32)


def _border(grid: FeatureGrid) -> NDArray[np.float32]:
    """Return the patches along the border of an image, or of its region of interest, (N, D)."""
    edge_hw = grid.counts_hw & ~binary_erosion(grid.counts_hw, np.ones((3, 3)))
    border_ND: NDArray[np.float32] = grid.values_hwD[edge_hw]
    return border_ND
