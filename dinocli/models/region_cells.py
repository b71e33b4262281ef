"""Cells of a feature grid that lie inside a region of interest, and means over them.

Legend: B images, C channels, D width, H W pixels of the image, h w cells.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from dinocli.models.backbone import Backbone

HALF = 0.5 - 1e-3
"""Share of a cell inside the region from which it counts."""


def cells_inside(inside_HW: Tensor, grid: tuple[int, int]) -> Tensor:
    """Return the cells that are at least half inside, or the fullest where none is: (h, w) of bool, on the device.

    Args:
        inside_HW: bool, of the image or of any other size with its aspect.
        grid: (h, w).
    """
    share_hw = F.adaptive_avg_pool2d(inside_HW[None, None].float(), grid)[0, 0]
    return share_hw >= share_hw.max().clamp(max=HALF)


def mean_inside(grid_BDhw: Tensor, inside_HW: Tensor | None) -> Tensor:
    """Average the cells of a map that are inside a region, (B, D); all of them where there is none."""
    if inside_HW is None:
        return grid_BDhw.mean((2, 3))
    return grid_BDhw[:, :, cells_of(inside_HW, grid_BDhw)].mean(2)


def pool_inside(backbone: Backbone, features: Tensor, x_BCHW: Tensor, inside_HW: Tensor | None) -> Tensor:
    """Pool one of `last_features` as the backbone does, cells outside a region left out: (B, D).

    A mean does not change where values are replaced by the mean of the others, whatever pools them.
    """
    if inside_HW is None or backbone.pool_kind == "cls":
        return backbone.pool(features)
    grid_BDhw = backbone.grid(features, x_BCHW)
    mean_BD11 = mean_inside(grid_BDhw, inside_HW)[..., None, None]
    grid_BDhw = torch.where(cells_of(inside_HW, grid_BDhw), grid_BDhw, mean_BD11)
    return backbone.pool(backbone.with_grid(features, grid_BDhw))


def cells_of(inside_HW: Tensor, grid_BDhw: Tensor) -> Tensor:
    """Return the cells of a map that are inside, (h, w) of bool."""
    return cells_inside(inside_HW.to(grid_BDhw.device), (grid_BDhw.shape[2], grid_BDhw.shape[3]))
