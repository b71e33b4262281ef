"""Which timm model a checkpoint file belongs to, by the shapes of its tensors.

Training DINO and DINOv2 of one's own gives other patches, grids and registers than the released weights have, and timm
has names for the released ones only. Such a model is timm's nearest name and a few arguments beside it.
"""

from collections.abc import Mapping
from typing import Any

import timm
from torch import Tensor

from dinocli.models.formats import position_grid

SIZES = {(192, 12): "tiny", (384, 12): "small", (768, 12): "base", (1024, 24): "large", (1536, 40): "giant"}
"""Width and depth of the public ViTs, and timm's word for them."""

GATED_DINOV3 = {(384, 12): "small_plus", (1280, 32): "huge_plus"}
"""Width and depth of the DINOv3 models whose MLP is gated."""

_DINOV2_PATCH, _DINOV2_GRID = 14, 37
"""Pixels of a patch, and patches along a side, of timm's DINOv2 models."""


def guess_name(tensors: Mapping[str, Tensor]) -> str:
    """Return the timm name of a ViT from its shapes, or nothing where they leave a doubt.

    Only the families of DINO's code are known here: there the shapes decide, and a wrong guess would be caught anyway
    when the tensors are counted. The name is one that timm has; where the checkpoint differs from it in patch, grid or
    registers, `args_for` says how.

    Args:
        tensors: As `formats.unwrap` gives them.
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
        # timm's plain models have none, and most released weights hold zeros; a bias of one's own must not be lost.
        biased = f"vit_{size}_patch{patch}_dinov3_qkvb"
        lost = bias is not None and bool(bias.nan_to_num().any()) and timm.is_model(biased)
        return biased if lost else f"vit_{size}_patch{patch}_dinov3"
    if "blocks.0.ls1.gamma" in tensors:
        return f"vit_{size}_patch14{'_reg4' if 'register_tokens' in tensors else ''}_dinov2"
    named = f"vit_{size}_patch{patch}_224"
    return named if timm.is_model(named) else f"vit_{size}_patch16_224"


def args_for(name: str, tensors: Mapping[str, Tensor], *, guessed: bool) -> dict[str, Any]:
    """Return what timm has to be told beside a name to build the model of a checkpoint; nothing where it fits.

    Args:
        name: timm name, with or without a tag: the user's, or that of `guess_name`.
        tensors: As `formats.unwrap` gives them.
        guessed: The name is that of `guess_name`: then patches may differ from it that timm has no name for. A user
            who names another patch than the file's is wrong about the file, except with DINOv2.

    Returns:
        `patch_size` and `img_size` in pixels, `reg_tokens` and `no_embed_class`, as far as they differ.
    """
    kernel, position = tensors.get("patch_embed.proj.weight"), tensors.get("pos_embed")
    if kernel is None or position is None or kernel.ndim != 4 or position.ndim != 3:
        return {}
    patch, (prefix, grid) = kernel.shape[-1], position_grid(position)
    own = {"patch_size": patch, "img_size": patch * grid}
    if "dinov2" not in name:
        return own if guessed and prefix == 1 and f"_patch{patch}_" not in name else {}
    registers = tensors["register_tokens"].shape[1] if "register_tokens" in tensors else 0
    args: dict[str, Any] = {}
    if registers != (4 if "_reg4_" in name else 0):
        args |= {"reg_tokens": registers, "no_embed_class": registers > 0}
    if (patch, grid) != (_DINOV2_PATCH, _DINOV2_GRID):
        args |= own
    return args
