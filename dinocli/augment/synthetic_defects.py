"""Synthetic defects: small anomalies of four kinds, blended into images to test the sensitivity of features.

The real defects of a folder are not known. But features that are less sensitive to a spot, a line, a displaced patch or
a foreign texture than before are unlikely to be more sensitive to real ones.

Shapes: B images, S pixels of a side, N images of the whole draw, F random numbers per image.
"""

import math

import numpy as np
import torch
from torch import Tensor

KINDS = ("spot", "line", "scar", "texture")

_RANDOM_NUMBERS = 11


def draw_defects(images: int, seed: int) -> tuple[Tensor, Tensor]:
    """Draw the kind, position, size, direction and strength of one defect for each image.

    Args:
        images: Number of images, N.
        seed: Seed of the draw.

    Returns:
        Kinds (N,), indices into `KINDS`, about equally frequent; random numbers (N, F), 0 to 1; both on the CPU.
    """
    random = np.random.default_rng((seed, images, 7))
    kind_N = random.permutation(np.arange(images) % len(KINDS))
    return torch.from_numpy(kind_N), torch.from_numpy(random.random((images, _RANDOM_NUMBERS), np.float32))


def with_defects(
    images_BCSS: Tensor, kind_B: Tensor, drawn_BF: Tensor, *, scale: float = 1.0, opacity: float = 1.0
) -> Tensor:
    """Blend one defect into each image.

    Spots and lines are brighter or darker than the background by one to three standard deviations of the image; a scar
    is a patch from another position in the image; a texture comes from another image of the batch, normalised to the
    mean and standard deviation of this one. So the visibility of a defect does not depend on brightness and contrast.

    Args:
        images_BCSS: Images in [0, 1]. Foreign textures come from the other half of the batch.
        kind_B: Kinds from `draw_defects`.
        drawn_BF: Random numbers from `draw_defects`.
        scale: Factor of all lengths: 1 is small.
        opacity: Fraction of the defect's content; the rest shows the image.

    Source: scars: CutPaste, Li et al. 2021, arXiv:2104.04015; foreign textures: DRAEM, Zavrtanik et al. 2021,
    arXiv:2108.07610. Departs: small, and scaled to the contrast of the image.
    """
    kind_B = kind_B.to(images_BCSS.device)
    drawn_B = iter(drawn_BF.to(images_BCSS.device).unbind(1))
    axes = _axes(images_BCSS.shape[-1], next(drawn_B), next(drawn_B), next(drawn_B))
    along_BSS, across_BSS = (axis_BSS / scale for axis_BSS in axes)
    length_B, width_B, sign_B, strength_B = (next(drawn_B) for _ in range(4))
    distance_4BSS = torch.stack([
        _ellipse(along_BSS, across_BSS, 0.02 + 0.03 * length_B, 0.6 + 0.4 * width_B),
        _bar(along_BSS, across_BSS + (2 * next(drawn_B) - 1)[:, None, None] * along_BSS**2,
             0.1 + 0.2 * length_B, 0.004 + 0.003 * width_B),
        _bar(along_BSS, across_BSS, 0.06 + 0.08 * length_B, 0.015 + 0.015 * width_B),
        _blob(along_BSS, across_BSS, 0.07 + 0.06 * length_B, next(drawn_B)),
    ])  # fmt: skip
    chosen_BSS = distance_4BSS[kind_B, torch.arange(len(kind_B), device=kind_B.device)]
    mask_B1SS = (0.5 - chosen_BSS * scale * images_BCSS.shape[-1]).clamp(0, 1)[:, None]  # an edge of one pixel
    content_BCSS = _content(images_BCSS, kind_B, (sign_B, strength_B, next(drawn_B), next(drawn_B)))
    return torch.lerp(images_BCSS, content_BCSS.clamp(0, 1), opacity * mask_B1SS)  # bit-equal outside the mask


def _axes(side: int, x_B: Tensor, y_B: Tensor, turn_B: Tensor) -> tuple[Tensor, Tensor]:
    """Return coordinates along and across each defect, relative to its centre, in units of the image side."""
    place_S = (torch.arange(side, device=x_B.device) + 0.5) / side
    x_BSS = place_S[None, None, :] - (0.15 + 0.7 * x_B)[:, None, None]
    y_BSS = place_S[None, :, None] - (0.15 + 0.7 * y_B)[:, None, None]
    cos_B, sin_B = ((f(2 * math.pi * turn_B))[:, None, None] for f in (torch.cos, torch.sin))
    return x_BSS * cos_B + y_BSS * sin_B, y_BSS * cos_B - x_BSS * sin_B


# The following functions return signed distances to the outline, negative inside, in units of the image side.
def _ellipse(along_BSS: Tensor, across_BSS: Tensor, radius_B: Tensor, flat_B: Tensor) -> Tensor:
    return torch.hypot(along_BSS, across_BSS / flat_B[:, None, None]) - radius_B[:, None, None]


def _bar(along_BSS: Tensor, across_BSS: Tensor, half_length_B: Tensor, half_width_B: Tensor) -> Tensor:
    return torch.maximum(along_BSS.abs() - half_length_B[:, None, None], across_BSS.abs() - half_width_B[:, None, None])


def _blob(along_BSS: Tensor, across_BSS: Tensor, radius_B: Tensor, phase_B: Tensor) -> Tensor:
    """Return the signed distance to an irregular outline."""
    angle_BSS = torch.atan2(across_BSS, along_BSS)
    wave_BSS = torch.sin(3 * angle_BSS) + 0.6 * torch.sin(5 * angle_BSS + 2 * math.pi * phase_B[:, None, None])
    return torch.hypot(along_BSS, across_BSS) - radius_B[:, None, None] * (1 + 0.25 * wave_BSS)


def _content(images_BCSS: Tensor, kind_B: Tensor, drawn: tuple[Tensor, Tensor, Tensor, Tensor]) -> Tensor:
    """Return the content of each defect, (B, C, S, S): shifted brightness, a displaced patch or a foreign texture."""
    sign_B, strength_B, down_B, right_B = drawn
    mean_BC11, std_BC11 = images_BCSS.mean((2, 3), keepdim=True), images_BCSS.std((2, 3), keepdim=True)
    shift_B = torch.where(sign_B < 0.5, -1.0, 1.0) * (1 + 2 * strength_B)
    shifted_BCSS = images_BCSS + shift_B[:, None, None, None] * std_BC11
    side = images_BCSS.shape[-1]
    row_BS, column_BS = (
        (torch.arange(side, device=kind_B.device) + (side * (0.2 + 0.6 * part_B)).long()[:, None]) % side
        for part_B in (down_B, right_B)
    )
    number_B = torch.arange(len(kind_B), device=kind_B.device)
    moved_BCSS = images_BCSS[number_B[:, None, None], :, row_BS[:, :, None], column_BS[:, None, :]].movedim(-1, 1)
    other_BCSS = ((images_BCSS - mean_BC11) / std_BC11.clamp_min(1e-4)).roll(len(kind_B) // 2, 0)
    foreign_BCSS = other_BCSS * std_BC11 + mean_BC11
    kind_B111 = kind_B[:, None, None, None]
    patches_BCSS = torch.where(kind_B111 == KINDS.index("scar"), moved_BCSS, foreign_BCSS)
    return torch.where(kind_B111 < KINDS.index("scar"), shifted_BCSS, patches_BCSS)
