"""Kinds of features of an image: pooled, class token, mean, GeM or patch tokens.

Legend: B images, C channels, H W pixels, D width, T tokens (prefix + patches), h w rows and columns of the feature
grid.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from dinocli.errors import UsageError, WeightsError
from dinocli.models.backbone import Backbone
from dinocli.models.rarity_maps import check_rarity_maps
from dinocli.models.region_cells import cells_of, mean_inside, pool_inside
from dinocli.models.token_kinds import FITTED, KINDS

GEM_POWER, GEM_FLOOR = 3.0, 1e-6
"""Exponent of generalised-mean pooling (GeM), and lower clamp of its input, which must be positive."""


@dataclass(frozen=True)
class Tokens:
    """Kind of feature, and the number of last blocks from which it is computed.

    Args:
        kind: ``pooled`` is the pooled feature of the backbone (`Backbone.pool_kind`), which training optimises. ``cls``
            is the class token, ``mean`` the mean of the patches, ``gem`` their generalised mean (Radenovic et al. 2018,
            p = 3), ``patch`` the whole grid. ``rare`` and ``pooled+rare`` are fitted to a folder first and computed by
            `dinocli.engine.rare_features.RareFeatures`.
        layers: Number of last blocks of a ViT whose outputs are concatenated, the earliest first, each after the final
            norm, as in DINO's linear evaluation. For a convnet the last `layers` feature maps, the earliest first,
            averaged (or GeM-pooled) except for the last one, each L2-normalised, since stages differ in scale.
        inside_HW: Region of interest of every image, bool, of any size; patches outside are excluded from means, and
            are 0 in a grid of patches. None for all pixels. A class token is not restricted.

    Raises:
        UsageError: Unknown kind, or no layer.
    """

    kind: str = "pooled"
    layers: int = 1
    inside_HW: Tensor | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UsageError(f"--tokens {self.kind!r} is not known; use one of {', '.join(KINDS)}")
        if self.layers < 1:
            raise UsageError(f"--layers {self.layers}: give 1 or more")

    def check(self, backbone: Backbone) -> None:
        """Raise `WeightsError` or `UsageError` if the model does not have this kind of feature or number of layers."""
        name = backbone.name
        if "cls" in self.kind and not backbone.has_cls:
            raise WeightsError(f"{name} has no class token: use --tokens pooled, mean, gem or patch")
        if self.kind in FITTED:
            check_rarity_maps(backbone)
            if self.layers > 1:
                raise UsageError(f"--tokens {self.kind} has its own layers: leave out --layers")
        if self.layers > 1 and not backbone.is_vit and self.kind == "patch":
            raise WeightsError(f"the maps of {name} differ in size: use --tokens pooled, mean or gem, or no --layers")
        available, what = (
            (backbone.depth, "blocks") if backbone.is_vit else (len(backbone.maps_before_last()) + 1, "maps")
        )
        if self.layers > available:
            raise WeightsError(f"{name} has {available} {what}, fewer than --layers {self.layers}")

    def compute(self, backbone: Backbone, x_BCHW: Tensor, image_B: Tensor | None = None) -> Tensor:
        """Compute the features.

        Args:
            backbone: In eval mode.
            x_BCHW: Normalised images.
            image_B: Numbers of the images; not used.

        Returns:
            (B, D), or (B, h, w, D) for ``patch``; D depends on kind and layers.
        """
        assert self.kind not in FITTED, "needs RareFeatures"
        if self.kind == "pooled" and self.layers == 1 and self.inside_HW is None:
            pooled: Tensor = backbone(x_BCHW)
            return pooled
        if self.layers > 1 and not backbone.is_vit:
            *before, last = backbone.last_maps(x_BCHW, self.layers)
            parts = [*map(self._from_map, before), self._from_block(backbone, last, x_BCHW)]
            return torch.cat([F.normalize(part.float(), dim=-1) for part in parts], dim=-1)
        blocks = backbone.last_features(x_BCHW, self.layers)
        return torch.cat([self._from_block(backbone, block, x_BCHW) for block in blocks], dim=-1)

    def numbers(self, names: Sequence[str]) -> Tensor:
        """Return 0 for each image, (N,): the features do not depend on other images."""
        return torch.zeros(len(names), dtype=torch.int64)

    def without_region(self) -> "Tokens":
        """Return the same kind without a region of interest, for parts of images."""
        return Tokens(self.kind, self.layers)

    def _from_block(self, backbone: Backbone, features: Tensor, x_BCHW: Tensor) -> Tensor:
        if self.kind == "pooled":
            return pool_inside(backbone, features, x_BCHW, self.inside_HW)
        if self.kind == "cls":
            return backbone.class_token(features)
        grid_BDhw = backbone.grid(features, x_BCHW)
        if self.kind == "patch":
            counts = 1 if self.inside_HW is None else cells_of(self.inside_HW, grid_BDhw)
            return (grid_BDhw * counts).permute(0, 2, 3, 1)
        mean = self._from_map(grid_BDhw)
        return torch.cat([backbone.class_token(features), mean], dim=1) if self.kind == "cls+mean" else mean

    def _from_map(self, grid_BDhw: Tensor) -> Tensor:
        """Pool a map by mean or GeM."""
        if self.kind == "gem":
            powers = grid_BDhw.float().clamp(min=GEM_FLOOR).pow(GEM_POWER)
            return mean_inside(powers, self.inside_HW).pow(1 / GEM_POWER)
        return mean_inside(grid_BDhw, self.inside_HW)


POOLED = Tokens()
