"""Features of every patch of an image: tokens of a ViT, feature maps of anything else.

The last feature map of a convnet has a stride of 32 pixels and looks at most of the image from each place, which is too
coarse and too far from the surface to say where something is. Strides of 8 and 16 are what works on defects.

Legend: B images, H W pixels, D width, h w rows and columns of the grid.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from dinocli.errors import UsageError
from dinocli.models.backbone import Backbone

FINE, COARSE = 8, 16
"""Strides of the two feature maps that are used of a convnet, pixels."""


def patch_features(backbone: Backbone, x_B3HW: Tensor) -> Tensor:
    """Return what every patch looks like.

    ViT: patch tokens after the last norm. Anything else: the feature maps of stride 8 and 16, each averaged over 3x3
    places, the coarser one enlarged, and put one on the other. A place sees more than its own cell then, so that it is
    described by its surroundings and not by noise.

    Args:
        backbone: In eval mode.
        x_B3HW: Normalised images; sides are multiples of the patch, of 32 for anything but a ViT.

    Returns:
        (B, D, h, w).

    Raises:
        UsageError: The model has no feature maps of these strides.

    Source: the local averaging and the two middle maps are PatchCore's (Roth et al. 2022).
    """
    if backbone.is_vit:
        return backbone.patch_tokens(x_B3HW)
    fine, coarse = (_smoothed(features) for features in _maps(backbone, x_B3HW, (FINE, COARSE)))
    enlarged = F.interpolate(coarse, size=fine.shape[2:], mode="bilinear", align_corners=False)
    return torch.cat([fine, enlarged], dim=1)


def coarse_features(backbone: Backbone, x_B3HW: Tensor) -> Tensor:
    """Return the feature map of stride 16 of a convnet as it is: few enough places for a graph. (B, D, h, w)."""
    return _maps(backbone, x_B3HW, (COARSE,))[0]


def _maps(backbone: Backbone, x_B3HW: Tensor, strides: tuple[int, ...]) -> list[Tensor]:
    info = getattr(backbone.model, "feature_info", None)
    reductions = [stage["reduction"] for stage in info] if info else []
    if not hasattr(backbone.model, "forward_intermediates") or not set(strides) <= set(reductions):
        wanted = " and ".join(map(str, strides))
        raise UsageError(f"{backbone.name} has no feature maps of stride {wanted}: choose a ViT or another convnet")
    x_B3HW = x_B3HW.contiguous(memory_format=backbone.memory_format)
    maps: list[Tensor] = backbone.model.forward_intermediates(
        x_B3HW,
        indices=[len(reductions) - 1 - reductions[::-1].index(stride) for stride in strides],
        output_fmt="NCHW",
        intermediates_only=True,
        stop_early=True,
    )
    return maps


def _smoothed(features_BDhw: Tensor) -> Tensor:
    """Average over 3x3 places; at the border over those that exist."""
    return F.avg_pool2d(features_BDhw, 3, stride=1, padding=1, count_include_pad=False)
