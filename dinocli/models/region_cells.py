"""Masks of feature-grid cells inside a region of interest, and pooling over them.

Legend: B images, C channels, D width, H W pixels of the image, h w cells.
"""

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from dinocli.models.backbone import Backbone

MIN_INSIDE_SHARE = 0.5 - 1e-3
"""Share of a cell that must lie inside the region for the cell to count."""


def cells_inside(inside_HW: Tensor, grid: tuple[int, int]) -> Tensor:
    """Return the mask of cells at least half inside, or of the fullest ones if none is: (h, w) bool, on the device.

    Args:
        inside_HW: Region of interest, bool, of any size with the aspect ratio of the image.
        grid: (h, w).
    """
    share_hw = F.adaptive_avg_pool2d(inside_HW[None, None].float(), grid)[0, 0]
    return share_hw >= share_hw.max().clamp(max=MIN_INSIDE_SHARE)


def mean_inside(grid_BDhw: Tensor, inside_HW: Tensor | None) -> Tensor:
    """Average a map over the cells inside a region, (B, D); over all cells without a region."""
    if inside_HW is None:
        return grid_BDhw.mean((2, 3))
    return grid_BDhw[:, :, cells_of(inside_HW, grid_BDhw)].mean(2)


def pool_inside(backbone: "Backbone", features: Tensor, x_BCHW: Tensor, inside_HW: Tensor | None) -> Tensor:
    """Pool an output of `last_features` as the backbone does, without the cells outside a region: (B, D).

    Outside cells are replaced by the mean of the inside ones, which does not change a mean, whatever code pools them.
    """
    if inside_HW is None or backbone.pool_kind == "cls":
        return backbone.pool(features)
    grid_BDhw = backbone.grid(features, x_BCHW)
    mean_BD11 = mean_inside(grid_BDhw, inside_HW)[..., None, None]
    grid_BDhw = torch.where(cells_of(inside_HW, grid_BDhw), grid_BDhw, mean_BD11)
    return backbone.pool(backbone.with_grid(features, grid_BDhw))


def cells_of(inside_HW: Tensor, grid_BDhw: Tensor) -> Tensor:
    """Return the mask of the cells of a map that are inside, (h, w) bool."""
    return cells_inside(inside_HW.to(grid_BDhw.device), (grid_BDhw.shape[2], grid_BDhw.shape[3]))
