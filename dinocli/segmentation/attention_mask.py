"""Attention masks of a ViT: the smallest set of patches with 60 % of the attention of the class token or of a patch.

Source: Caron et al. 2021 (DINO, arXiv:2104.14294), section 4.2.2.

Legend: n heads, h w rows and columns of the grid.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label

from dinocli.errors import UsageError
from dinocli.segmentation.method import FeatureGrid, FeatureKind, PatchMaps

MASS = 0.6
"""Fraction of the attention inside the mask."""

MAX_AREA = 0.5
"""Area fraction above which the mask is rejected; uniform attention needs 60 % of the patches for 60 % of its sum."""


@dataclass(frozen=True)
class AttentionMethod:
    """Options of the attention method.

    Args:
        head: ``best`` for the head with the largest connected fraction of its mask, ``mean`` for the mean over all
            heads, or the index of a head, from 0.
        mass: Fraction of the attention inside the mask.

    Raises:
        UsageError: `head` has none of these forms.
    """

    feature_kind: ClassVar = FeatureKind.ATTENTION
    whole_image_only: ClassVar = True

    head: str = "best"
    mass: float = MASS

    def __post_init__(self) -> None:
        if self.head not in ("best", "mean") and not self.head.isdecimal():
            raise UsageError(f"--head {self.head!r} is not best, mean or the number of a head")

    @property
    def parameters(self) -> Mapping[str, float | str]:
        """Head and mass as configured."""
        return {"head": self.head, "mass": self.mass}

    def fit(self, sample: Iterable[FeatureGrid]) -> "AttentionMethod":
        """Return the method itself; each image is mapped on its own."""
        return self

    def apply(self, grid: FeatureGrid) -> PatchMaps:
        """Map one image; the extra maps are each head and the mean over heads.

        Raises:
            UsageError: The model has no head of that index.
        """
        heads_nhw = grid.values_hwD.transpose(2, 0, 1) * grid.counts_hw
        mean_hw = heads_nhw.mean(axis=0)
        chosen_hw, number = self._chosen(heads_nhw, mean_hw)
        soft_hw = mass_below(chosen_hw)
        area = float((soft_hw > 1 - self.mass).mean())
        named = {f"head{head}": _scaled(map_hw) for head, map_hw in enumerate(heads_nhw)}
        return PatchMaps(
            soft_hw[None],
            threshold=1 - self.mass,
            score=float(np.clip(1 - area / self.mass, 0, 1)),
            empty_reason=f"attention is spread over {area:.0%} of the image" if area > MAX_AREA else "",
            metrics={"head": number, "patch_fraction": area},
            extra_maps={"mean": _scaled(mean_hw)} | named,
            heads_nhw=np.stack([mass_below(map_hw) > 1 - self.mass for map_hw in grid.values_hwD.transpose(2, 0, 1)]),
        )

    def _chosen(
        self, heads_nhw: NDArray[np.float32], mean_hw: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], float]:
        if self.head == "mean":
            return mean_hw, -1
        number = best_connected(heads_nhw, self.mass) if self.head == "best" else int(self.head)
        if number >= len(heads_nhw):
            raise UsageError(f"--head {number}: the model has {len(heads_nhw)} heads, counted from 0")
        return heads_nhw[number], number


def mass_below(map_hw: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return for each patch the fraction of the attention on it and on all patches with less attention.

    The smallest set of patches with 60 % of the attention is where this value exceeds 0.4.
    """
    flat = map_hw.astype(np.float64).ravel()
    order = flat.argsort(kind="stable")
    below = np.empty_like(flat)
    below[order] = flat[order].cumsum() / max(flat.sum(), 1e-300)
    return below.reshape(map_hw.shape).clip(0, 1).astype(np.float32)


def best_connected(heads_nhw: NDArray[np.floating], mass: float) -> int:
    """Return the first head with the largest fraction of its mask's attention in one connected component."""
    return int(np.argmax([_connected_fraction(map_hw, mass) for map_hw in heads_nhw]))


def _connected_fraction(map_hw: NDArray[np.floating], mass: float) -> float:
    mask_hw = mass_below(map_hw) > 1 - mass
    parts_hw, _ = label(mask_hw)
    of_part = np.bincount(parts_hw.ravel(), map_hw.ravel())[1:]
    return float(of_part.max() / of_part.sum()) if of_part.size else 0.0


def _scaled(map_hw: NDArray[np.floating]) -> NDArray[np.float32]:
    return (map_hw / max(float(map_hw.max()), 1e-30)).astype(np.float32)
