"""Where a ViT looks: the patches that hold 60 % of the attention of the class token, or of any patch.

Source: Caron et al. 2021 (DINO, arXiv:2104.14294), section 4.2.2.

Legend: n heads, h w rows and columns of the grid.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label

from dinocli.errors import UsageError
from dinocli.segmentation.method import FeatureGrid, FeatureKind, PatchMaps

MASS = 0.6
"""Share of the attention that the mask holds."""

EVEN = 0.5
"""Share of the patches from which the mask means nothing: perfectly even attention needs 60 % of them for 60 %."""


@dataclass(frozen=True)
class AttentionMethod:
    """The method.

    Args:
        head: ``best`` for the head whose mask is most of one piece, ``mean`` for the average over all heads, or the
            number of a head, counted from 0.
        mass: Share of the attention that the mask holds.

    Raises:
        UsageError: No such head.
    """

    head: str = "best"
    mass: float = MASS
    feature_kind: FeatureKind = FeatureKind.ATTENTION
    whole_image_only: bool = True

    def __post_init__(self) -> None:
        if self.head not in ("best", "mean") and not self.head.isdecimal():
            raise UsageError(f"--head {self.head!r} is not best, mean or the number of a head")

    @property
    def parameters(self) -> Mapping[str, float | str]:
        """The settings."""
        return {"head": self.head, "mass": self.mass}

    def fit(self, sample: Sequence[FeatureGrid]) -> "AttentionMethod":
        """Return itself: every image is looked at alone."""
        return self

    def apply(self, grid: FeatureGrid) -> PatchMaps:
        """Map one image; every head and their mean are among the pictures.

        Raises:
            UsageError: The model has no head of that number.
        """
        heads_nhw = grid.values_hwD.transpose(2, 0, 1) * grid.counts_hw
        mean_hw = heads_nhw.mean(axis=0)
        chosen_hw, number = self._chosen(heads_nhw, mean_hw)
        soft_hw = mass_below(chosen_hw)
        share = float((soft_hw > 1 - self.mass).mean())
        named = {f"head{head}": _scaled(map_hw) for head, map_hw in enumerate(heads_nhw)}
        return PatchMaps(
            soft_hw[None],
            threshold=1 - self.mass,
            score=float(np.clip(1 - share / self.mass, 0, 1)),
            empty_reason=f"attention is spread over {share:.0%} of the image" if share > EVEN else "",
            metrics={"head": number, "area_fraction": share},
            extra_maps={"mean": _scaled(mean_hw)} | named,
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
    """Return for each patch the share of all attention that lies on it and on patches with less.

    The smallest set of patches that holds 60 % is where this is above 0.4.
    """
    flat = map_hw.astype(np.float64).ravel()
    order = flat.argsort(kind="stable")
    below = np.empty_like(flat)
    below[order] = flat[order].cumsum() / max(flat.sum(), 1e-300)
    return below.reshape(map_hw.shape).clip(0, 1).astype(np.float32)


def best_connected(heads_nhw: NDArray[np.floating], mass: float) -> int:
    """Return the head whose mask has the largest share of its attention in one piece; the first one of equals."""
    return int(np.argmax([_in_one_piece(map_hw, mass) for map_hw in heads_nhw]))


def _in_one_piece(map_hw: NDArray[np.floating], mass: float) -> float:
    mask_hw = mass_below(map_hw) > 1 - mass
    parts_hw, _ = label(mask_hw)
    of_part = np.bincount(parts_hw.ravel(), map_hw.ravel())[1:]
    return float(of_part.max() / of_part.sum()) if of_part.size else 0.0


def _scaled(map_hw: NDArray[np.floating]) -> NDArray[np.float32]:
    return (map_hw / max(float(map_hw.max()), 1e-30)).astype(np.float32)
