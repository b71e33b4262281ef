"""A backbone as an exportable graph: pooled feature and feature map, any batch size, any image size.

Legend: B images, C channels, H W pixels, D width, h w rows and columns of the feature grid, N tokens, g source and
n target positions.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from dinocli.models.backbone import Backbone
from dinocli.models.positions import INTERPOLATE_OFFSET

_PLAIN, _ANTIALIASED = -0.75, -0.5  # parameter a of torch's cubic kernel, without and with antialiasing


class Portable(nn.Module):
    """Module that computes the pooled feature and the feature map of a backbone in one pass.

    `Backbone` resamples the position embedding with Python integers, which a graph would fix to the size it was traced
    with. Here the same resampling is two matrix products, whose matrices are computed in the graph from the input size.

    Args:
        backbone: On the CPU, in eval mode; shared, not copied.
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.model = backbone.model
        self.is_vit, self.patch = backbone.is_vit, backbone.patch
        self.antialias = backbone.antialias
        self.resamples = backbone.resamples
        self.channels_last = getattr(backbone.model, "output_fmt", "NCHW") == "NHWC"

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the pooled feature and the last feature map.

        Args:
            images: (B, C, H, W), normalised.

        Returns:
            (B, D) of `Backbone.forward`, and (B, D', h, w) of `Backbone.patch_tokens`.
        """
        features = self._features(images)
        pooled: Tensor = self.model.forward_head(features)
        if self.is_vit:
            rows, columns = images.shape[2] // self.patch, images.shape[3] // self.patch
            patches = features[:, self.model.num_prefix_tokens :].transpose(1, 2)
            return pooled, patches.reshape(patches.shape[0], patches.shape[1], rows, columns)
        return pooled, features.permute(0, 3, 1, 2) if self.channels_last else features

    def _features(self, images: Tensor) -> Tensor:
        if not self.resamples:
            plain: Tensor = self.model.forward_features(images)
            return plain
        rows, columns = images.shape[2] // self.patch, images.shape[3] // self.patch
        with _replaced_position(self.model, self._position(rows, columns)):
            features: Tensor = self.model.forward_features(images)
        return features

    def _position(self, rows: Any, columns: Any) -> Tensor:
        """Resample the position embedding like `dinocli.models.positions.resample_position`."""
        position_1ND = self.model.pos_embed
        prefix = 0 if self.model.no_embed_class else self.model.num_prefix_tokens
        grid = self.model.patch_embed.grid_size
        patches_ghD = position_1ND[0, prefix:].reshape(grid[0], grid[1], -1)
        count_n, count_m = (torch.arange(new).shape[0] * torch.ones(()) for new in (rows, columns))
        # At the native grid there is no offset; if either axis differs, both have it.
        offset = torch.where(
            (count_n == grid[0]) & (count_m == grid[1]), 0.0, 0.0 if self.antialias else INTERPOLATE_OFFSET
        )
        down_ng = _matrix(rows, count_n, grid[0], offset, self.antialias)
        across_ng = _matrix(columns, count_m, grid[1], offset, self.antialias)
        resampled = torch.einsum("ng,ghd,mh->nmd", down_ng, patches_ghD, across_ng).flatten(0, 1)
        return torch.cat([position_1ND[:, :prefix], resampled[None]], dim=1)


@contextmanager
def _replaced_position(model: Any, position: Tensor) -> Iterator[None]:
    """Replace the position embedding of a model within the context; `functional_call` cannot be scripted."""
    original = model._parameters.pop("pos_embed")
    model.pos_embed = position
    try:
        yield
    finally:
        del model.pos_embed
        model._parameters["pos_embed"] = original


def _matrix(new: Any, count: Tensor, old: int, offset: Tensor, antialias: bool) -> Tensor:
    """Return the weights of one axis of a bicubic resize, (n, g); the identity if the size stays.

    Args:
        new: Number of target positions; a symbol within a graph.
        count: The same number as a tensor.
        old: Number of source positions.
        offset: Added to the count before dividing: DINO's `interpolate_offset`.
        antialias: Widen the kernel when downscaling.
    """
    places_n1 = torch.arange(new)[:, None] + 0.5
    sources_g = torch.arange(old)
    scale = old / (count + offset)
    if antialias:
        return _antialiased(places_n1, sources_g, scale)
    exact_n1 = places_n1 * scale - 0.5
    first_n1 = torch.floor(exact_n1)
    weights_ng = torch.zeros(())
    for tap in (-1, 0, 1, 2):
        tap_n1 = first_n1 + tap
        hit_ng = (tap_n1.clamp(0, old - 1) == sources_g).float()  # replicate the border
        weights_ng = weights_ng + hit_ng * _cubic(exact_n1 - tap_n1, _PLAIN)
    return weights_ng


def resize_matrix(side: int, old: Any) -> Tensor:
    """Return the weights of one axis of PIL's bicubic resize, antialiased when downscaling, (side, old).

    Args:
        side: Number of target pixels.
        old: Number of source pixels; a symbol within a graph.
    """
    sources_o = torch.arange(old)
    scale = sources_o.shape[0] * torch.ones(()) / side
    return _antialiased(torch.arange(side)[:, None] + 0.5, sources_o, scale)


def _antialiased(places_n1: Tensor, sources_g: Tensor, scale: Tensor) -> Tensor:
    """Return the weights of a cubic that is widened where it shrinks, (n, g)."""
    weights_ng = _cubic((sources_g + 0.5 - places_n1 * scale) / torch.clamp(scale, min=1.0), _ANTIALIASED)
    return weights_ng / weights_ng.sum(dim=1, keepdim=True)


def _cubic(distance: Tensor, a: float) -> Tensor:
    """Return Keys' cubic kernel with parameter a, 0 beyond a distance of two."""
    x = distance.abs()
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return torch.where(x <= 1, near, torch.where(x < 2, far, torch.zeros(())))
