"""Features of every patch of an image: tokens of a ViT, middle feature maps of anything else.

The last feature map of a convnet has a stride of 32 pixels and looks at most of the image from each place: too coarse
and too far from the surface to say where something is.

Legend: B images, C channels, H W pixels, D width, h w rows and columns of the grid.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from dinocli.errors import UsageError
from dinocli.models.backbone import Backbone

FINE, COARSE, DEEP = 8, 16, 32
"""Strides of the feature maps that are used of a convnet, pixels."""

MARGIN = 32
"""Pixels that an image is mirrored beyond its border for a convnet; its own zeros there look like an edge."""


def patch_features(backbone: Backbone, x_BCHW: Tensor) -> Tensor:
    """Return one feature per patch.

    ViT: patch tokens after the last norm. Anything else: the feature map of stride 8, averaged over 3x3 places, so that
    a place is described by its surroundings and not by noise.

    Args:
        backbone: In eval mode.
        x_BCHW: Normalised images; sides are multiples of the patch, of 32 for anything but a ViT.

    Returns:
        (B, D, h, w).

    Raises:
        UsageError: The model has no such feature map.

    Source: the average is PatchCore's (Roth et al. 2022, arXiv:2106.08265). It also takes the map of stride 16, which
    in small nets sees so far that everything odd has a halo of several places.
    """
    if backbone.is_vit:
        return backbone.patch_tokens(x_BCHW)
    return F.avg_pool2d(_map(backbone, x_BCHW, FINE), 3, stride=1, padding=1, count_include_pad=False)


def place_features(backbone: Backbone, x_BCHW: Tensor) -> Tensor:
    """Return what tells the places of one image apart, for anything but a ViT: looks and plain colour, on equal terms.

    The feature map of stride 16 (few enough places for a graph of all pairs), each place of unit length, and the mean
    colour of its pixels. Networks are trained not to mind brightness: to them a bright disc on a texture has an
    outline, but the same inside as outside. Both parts are scaled to the same variance over each image.

    Args:
        backbone: In eval mode.
        x_BCHW: As for `patch_features`.

    Returns:
        (B, D + 3, h, w), mean 0 over each image.

    Raises:
        UsageError: The model has no such feature map.

    Source: colour beside features in the graph of an image is from Melas-Kyriazi et al. 2022, arXiv:2205.07839.
    """
    looks = F.normalize(_map(backbone, x_BCHW, COARSE), dim=1)
    return torch.cat([_unit_variance(looks), _unit_variance(F.avg_pool2d(x_BCHW, COARSE))], dim=1)


def object_features(backbone: Backbone, x_BCHW: Tensor) -> Tensor | None:
    """Return what tells things from their background, for anything but a ViT: the deepest map of stride 32.

    Middle maps know textures, not things: in photographs the parts of an animal are as far apart as it is from the
    meadow.

    Args:
        backbone: In eval mode.
        x_BCHW: As for `patch_features`.

    Returns:
        (B, D, h / 2, w / 2) beside `place_features`; None for a model without such a map.
    """
    return _map(backbone, x_BCHW, DEEP) if DEEP in _reductions(backbone) else None


def _reductions(backbone: Backbone) -> list[int]:
    info = getattr(backbone.model, "feature_info", None)
    return [stage["reduction"] for stage in info] if info else []


def _map(backbone: Backbone, x_BCHW: Tensor, stride: int) -> Tensor:
    """Return the deepest feature map of a stride, computed with a mirrored margin that is cut off again."""
    reductions = _reductions(backbone)
    if stride not in reductions or not hasattr(backbone.model, "forward_intermediates"):
        raise UsageError(f"{backbone.name} has no feature map of stride {stride}: choose a ViT or another convnet")
    mode = "reflect" if min(x_BCHW.shape[2:]) > MARGIN else "replicate"
    stage = len(reductions) - 1 - reductions[::-1].index(stride)
    found_BDhw = backbone.stage_map(F.pad(x_BCHW, (MARGIN,) * 4, mode=mode), stage)
    cut = MARGIN // stride
    return found_BDhw[:, :, cut:-cut, cut:-cut]


def _unit_variance(x_BDhw: Tensor) -> Tensor:
    """Centre each image and scale it so that its places are at a mean squared distance of 1 from their mean."""
    centred = x_BDhw - x_BDhw.mean(dim=(2, 3), keepdim=True)
    return centred / centred.square().sum(dim=1, keepdim=True).mean(dim=(2, 3), keepdim=True).clamp_min(1e-12).sqrt()
