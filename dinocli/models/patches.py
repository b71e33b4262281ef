"""Dense features of an image: patch tokens of a ViT, intermediate feature maps of other architectures.

The last feature map of a convnet has a stride of 32 pixels and a receptive field of most of the image: too coarse for
localisation.

Legend: B images, C channels, H W pixels, D width, h w rows and columns of the grid.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from dinocli.errors import UsageError
from dinocli.models.backbone import Backbone

FINE, COARSE, DEEP = 8, 16, 32
"""Strides of the feature maps that are used, pixels."""

MARGIN = 32
"""Reflection padding of the input of a convnet, pixels; its own zero padding looks like an edge."""


def patch_features(backbone: Backbone, x_BCHW: Tensor) -> Tensor:
    """Return one feature per patch.

    ViT: patch tokens after the last norm. Others: the feature map of stride 8, averaged over 3x3 positions to reduce
    noise.

    Args:
        backbone: In eval mode.
        x_BCHW: Normalised images; sides are multiples of the patch of a ViT, else of 32.

    Returns:
        (B, D, h, w).

    Raises:
        UsageError: The model has no such feature map.

    Source: averaging as in PatchCore (Roth et al. 2022, arXiv:2106.08265). Departs: without the map of stride 16, whose
    receptive field in small networks gives every anomaly a halo of several positions.
    """
    if backbone.is_vit:
        return backbone.patch_tokens(x_BCHW)
    return _averaged(_map(backbone, x_BCHW, FINE))


def coarse_features(backbone: Backbone, x_BCHW: Tensor) -> Tensor:
    """Return the feature map of stride 16, averaged over 3x3 places, for anything but a ViT: (B, D, h, w).

    Args:
        backbone: In eval mode.
        x_BCHW: As for `patch_features`.

    Raises:
        UsageError: The model has no such feature map.
    """
    return _averaged(_map(backbone, x_BCHW, COARSE))


def _averaged(map_BDhw: Tensor) -> Tensor:
    return F.avg_pool2d(map_BDhw, 3, stride=1, padding=1, count_include_pad=False)


def place_features(backbone: Backbone, x_BCHW: Tensor) -> Tensor:
    """Return features that separate the regions of one image, for all but ViTs: deep features and mean colour.

    The L2-normalised feature map of stride 16 (few enough positions for a graph of all pairs), and the mean colour of
    each cell. Networks are trained to be invariant to brightness, so that a bright disc on a texture has an outline but
    the same features inside as outside. Both parts are scaled to equal variance over each image.

    Args:
        backbone: In eval mode.
        x_BCHW: As for `patch_features`.

    Returns:
        (B, D + 3, h, w), mean 0 over each image.

    Raises:
        UsageError: The model has no such feature map.

    Source: Melas-Kyriazi et al. 2022, arXiv:2205.07839 (colour and features in the graph of an image).
    """
    deep = F.normalize(_map(backbone, x_BCHW, COARSE), dim=1)
    return torch.cat([_unit_variance(deep), _unit_variance(F.avg_pool2d(x_BCHW, COARSE))], dim=1)


def object_features(backbone: Backbone, x_BCHW: Tensor) -> Tensor | None:
    """Return features that separate objects from the background, for all but ViTs: the deepest map of stride 32.

    Intermediate maps describe textures, not objects: in photographs the parts of an animal are as different from each
    other as from the background.

    Args:
        backbone: In eval mode.
        x_BCHW: As for `patch_features`.

    Returns:
        (B, D, h / 2, w / 2), where `place_features` are (h, w); None for a model without such a map.
    """
    return _map(backbone, x_BCHW, DEEP) if DEEP in _reductions(backbone) else None


def _reductions(backbone: Backbone) -> list[int]:
    info = getattr(backbone.model, "feature_info", None)
    return [stage["reduction"] for stage in info] if info else []


def _map(backbone: Backbone, x_BCHW: Tensor, stride: int) -> Tensor:
    """Return the deepest feature map of a stride, computed on a reflection-padded image and cropped."""
    reductions = _reductions(backbone)
    if stride not in reductions or not hasattr(backbone.model, "forward_intermediates"):
        raise UsageError(f"{backbone.name} has no feature map of stride {stride}: choose a ViT or another convnet")
    mode = "reflect" if min(x_BCHW.shape[2:]) > MARGIN else "replicate"
    stage = len(reductions) - 1 - reductions[::-1].index(stride)
    padded_BDhw = backbone.stage_map(F.pad(x_BCHW, (MARGIN,) * 4, mode=mode), stage)
    cut = MARGIN // stride
    return padded_BDhw[:, :, cut:-cut, cut:-cut]


def _unit_variance(x_BDhw: Tensor) -> Tensor:
    """Centre the features of each image and scale them to a total variance of 1 over its positions."""
    centred = x_BDhw - x_BDhw.mean(dim=(2, 3), keepdim=True)
    return centred / centred.square().sum(dim=1, keepdim=True).mean(dim=(2, 3), keepdim=True).clamp_min(1e-12).sqrt()
