"""The projection head of DINO, and the trained network: backbone and head.

Shapes: V views, B images, N = V * B, D width of the backbone, C width of the bottleneck, I channels of the
input, K prototypes, h w patches, T width of a teacher's patches.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dinocli.models.backbone import Backbone

ROW_NORM = 1.0 / math.sqrt(3.0)
"""Initial norm of a prototype's stored row, about 0.577: norm of U(-1/sqrt(width), 1/sqrt(width)) at any width."""


class Prototypes(nn.Module):
    """Linear layer with weight normalisation and without bias: logits of L2-normalised features for K prototypes.

    The direction is normalised in every pass, so its stored norm only determines the speed of rotation: an Adam step
    has the size of the learning rate, for any norm. In the public code this layer keeps the initialisation of
    `nn.Linear`, U(-1/sqrt(width), 1/sqrt(width)), hence rows of norm `ROW_NORM`.

    Args:
        width: Width of the input.
        count: Number of prototypes, K.
        normed: Fix the norm of every prototype at 1; otherwise one norm per prototype is learnt, starting at 1.

    Source: facebookresearch/dino, DINOHead.
    """

    def __init__(self, width: int, count: int, normed: bool) -> None:
        super().__init__()
        bound = 1.0 / math.sqrt(width)
        self.direction = nn.Parameter(nn.init.uniform_(torch.empty(count, width), -bound, bound))
        self.length = None if normed else nn.Parameter(torch.ones(count, 1))

    def forward(self, features: Tensor) -> Tensor:
        weight = F.normalize(self.direction, dim=-1)
        return F.linear(features, weight if self.length is None else weight * self.length)


class DinoHead(nn.Module):
    """DINO head: MLP with GELU, bottleneck, L2 normalisation, prototypes.

    Args:
        width: Width of the backbone's features, D.
        out_dim: Number of prototypes, K.
        hidden_dim: Width of the two hidden layers; 0 for a linear projection without them.
        bottleneck_dim: Width of the bottleneck, C.
        batch_norm: Batch norm before each GELU; only for convnets trained from scratch.
        norm_last_layer: Prototypes of norm 1.
        patch_dims: Input and output width of a projection of patch maps; None for no projection.

    Source: Caron et al. 2021, arXiv:2104.14294, appendix C.
    """

    def __init__(
        self,
        width: int,
        *,
        out_dim: int,
        hidden_dim: int,
        bottleneck_dim: int,
        batch_norm: bool,
        norm_last_layer: bool,
        patch_dims: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs in (width, hidden_dim) if hidden_dim else ():
            layers += [nn.Linear(inputs, hidden_dim), *([nn.BatchNorm1d(hidden_dim)] if batch_norm else []), nn.GELU()]
        self.mlp = nn.Sequential(*layers, nn.Linear(hidden_dim or width, bottleneck_dim))
        for layer in self.mlp:
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)
        self.prototypes = Prototypes(bottleneck_dim, out_dim, norm_last_layer)
        self.patch_projection = nn.Conv2d(*patch_dims, kernel_size=1) if patch_dims else None

    def bottleneck(self, features: Tensor) -> Tensor:
        """Return the L2-normalised input of the prototypes, (N, C)."""
        return F.normalize(self.mlp(features), dim=-1, eps=1e-6)  # 1e-12 underflows in half precision

    def forward(self, features: Tensor) -> Tensor:
        scores: Tensor = self.prototypes(self.bottleneck(features))
        return scores


class NetworkOutput(NamedTuple):
    """Outputs for all views, view-major.

    Args:
        logits_VBK: Head output, one logit per prototype.
        features_ND: Pooled backbone features.
        patches_NDhw: Last feature maps of the first resolution, or None if not requested.
        bottleneck_NC: L2-normalised bottleneck of the head, the input of the prototypes.
        projected_NThw: Projected feature maps, or None if not requested or the head has no such projection.
    """

    logits_VBK: Tensor
    features_ND: Tensor
    patches_NDhw: Tensor | None
    bottleneck_NC: Tensor
    projected_NThw: Tensor | None = None


class DinoNetwork(nn.Module):
    """A backbone and a head: one backbone pass per resolution, one head pass for all views.

    Args:
        backbone: Returns (n, D) features for (n, I, H, W) images.
        head: Returns (n, K) logits for (n, D) features.
    """

    def __init__(self, backbone: Backbone, head: DinoHead) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.backbone_learns = True

    def forward(self, views: Sequence[Tensor], count: int, patches: bool = False) -> NetworkOutput:
        """Compute the outputs of all views.

        Args:
            views: One tensor per resolution, each view-major: (V_r * B, I, S_r, S_r).
            count: Total number of views, V.
            patches: Also return the feature maps of the first resolution.
        """
        maps: Tensor | None = None
        with torch.set_grad_enabled(self.backbone_learns and torch.is_grad_enabled()):
            if patches:
                first, maps = self.backbone.with_patches(views[0])
                pooled = [first, *(trained_feature(self.backbone, same_size) for same_size in views[1:])]
            else:
                pooled = [trained_feature(self.backbone, same_size) for same_size in views]
            features = torch.cat(pooled)
        bottleneck = self.head.bottleneck(features)
        logits: Tensor = self.head.prototypes(bottleneck)
        project = self.head.patch_projection
        projected = None if maps is None or project is None else project(maps)
        return NetworkOutput(logits.view(count, -1, logits.shape[-1]), features, maps, bottleneck, projected)


def trained_feature(backbone: Backbone, x_BCHW: Tensor) -> Tensor:
    """Return the pooled feature for training, (B, D): that of the backbone without what does not reach it.

    Features that are stored come from the whole block, as timm rounds them.

    Args:
        backbone: Of any architecture. Nothing is left out where it pools all tokens or recomputes its forward pass.
        x_BCHW: Normalised images.
    """
    recomputes = getattr(backbone.model, "grad_checkpointing", False)
    layers = backbone.after_attention if backbone.pool_kind == "cls" and not recomputes else []
    for layer in layers:
        layer.class_token_only = True  # type: ignore[assignment]
    try:
        feature: Tensor = backbone(x_BCHW)
    finally:
        for layer in layers:
            layer.class_token_only = False  # type: ignore[assignment]
    return feature
