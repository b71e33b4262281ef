"""Which vector stands for an image: the choices that a transformer or a convnet offers.

Legend: B images, H W pixels, D width, T tokens (prefix + patches), h w rows and columns of the feature grid.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from dinocli.errors import UsageError, WeightsError
from dinocli.models.backbone import Backbone

KINDS = ("pooled", "cls", "mean", "cls+mean", "gem", "patch")

GEM_POWER, GEM_FLOOR = 3.0, 1e-6
"""Power of the generalised mean, and what it takes for smaller values, for which it is not defined."""


@dataclass(frozen=True)
class Tokens:
    """What to take out of a backbone, and out of how many of its last blocks.

    Args:
        kind: ``pooled`` is what timm pools without a classifier, and what the training optimises. ``cls`` is the class
            token, ``mean`` the average of the patches, ``gem`` their generalised mean (Radenovic et al. 2018, p = 3:
            few strong patches count more), ``patch`` the whole grid.
        layers: Of a ViT: concatenate what the last so many blocks give, the earliest first, each after the final norm,
            as the linear evaluation of DINO does.

    Raises:
        UsageError: No such kind.
    """

    kind: str = "pooled"
    layers: int = 1

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UsageError(f"--tokens {self.kind!r} is not known; use one of {', '.join(KINDS)}")

    def check(self, backbone: Backbone) -> None:
        """Raise a `WeightsError` that says what the model has instead."""
        name = backbone.name
        if "cls" in self.kind and not backbone.has_cls:
            raise WeightsError(f"{name} has no class token: use --tokens pooled, mean, gem or patch")
        if self.layers > 1 and not backbone.is_vit:
            raise WeightsError(f"{name} is no transformer: --layers {self.layers} has no blocks to take; leave it out")
        if self.layers > backbone.depth > 0:
            raise WeightsError(f"{name} has {backbone.depth} blocks, fewer than --layers {self.layers}")

    def of(self, backbone: Backbone, x_B3HW: Tensor) -> Tensor:
        """Compute them.

        Args:
            backbone: In eval mode.
            x_B3HW: Normalised images.

        Returns:
            (B, D), or (B, h, w, D) for ``patch``; D grows with the kind and the layers.
        """
        if self.kind == "pooled" and self.layers == 1:
            pooled: Tensor = backbone(x_B3HW)
            return pooled
        blocks = backbone.last_features(x_B3HW, self.layers)
        return torch.cat([self._from_block(backbone, block, x_B3HW) for block in blocks], dim=-1)

    def _from_block(self, backbone: Backbone, features: Tensor, x_B3HW: Tensor) -> Tensor:
        if self.kind == "pooled":
            return backbone.pool(features)
        if self.kind == "cls":
            return features[:, 0]
        grid_BDhw = backbone.grid(features, x_B3HW)
        if self.kind == "patch":
            return grid_BDhw.permute(0, 2, 3, 1)
        if self.kind == "gem":
            powers = grid_BDhw.float().clamp(min=GEM_FLOOR).pow(GEM_POWER)
            return powers.mean((2, 3)).pow(1 / GEM_POWER)
        mean = grid_BDhw.mean((2, 3))
        return torch.cat([features[:, 0], mean], dim=1) if self.kind == "cls+mean" else mean


POOLED = Tokens()
