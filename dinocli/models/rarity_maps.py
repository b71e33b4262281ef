"""The two feature maps for rarity: a fine and a coarse one.

Intermediate layers describe texture (the look of a defect), last layers content; neither alone is enough.

Legend: B images, C channels, H W pixels, D width, h w rows and columns of a grid.
"""

import torch
from torch import Tensor

from dinocli.errors import WeightsError
from dinocli.models.backbone import Backbone
from dinocli.models.region_cells import cells_of, pool_inside

MAPS = ("fine", "coarse")
"""Names of the maps, in order."""


def rarity_maps(
    backbone: Backbone, x_BCHW: Tensor, inside_HW: Tensor | None = None
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the pooled feature and both feature maps from one pass.

    ViT: patch tokens of the middle block and of the last block, both after the final norm. Others: the last maps of the
    second largest and of the largest stride (usually 16 and 32 pixels), the latter before the widening that some models
    add for their classifier.

    Args:
        backbone: In eval mode.
        x_BCHW: Normalised images.
        inside_HW: Region of interest of every image, bool, of any size; None for all pixels.

    Returns:
        (B, D), and (B, D', h, w) by name; D' and the grid differ between the maps of a convnet. Cells outside the
        region are NaN in the maps and excluded from the pooled feature.

    Raises:
        WeightsError: The model has no such maps.
    """
    if backbone.is_vit:
        blocks = backbone.last_features(x_BCHW, 1 + backbone.depth // 2)
        fine, coarse = (backbone.grid(block, x_BCHW) for block in (blocks[0], blocks[-1]))
        maps = _masked({"fine": fine, "coarse": coarse}, inside_HW)
        return pool_inside(backbone, blocks[-1], x_BCHW, inside_HW), maps
    stages = backbone.maps_before_last()
    count = len(stages) - _fine_stage(backbone) + 1
    *before, last = backbone.last_maps(x_BCHW, count)
    widened = len(stages) == len(backbone.model.feature_info)  # the last feature map is not that of the last stage
    coarse = before[-1] if widened else backbone.grid(last, x_BCHW)
    maps = _masked({"fine": before[0], "coarse": coarse}, inside_HW)
    return pool_inside(backbone, last, x_BCHW, inside_HW), maps


def _masked(maps: dict[str, Tensor], inside_HW: Tensor | None) -> dict[str, Tensor]:
    if inside_HW is None:
        return maps
    return {name: map_BDhw.where(cells_of(inside_HW, map_BDhw), torch.nan) for name, map_BDhw in maps.items()}


def check_rarity_maps(backbone: Backbone) -> None:
    """Raise `WeightsError` if the model has no maps of two strides."""
    if not backbone.is_vit:
        _fine_stage(backbone)


def _fine_stage(backbone: Backbone) -> int:
    """Return the index of the last stage with a smaller stride than the last stage."""
    stages = backbone.model.feature_info if backbone.maps_before_last() else []
    finer = [number for number, stage in enumerate(stages) if stage["reduction"] < stages[-1]["reduction"]]
    if not finer:
        raise WeightsError(
            f"{backbone.name} has no maps of two strides, so no rarity: use --tokens pooled, or views.focus=0"
        )
    return finer[-1]
