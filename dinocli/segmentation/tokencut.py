"""TokenCut: the salient object of an image by a normalised cut of the patch graph.

Source: Wang et al. 2022 (TokenCut, arXiv:2202.11539); several objects: Wang et al. 2023 (MaskCut, arXiv:2301.11320).
Departures:

- If the paper's threshold connects all patches of a folder, each image gets its own threshold.
- Patches of an object are removed from the graph. With zeroed features they would be connected to nothing and become
  the cheapest next cut.
- The outline is where the eigenvector is half way between its medians inside and outside.
- A cut through many edges (lambda_2 above `MAX_LAMBDA_2`) is not an object.
- For a convnet, the feature map of stride 16 is cut first, because its outlines are sharp. If that gives no object, the
  deepest map is cut. It separates objects in photographs, but also about half of any surface; therefore such an object
  may neither cover half of the image nor extend along the border.

Legend: N patches, D width, h w rows and columns of the grid, K objects.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label, zoom

from dinocli.errors import UsageError
from dinocli.models.backbone import Backbone
from dinocli.segmentation.method import FeatureGrid, FeatureKind, PatchMaps
from dinocli.segmentation.normalized_cut import affinity, second_vector

AFFINITY_THRESHOLD = 0.2
"""Cosine above which keys of a DINO ViT are connected (TokenCut's tau)."""

MAX_CONNECTED_FRACTION, MAX_SAMPLED_PATCHES = 0.95, 256
"""Fraction of connected pairs at which a threshold separates nothing; maximum number of patches for that fraction."""

MAX_LAMBDA_2 = 0.4
"""Maximum second eigenvalue of the cut of an object; 0 cuts no edge, a complete graph has 1. With an ImageNet convnet,
drawn discs have 0.03 to 0.37, textures and steel surfaces without an object mostly 0.41 to 0.59."""

MIN_AREA_FRACTION, MAX_AREA_FRACTION = 0.005, 0.8
"""Minimum and maximum area fraction of an object."""

MAX_PATCHES = 6400
"""Maximum number of patches of an image: memory grows with its square."""

BACKGROUND_CORNERS = 3
"""Number of image corners inside the foreground at which it is taken for the background."""

MAX_BORDER_FRACTION = 0.25
"""Maximum fraction of the border patches in an object, for a convnet. Grounds and skies have more; 36 of 40 photographs
of a single object have less in the cut of the deepest map."""

MAX_DEEP_AREA = 0.5
"""Maximum area fraction of an object in the deepest map; on textures without an object the cut has 0.53 to 0.65."""


def affinity_threshold_of(backbone: Backbone) -> float | None:
    """Return the default affinity threshold of a backbone: the paper's for a ViT, None (Otsu's) for a convnet."""
    return AFFINITY_THRESHOLD if backbone.is_vit else None


@dataclass(frozen=True)
class TokenCut:
    """Options of the TokenCut method.

    Args:
        objects: Maximum number of objects, cut one after the other.
        affinity_threshold: Cosine above which two patches are connected. None connects patches whose distance is below
            Otsu's threshold of the image, for features without a meaningful cosine; `fit` may select it.
    """

    feature_kind: ClassVar = FeatureKind.KEYS
    whole_image_only: ClassVar = True

    objects: int = 1
    affinity_threshold: float | None = AFFINITY_THRESHOLD

    def fit(self, sample: Iterable[FeatureGrid]) -> "TokenCut":
        """Replace the threshold by Otsu's if it connects nearly all patches of the sample.

        This happens with keys of DINOv2: they have a large common component, and no pair has a cosine below 0.5. Each
        image is still cut on its own.
        """
        if self.affinity_threshold is None:
            return self
        connected = [_connected_fraction(grid, self.affinity_threshold) for grid in sample] or [0.0]
        return self if np.median(connected) < MAX_CONNECTED_FRACTION else replace(self, affinity_threshold=None)

    @property
    def parameters(self) -> Mapping[str, float | str]:
        """The affinity threshold."""
        return {"affinity_threshold": "otsu" if self.affinity_threshold is None else self.affinity_threshold}

    def apply(self, grid: FeatureGrid) -> PatchMaps:
        """Cut one image into objects.

        Raises:
            UsageError: The image has more than `MAX_PATCHES` patches.
        """
        h, w, _ = grid.values_hwD.shape
        if h * w > MAX_PATCHES:
            raise UsageError(f"{h * w} patches are too many to cut ({MAX_PATCHES} at most): use a smaller --size")
        cuts = self._cuts(grid.values_hwD, grid.counts_hw)
        deep_hwD = grid.deep() if cuts[0].empty_reason and grid.deep else None
        if deep_hwD is not None:
            rows, columns, _ = deep_hwD.shape
            counts_hw = grid.counts_hw.reshape(rows, 2, columns, 2).mean(axis=(1, 3)) >= 0.5
            deep = self._cuts(deep_hwD, counts_hw)
            if not deep[0].empty_reason and deep[0].mask_hw.mean() < MAX_DEEP_AREA:
                cuts = [_doubled(cut) for cut in deep]
        first = cuts[0]
        return PatchMaps(
            np.stack([cut.soft_hw for cut in cuts]),
            threshold=0.5,
            score=float(np.clip(1 - first.lambda_2, 0, 1)),
            empty_reason=first.empty_reason,
            metrics={"lambda_2": first.lambda_2, "objects": 0 if first.empty_reason else len(cuts)},
        )

    def _cuts(self, values_hwD: NDArray[np.float32], counts_hw: NDArray[np.bool_]) -> list["Cut"]:
        """Return the objects cut one after the other from the remaining patches; at least one cut, object or not."""
        remaining_hw = counts_hw.copy()
        cuts: list[Cut] = []
        for _ in range(self.objects):
            cut = cut_object(values_hwD, remaining_hw, self.affinity_threshold)
            if cuts and cut.empty_reason:
                break
            cuts.append(cut)
            if cut.empty_reason:
                break
            remaining_hw &= ~cut.mask_hw
        return cuts


@dataclass(frozen=True)
class Cut:
    """One bipartition of the patch graph.

    Args:
        mask_hw: Patches of the object.
        soft_hw: 0 for patches like the outside, 1 for patches like the object, above 0.5 only inside the object.
        lambda_2: Second smallest eigenvalue, 0 to 1: the normalised weight of the edges that the cut removes.
        empty_reason: Reason why the cut is not an object; empty if it is one.
    """

    mask_hw: NDArray[np.bool_]
    soft_hw: NDArray[np.float32]
    lambda_2: float
    empty_reason: str


def cut_object(
    values_hwD: NDArray[np.float32], remaining_hw: NDArray[np.bool_], affinity_threshold: float | None
) -> Cut:
    """Cut the remaining patches into an object and the rest.

    Args:
        values_hwD: Features of all patches.
        remaining_hw: Patches of the graph.
        affinity_threshold: See `TokenCut`.
    """
    no_mask_hw = np.zeros(remaining_hw.shape, bool)
    if remaining_hw.sum() < 3:
        return Cut(no_mask_hw, no_mask_hw.astype(np.float32), 1.0, "too few patches to cut")
    graph_NN = affinity(values_hwD[remaining_hw], affinity_threshold)
    if graph_NN.min() == graph_NN.max():
        return Cut(no_mask_hw, no_mask_hw.astype(np.float32), 1.0, "all patches look alike")
    lambda_2, vector_N = second_vector(graph_NN)
    inside_hw, y_hw = no_mask_hw.copy(), np.full(remaining_hw.shape, np.nan)
    y_hw[remaining_hw] = vector_N
    inside_hw[remaining_hw] = vector_N > vector_N.mean()
    if _corners(inside_hw) >= BACKGROUND_CORNERS:
        inside_hw, y_hw = remaining_hw & ~inside_hw, -y_hw
    mask_hw = seed_component(inside_hw, y_hw)
    max_border = 1.0 if affinity_threshold is not None else MAX_BORDER_FRACTION
    return Cut(mask_hw, _soft(y_hw, mask_hw, remaining_hw), lambda_2, _empty_reason(lambda_2, mask_hw, max_border))


def _connected_fraction(grid: FeatureGrid, affinity_threshold: float) -> float:
    features_ND = grid.values_hwD[grid.counts_hw]
    sampled_ND = features_ND[:: -(-len(features_ND) // MAX_SAMPLED_PATCHES) or 1]
    return float((affinity(sampled_ND, affinity_threshold) == 1.0).mean()) if len(sampled_ND) else 0.0


def seed_component(inside_hw: NDArray[np.bool_], y_hw: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Return the 4-connected component with the highest value of `y_hw` inside."""
    if not inside_hw.any():
        return inside_hw
    components_hw, _ = label(inside_hw)
    seed = np.where(inside_hw, y_hw, -np.inf).argmax()
    component: NDArray[np.bool_] = components_hw == components_hw.flat[seed]
    return component


def _soft(
    y_hw: NDArray[np.floating], mask_hw: NDArray[np.bool_], remaining_hw: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Scale the eigenvector to 0 at the median outside and 1 at the median inside; only the object exceeds 0.5.

    A patch on the outline contains both sides, so the eigenvector crosses 0.5 at the outline.
    """
    outside_hw = remaining_hw & ~mask_hw
    if not mask_hw.any() or not outside_hw.any():
        return mask_hw.astype(np.float32)
    low, high = np.median(y_hw[outside_hw]), np.median(y_hw[mask_hw])
    soft_hw = np.nan_to_num((y_hw - low) / max(high - low, 1e-12), nan=0.0).clip(0, 1)
    capped: NDArray[np.float32] = np.where(mask_hw, soft_hw, np.minimum(soft_hw, 0.5)).astype(np.float32)
    return capped


def _doubled(cut: Cut) -> Cut:
    """Upsample a cut of the deepest map to the grid of the keys, which has twice the rows and columns."""
    soft_hw = zoom(cut.soft_hw, 2, order=1, mode="nearest", grid_mode=True)
    return replace(cut, mask_hw=soft_hw > 0.5, soft_hw=soft_hw)


def _corners(mask_hw: NDArray[np.bool_]) -> int:
    return int(mask_hw[[0, 0, -1, -1], [0, -1, 0, -1]].sum())


def _empty_reason(lambda_2: float, mask_hw: NDArray[np.bool_], max_border: float) -> str:
    area = float(mask_hw.mean())
    if lambda_2 > MAX_LAMBDA_2:
        return f"no object stands out (lambda_2 {lambda_2:.2f}, at most {MAX_LAMBDA_2} for an object)"
    if not MIN_AREA_FRACTION <= area <= MAX_AREA_FRACTION:
        return f"the part cut off covers {area:.1%} of the image"
    if _corners(mask_hw) >= BACKGROUND_CORNERS:
        return f"the part cut off covers {_corners(mask_hw)} corners of the image, as a background does"
    border = np.concatenate([mask_hw[0], mask_hw[-1], mask_hw[1:-1, 0], mask_hw[1:-1, -1]])
    if border.mean() > max_border:
        return f"the part cut off covers {border.mean():.0%} of the image border, as a background does"
    return ""
