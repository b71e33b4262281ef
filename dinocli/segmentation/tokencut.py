"""TokenCut: the salient object of an image, by a normalised cut of the graph of patches.

Source: Wang et al. 2022 (TokenCut, arXiv:2202.11539); the repetition: Wang et al. 2023 (MaskCut, arXiv:2301.11320).
We depart in five places. Where the paper's threshold ties all patches of a folder, each image has one of its own. Found
patches leave the graph; zeroed, they would be tied to nothing and be the next cheapest cut. The outline is where the
vector is half way between inside and outside. A cut through many ties is no object. Of a convnet the map of stride 16
is cut first, which has sharp outlines, and the deepest one where that has no object: it knows things in photographs,
but finds some half of any surface apart. So there an object may not reach along the border, nor cover half of the
image.

Legend: N patches, D width, h w rows and columns of the grid, K objects.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label, zoom
from scipy.sparse.linalg import eigsh

from dinocli.errors import UsageError
from dinocli.models.backbone import Backbone
from dinocli.quality.otsu import otsu
from dinocli.quality.patch_bank import squared_distances
from dinocli.segmentation.method import FeatureGrid, FeatureKind, PatchMaps

AFFINITY_THRESHOLD = 0.2
"""Cosine from which keys of a DINO ViT are tied (TokenCut's tau)."""

MAX_TIED_SHARE, MAX_SAMPLED_PATCHES = 0.95, 256
"""Share of tied pairs from which a threshold separates nothing; maximum number of patches whose pairs are counted."""

LOOSE = 1e-5
"""Weight of the ties below it, so that no patch is without any."""

CLEAN = 0.4
"""lambda_2 up to which a cut is believed; 0 goes through no tie, 1 is a graph with all. With an ImageNet convnet,
drawn discs have 0.03 to 0.37, bare textures and surfaces of steel mostly 0.41 to 0.59."""

SMALL, LARGE = 0.005, 0.8
"""Share of the image that an object covers at least and at most."""

MOST = 6400
"""Patches of an image at most: the graph holds their square."""

CORNERS = 3
"""Corners of the image in the foreground from which it is the background."""

ALONG = 0.25
"""Share of the border's patches in the foreground from which it is the background, for a convnet: grounds and skies
have more, the deepest cuts of 36 of 40 photographs of one thing each less."""

HALF = 0.5
"""Share of the image below which a cut of the deepest map is believed: of bare textures it takes .53 to .65 apart."""


def affinity_threshold_of(backbone: Backbone) -> float | None:
    """Return the affinity threshold for the features of a backbone, see `TokenCut`."""
    return AFFINITY_THRESHOLD if backbone.is_vit else None


@dataclass(frozen=True)
class TokenCut:
    """The method.

    Args:
        objects: Number of objects to look for, one after the other.
        affinity_threshold: Cosine from which two patches are connected. None takes Otsu's threshold of the image's own
            distances, for features whose angles mean nothing; `fit` may turn to it.
    """

    objects: int = 1
    affinity_threshold: float | None = AFFINITY_THRESHOLD
    feature_kind: FeatureKind = FeatureKind.KEYS
    whole_image_only: bool = True

    def fit(self, sample: Sequence[FeatureGrid]) -> "TokenCut":
        """Leave a threshold that ties nearly all patches of the sample, as it does with the keys of DINOv2.

        They share a large part, and no two have a cosine below 0.5. Every image is cut alone all the same.
        """
        if self.affinity_threshold is None or not sample:
            return self
        ties = [_share_tied(grid, self.affinity_threshold) for grid in sample]
        return self if np.median(ties) < MAX_TIED_SHARE else replace(self, affinity_threshold=None)

    @property
    def parameters(self) -> Mapping[str, float | str]:
        """The affinity threshold."""
        return {"affinity_threshold": "otsu" if self.affinity_threshold is None else self.affinity_threshold}

    def apply(self, grid: FeatureGrid) -> PatchMaps:
        """Cut one image, again and again without what was found, until a cut is no object.

        Raises:
            UsageError: Too many patches.
        """
        h, w, _ = grid.values_hwD.shape
        if h * w > MOST:
            raise UsageError(f"{h * w} patches are too many to cut ({MOST} at most): use a smaller --size")
        found = self._cuts(grid.values_hwD, grid.counts_hw)
        deep_hwD = grid.deep() if found[0].why and grid.deep else None
        if deep_hwD is not None:
            rows, columns, _ = deep_hwD.shape
            counts_hw = grid.counts_hw.reshape(rows, 2, columns, 2).mean(axis=(1, 3)) >= 0.5
            deep = self._cuts(deep_hwD, counts_hw)
            if not deep[0].why and deep[0].mask_hw.mean() < HALF:
                found = [_doubled(cut) for cut in deep]
        first = found[0]
        return PatchMaps(
            np.stack([cut.soft_hw for cut in found]),
            threshold=0.5,
            score=float(np.clip(1 - first.lambda_2, 0, 1)),
            empty_reason=first.why,
            metrics={"lambda_2": first.lambda_2, "objects": 0 if first.why else len(found)},
        )

    def _cuts(self, values_hwD: NDArray[np.float32], counts_hw: NDArray[np.bool_]) -> list["Cut"]:
        """Cut again and again what is left, until a cut is no object; the first one at least."""
        left_hw = counts_hw.copy()
        found: list[Cut] = []
        for _ in range(self.objects):
            cut = cut_object(values_hwD, left_hw, self.affinity_threshold)
            if found and cut.why:
                break
            found.append(cut)
            if cut.why:
                break
            left_hw &= ~cut.mask_hw
        return found


@dataclass(frozen=True)
class Cut:
    """One bipartition.

    Args:
        mask_hw: The patches of the object.
        soft_hw: 0 for what is like the outside, 1 for what is like the object, above 0.5 inside alone.
        lambda_2: Second smallest eigenvalue, 0 to 1: how many ties the cut goes through.
        why: Why this is no object; empty where it is one.
    """

    mask_hw: NDArray[np.bool_]
    soft_hw: NDArray[np.float32]
    lambda_2: float
    why: str = field(default="")


def cut_object(values_hwD: NDArray[np.float32], left_hw: NDArray[np.bool_], affinity_threshold: float | None) -> Cut:
    """Cut the patches that are left into an object and the rest.

    Args:
        values_hwD: Features of all patches.
        left_hw: Which ones take part.
        affinity_threshold: See `TokenCut`.
    """
    empty_reason = np.zeros(left_hw.shape, bool)
    if left_hw.sum() < 3:
        return Cut(empty_reason, empty_reason.astype(np.float32), 1.0, "too few patches to cut")
    graph_NN = affinity(values_hwD[left_hw], affinity_threshold)
    if graph_NN.min() == graph_NN.max():
        return Cut(empty_reason, empty_reason.astype(np.float32), 1.0, "all patches look alike")
    lambda_2, vector_N = second_vector(graph_NN)
    inside_hw, y_hw = empty_reason.copy(), np.full(left_hw.shape, np.nan)
    y_hw[left_hw] = vector_N
    inside_hw[left_hw] = vector_N > vector_N.mean()
    if inside_hw[[0, 0, -1, -1], [0, -1, 0, -1]].sum() >= CORNERS:
        inside_hw, y_hw = left_hw & ~inside_hw, -y_hw
    mask_hw = seed_component(inside_hw, y_hw)
    along = 1.0 if affinity_threshold is not None else ALONG
    return Cut(mask_hw, _soft(y_hw, mask_hw, left_hw), lambda_2, _why_not(lambda_2, mask_hw, along))


def affinity(features_ND: NDArray[np.float32], affinity_threshold: float | None) -> NDArray[np.float64]:
    """Return the graph of patches: 1 where two are tied, see `TokenCut`, else next to nothing. (N, N)."""
    if affinity_threshold is None:
        apart_NN = np.sqrt(squared_distances(features_ND, features_ND).clip(0))
        return np.where(apart_NN < otsu(apart_NN), 1.0, LOOSE)
    unit_ND = features_ND / np.maximum(np.linalg.norm(features_ND, axis=1, keepdims=True), 1e-12)
    return np.where(unit_ND @ unit_ND.T > affinity_threshold, 1.0, LOOSE)


def _share_tied(grid: FeatureGrid, affinity_threshold: float) -> float:
    features_ND = grid.values_hwD[grid.counts_hw]
    sampled_ND = features_ND[:: -(-len(features_ND) // MAX_SAMPLED_PATCHES) or 1]
    return float((affinity(sampled_ND, affinity_threshold) == 1.0).mean()) if len(sampled_ND) else 0.0


def second_vector(graph_NN: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
    """Solve (D - A) y = lambda D y for the second smallest lambda; D has the sums of the rows of A on its diagonal.

    A dense generalised solver takes 8 s for 3,600 patches. The largest eigenvalues of D^-1/2 A D^-1/2 are one minus the
    smallest ones of that problem, and a Lanczos iteration finds two of them in a fraction of a second.

    Returns:
        lambda_2, and its vector (N,), turned so that its largest entry by size is positive: there the object is.
    """
    root_N = np.sqrt(graph_NN.sum(axis=1))
    scaled_NN = graph_NN / root_N[:, None] / root_N[None]
    # Never the first eigenvector, which is `root_N` itself: the iteration would not leave it.
    start_N = root_N * np.linspace(0.9, 1.1, len(root_N))
    values_2, vectors_N2 = eigsh(scaled_NN, k=2, which="LA", v0=start_N)
    second = int(values_2.argmin())
    vector_N = vectors_N2[:, second] / root_N
    turned: NDArray[np.float64] = vector_N * np.sign(vector_N[np.abs(vector_N).argmax()])
    return float(1 - values_2[second]), turned


def seed_component(inside_hw: NDArray[np.bool_], y_hw: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Return the connected part (by sides) that holds the highest value inside."""
    if not inside_hw.any():
        return inside_hw
    parts_hw, _ = label(inside_hw)
    seed = np.where(inside_hw, y_hw, -np.inf).argmax()
    component: NDArray[np.bool_] = parts_hw == parts_hw.flat[seed]
    return component


def _soft(y_hw: NDArray[np.floating], mask_hw: NDArray[np.bool_], left_hw: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Scale the vector from 0, the middle of the outside, to 1, the middle of the object; only the object exceeds 0.5.

    A patch at the outline sees both sides, so the vector crosses the outline about half way.
    """
    outside_hw = left_hw & ~mask_hw
    if not mask_hw.any() or not outside_hw.any():
        return mask_hw.astype(np.float32)
    low, high = np.median(y_hw[outside_hw]), np.median(y_hw[mask_hw])
    soft_hw = np.nan_to_num((y_hw - low) / max(high - low, 1e-12), nan=0.0).clip(0, 1)
    capped: NDArray[np.float32] = np.where(mask_hw, soft_hw, np.minimum(soft_hw, 0.5)).astype(np.float32)
    return capped


def _doubled(cut: Cut) -> Cut:
    """Bring a cut of the deepest map to the grid of the keys, which has twice its rows and columns."""
    soft_hw = zoom(cut.soft_hw, 2, order=1, mode="nearest", grid_mode=True)
    return replace(cut, mask_hw=soft_hw > 0.5, soft_hw=soft_hw)


def _why_not(lambda_2: float, mask_hw: NDArray[np.bool_], along: float) -> str:
    share = float(mask_hw.mean())
    if lambda_2 > CLEAN:
        return f"no part of the image is apart from the rest (lambda_2 {lambda_2:.2f})"
    if not SMALL <= share <= LARGE:
        return f"what is apart covers {share:.1%} of the image"
    if mask_hw[[0, 0, -1, -1], [0, -1, 0, -1]].sum() >= CORNERS:
        return "what is apart reaches into the corners, as a background does"
    edges = np.concatenate([mask_hw[0], mask_hw[-1], mask_hw[1:-1, 0], mask_hw[1:-1, -1]])
    if edges.mean() > along:
        return "what is apart reaches along the border, as a background does"
    return ""
