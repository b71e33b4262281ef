"""Find the timm model of a checkpoint file from the shapes of its tensors.

Own trainings with DINO's and DINOv2's code can have other patch sizes, grids and registers than the released weights,
and timm has names for the released models only. Such a model is the nearest timm name plus a few arguments.
"""

from collections.abc import Mapping
from typing import Any

import timm
from torch import Tensor

from dinocli.models.formats import position_grid

SIZES = {(192, 12): "tiny", (384, 12): "small", (768, 12): "base", (1024, 24): "large", (1536, 40): "giant"}
"""(width, depth) of the public ViTs -> size in timm's names."""

GATED_DINOV3 = {(384, 12): "small_plus", (1280, 32): "huge_plus"}
"""(width, depth) of the DINOv3 models with gated MLP -> size in timm's names."""

_DINOV2_PATCH, _DINOV2_GRID = 14, 37
"""Patch size (pixels) and patches per side of timm's DINOv2 models."""


def guess_name(tensors: Mapping[str, Tensor]) -> str:
    """Return the timm name of a ViT from the shapes of its tensors, or an empty string if they are ambiguous.

    Covers the model families of DINO's code, whose shapes are unique; a wrong guess is detected when the tensors are
    loaded. `args_for` gives the differences in patch size, grid or registers from the named model.

    Args:
        tensors: Tensors from `formats.unwrap`.
    """
    kernel = tensors.get("patch_embed.proj.weight")
    depth = len({key.split(".")[1] for key in tensors if key.startswith("blocks.")})
    gated = "blocks.0.mlp.w12.weight" in tensors
    if kernel is not None and "storage_tokens" in tensors and "blocks.0.mlp.w1.weight" in tensors:
        plus = GATED_DINOV3.get((len(kernel), depth), "")
        return f"vit_{plus}_patch{kernel.shape[-1]}_dinov3" if plus else ""
    if kernel is None or "cls_token" not in tensors or not (gated or "blocks.0.mlp.fc1.weight" in tensors):
        return ""
    size = SIZES.get((len(kernel), depth))
    if size is None or gated != (size == "giant"):
        return ""
    patch = kernel.shape[-1]
    if "storage_tokens" in tensors:
        bias = tensors.get("blocks.0.attn.qkv.bias")
        # timm's plain models have no QKV bias, and most released weights hold zeros; a non-zero bias must not be lost.
        biased = f"vit_{size}_patch{patch}_dinov3_qkvb"
        lost = bias is not None and bool(bias.nan_to_num().any()) and timm.is_model(biased)
        return biased if lost else f"vit_{size}_patch{patch}_dinov3"
    if "blocks.0.ls1.gamma" in tensors:
        return f"vit_{size}_patch14{'_reg4' if 'register_tokens' in tensors else ''}_dinov2"
    named = f"vit_{size}_patch{patch}_224"
    return named if timm.is_model(named) else f"vit_{size}_patch16_224"


def args_for(name: str, tensors: Mapping[str, Tensor], *, guessed: bool) -> dict[str, Any]:
    """Return the arguments of `timm.create_model` by which a checkpoint differs from the named model.

    Args:
        name: timm name, with or without a tag: the user's, or that of `guess_name`.
        tensors: Tensors from `formats.unwrap`.
        guessed: The name comes from `guess_name`, whose patch size may differ from the file. If a user names a model
            of another patch size, the name is wrong, except with DINOv2.

    Returns:
        `patch_size` and `img_size` in pixels, `reg_tokens` and `no_embed_class`, as far as they differ.
    """
    kernel, position = tensors.get("patch_embed.proj.weight"), tensors.get("pos_embed")
    if kernel is None or position is None or kernel.ndim != 4 or position.ndim != 3:
        return {}
    patch, (prefix, grid) = kernel.shape[-1], position_grid(position)
    sizes = {"patch_size": patch, "img_size": patch * grid}
    if "dinov2" not in name:
        return sizes if guessed and prefix == 1 and f"_patch{patch}_" not in name else {}
    registers = tensors["register_tokens"].shape[1] if "register_tokens" in tensors else 0
    args: dict[str, Any] = {}
    if registers != (4 if "_reg4_" in name else 0):
        args |= {"reg_tokens": registers, "no_embed_class": registers > 0}
    if (patch, grid) != (_DINOV2_PATCH, _DINOV2_GRID):
        args |= sizes
    return args
