"""Looking at images: what a method wants to know about every patch, out of any backbone.

Legend: B images, H W pixels, D width, h w rows and columns of the grid, n heads.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dinocli.models.attention import attend
from dinocli.models.backbone import Backbone
from dinocli.models.patches import COARSE, FINE, patch_features, place_features
from dinocli.tasks.segment.method import FeatureKind

DEEPEST = 32
"""Sides of what goes into anything but a ViT are multiples of this, so that no feature map is rounded up."""


class Lattice(NamedTuple):
    """How a grid lies on the pixels that the network sees.

    Args:
        patch: Pixels that a cell is made of.
        step: Pixels from one cell to the next.
        multiple: Pixels that both sides have to be a multiple of.
    """

    patch: int
    step: int
    multiple: int


def lattice(backbone: Backbone, look: FeatureKind) -> Lattice:
    """Return how the grids of `look_at` will lie on the pixels."""
    if backbone.is_vit:
        return Lattice(backbone.patch, backbone.step, backbone.patch)
    stride = COARSE if look == FeatureKind.KEYS else FINE
    return Lattice(stride, stride, DEEPEST)


@torch.inference_mode()
def look_at(
    backbone: Backbone,
    x_B3HW: Tensor,
    look: FeatureKind,
    *,
    query: tuple[float, float] | None = None,
    autocast: torch.dtype | None = None,
) -> NDArray[np.float32]:
    """Return what a method wants to know about the patches of some images.

    Args:
        backbone: In eval mode, on the device of the images.
        x_B3HW: Normalised; sides as `lattice` says.
        look: What the method asks for.
        query: For attention: (x, y) of the patch that asks, as shares of width and height. None for the class token, or
            for the average over all patches where a model has none.
        autocast: Type to compute in, or None for that of the weights.

    Returns:
        (B, h, w, D), float32.

    Raises:
        UsageError: The model has no such thing.
    """
    with torch.autocast(x_B3HW.device.type, dtype=autocast, enabled=autocast is not None):
        if look == FeatureKind.ATTENTION:
            values_BDhw = _attention(backbone, x_B3HW, query)
        elif look == FeatureKind.PATCHES:
            values_BDhw = patch_features(backbone, x_B3HW)
        elif backbone.is_vit:
            values_BDhw = attend(backbone, x_B3HW).patch_keys()
        else:
            values_BDhw = place_features(backbone, x_B3HW)
    values: NDArray[np.float32] = values_BDhw.float().permute(0, 2, 3, 1).cpu().contiguous().numpy()
    return values


def _attention(backbone: Backbone, x_B3HW: Tensor, query: tuple[float, float] | None) -> Tensor:
    seen = attend(backbone, x_B3HW)
    if query is not None:
        column, row = (min(int(share * cells), cells - 1) for share, cells in zip(query, seen.grid[::-1], strict=True))
        return seen.to_patches(seen.patch_token(row, column))
    if backbone.has_cls:
        return seen.to_patches()
    patches = range(seen.prefix, seen.prefix + seen.grid[0] * seen.grid[1])
    mean_BnN = seen.weights(patches).mean(dim=2)
    return mean_BnN[..., seen.prefix :].reshape(*mean_BnN.shape[:2], *seen.grid)
