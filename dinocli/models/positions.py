"""Resample learnt position embeddings for other image sizes.

Legend: N tokens (prefix + patches), D width.
"""

import torch.nn.functional as F
from torch import Tensor, cat

# DINO and DINOv2 add this (`interpolate_offset`) to the new side before dividing by the old one, against loss of a row
# by rounding. It also shifts the sampling points slightly, and the released weights were trained with that shift.
INTERPOLATE_OFFSET = 0.1


def resample_position(
    position_1ND: Tensor, old_grid: tuple[int, int], new_grid: tuple[int, int], *, prefix: int, antialias: bool
) -> Tensor:
    """Resample a position embedding to another grid of patches: bicubic, differentiable.

    Local views are smaller than the images for which the embedding was learnt. timm downscales with antialiasing, DINO
    without, and at the 6x6 grid of a 96-px view the two differ by 37 % of the norm, which degrades every local view.

    Args:
        position_1ND: Prefix positions first, then the patches row by row.
        old_grid: Rows and columns of patches in `position_1ND`.
        new_grid: Rows and columns of patches to resample to.
        prefix: Number of leading positions (class token, registers), which are copied.
        antialias: Antialias and use no offset, as the DINOv2 models with registers were trained; otherwise neither.

    Returns:
        (1, prefix + rows * columns, D).

    Source: `interpolate_pos_encoding` of DINO and DINOv2.
    """
    if old_grid == new_grid:
        return position_1ND
    width = position_1ND.shape[-1]
    patches = position_1ND[:, prefix:].float().reshape(1, *old_grid, width).permute(0, 3, 1, 2)
    if antialias:
        patches = F.interpolate(patches, size=new_grid, mode="bicubic", antialias=True)
    else:
        scale = ((new_grid[0] + INTERPOLATE_OFFSET) / old_grid[0], (new_grid[1] + INTERPOLATE_OFFSET) / old_grid[1])
        patches = F.interpolate(patches, scale_factor=scale, mode="bicubic")
    patches = patches.permute(0, 2, 3, 1).flatten(1, 2).to(position_1ND.dtype)
    return cat([position_1ND[:, :prefix], patches], dim=1)
