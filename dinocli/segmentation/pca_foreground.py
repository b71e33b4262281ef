"""Foreground by the first principal component of the patches of a folder, and false colours of further components.

Source: Oquab et al. 2023 (DINOv2, arXiv:2304.07193), figure 1. There, threshold and sign are chosen by eye; here, the
threshold is Otsu's, and the foreground is the side with fewer patches along the image borders.

Legend: N patches, D width, h w rows and columns of the grid.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion
from sklearn.decomposition import PCA

from dinocli.quality.otsu import otsu, separation
from dinocli.segmentation.method import FeatureGrid, FeatureKind, PatchMaps, sample_patches

FIT_PATCHES = 40_000
"""Number of sampled patches that the components are fitted to."""

MIN_SEPARATION = 0.7
"""Minimum fraction of the variance between the two sides of the threshold; one normal distribution has 0.64."""

_COLOUR_COMPONENTS = 3

_ROUNDING = 1e-5
"""Range of the projections, relative to the length of the mean patch, that rounding alone leaves in equal patches."""


@dataclass(frozen=True)
class PcaMethod:
    """Options of the PCA method.

    Args:
        seed: Seed of the sample.
    """

    feature_kind: ClassVar = FeatureKind.PATCHES
    whole_image_only: ClassVar = False

    seed: int = 0

    def fit(self, sample: Iterable[FeatureGrid]) -> "FittedPca":
        """Fit the first component, its sign and threshold, and three components of the foreground for the colours.

        A single patch, and patches that differ by rounding only, have no foreground: the separation is 0.
        """
        grids = list(sample)
        patches_ND = sample_patches(grids, FIT_PATCHES, self.seed).features_ND
        mean_D = patches_ND.mean(axis=0)
        axis_D = _components(patches_ND, 1)[0]
        projected_N = (patches_ND - mean_D) @ axis_D
        if np.ptp(projected_N) <= _ROUNDING * np.linalg.norm(mean_D):
            zeros_3D = np.zeros((_COLOUR_COMPONENTS, len(mean_D)), np.float32)
            return FittedPca(mean_D, zeros_3D[0], 0.0, 1.0, 0.0, zeros_3D, np.zeros((2, 3), np.float32))
        threshold = otsu(projected_N)
        border_ND = np.concatenate([_border(grid) for grid in grids])
        if ((border_ND - mean_D) @ axis_D > threshold).mean() > (projected_N > threshold).mean():
            axis_D, projected_N, threshold = -axis_D, -projected_N, -threshold
        front_ND = patches_ND[projected_N > threshold]
        low, high = projected_N[projected_N <= threshold].mean(), float(projected_N[projected_N > threshold].mean())
        colours_3D = _components(front_ND, _COLOUR_COMPONENTS)
        range_23 = np.quantile((front_ND - mean_D) @ colours_3D.T, [0.01, 0.99], axis=0)
        return FittedPca(mean_D, axis_D, float(low), high, separation(projected_N), colours_3D, range_23)


@dataclass(frozen=True)
class FittedPca:
    """Fitted PCA method.

    Args:
        mean_D: Mean of the patches.
        axis_D: First component, signed so that the foreground is positive.
        low: Mean projection of the background on the axis.
        high: Mean projection of the foreground on the axis.
        separation: See `dinocli.quality.otsu.separation`.
        colours_3D: First three components of the foreground.
        range_23: Projections on these that become 0 and 1: their 1 % and 99 % quantiles.
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
        """Separation of the two sides, 0 to 1."""
        return {"separation": self.separation}

    def apply(self, grid: FeatureGrid) -> PatchMaps:
        """Map one image: 0 at the mean of the background, 1 at the mean of the foreground, threshold 0.5."""
        centred_hwD = grid.values_hwD - self.mean_D
        soft_hw = ((centred_hwD @ self.axis_D - self.low) / max(self.high - self.low, 1e-12)).clip(0, 1)
        soft_hw = soft_hw * grid.counts_hw
        width_3 = np.maximum(self.range_23[1] - self.range_23[0], 1e-12)
        shades_hw3 = (centred_hwD @ self.colours_3D.T - self.range_23[0]) / width_3
        return PatchMaps(
            soft_hw[None].astype(np.float32),
            threshold=0.5,
            score=float(soft_hw.max()),
            empty_reason=self._empty_reason(soft_hw),
            metrics={"patch_fraction": float((soft_hw > 0.5).sum() / grid.counts_hw.sum())},
            extra_maps={"colours": shades_hw3.clip(0, 1).astype(np.float32)},
        )

    def _empty_reason(self, soft_hw: NDArray[np.floating]) -> str:
        if self.separation < MIN_SEPARATION:
            return f"the patches of the folder form one group, not two (separation {self.separation:.2f})"
        return "" if (soft_hw > 0.5).any() else "no patch resembles the foreground of the other images"


def _components(patches_ND: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """Return the first components as unit rows, largest entry positive, padded with zeros if there are fewer."""
    if not np.ptp(patches_ND, axis=0).any():  # one patch, or equal ones
        return np.zeros((count, patches_ND.shape[1]), np.float32)
    pca = PCA(min(count, *patches_ND.shape), svd_solver="covariance_eigh").fit(patches_ND.astype(np.float64))
    return np.pad(pca.components_, ((0, count - len(pca.components_)), (0, 0))).astype(np.float32)


def _border(grid: FeatureGrid) -> NDArray[np.float32]:
    """Return the patches along the border of the image or of its region of interest, (N, D)."""
    edge_hw = grid.counts_hw & ~binary_erosion(grid.counts_hw, np.ones((3, 3)))
    border_ND: NDArray[np.float32] = grid.values_hwD[edge_hw]
    return border_ND
