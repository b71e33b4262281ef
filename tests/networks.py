"""Networks of few blocks among timm's own: most of the time of a test grows with the number of modules."""

from collections.abc import Mapping
from typing import Any

import torch
from timm.models import convnext, eva, register_model, vision_transformer
from timm.models.convnext import ConvNeXt
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer

TWO_BLOCKS = "vit_of_two_blocks"
"""For whole runs: it takes images of any size."""
FOUR_BLOCKS = "convnext_of_four_blocks"
"""0.1 million parameters, no batch norm."""

TWINS = {
    "vit_tiny_patch16_224": "vit_tiny_of_two_blocks",
    "vit_small_patch14_dinov2": "dinov2_of_two_blocks",
    "vit_small_patch14_reg4_dinov2": "dinov2_reg4_of_two_blocks",
    "vit_small_patch16_dinov3": "dinov3_of_two_blocks",
    "vit_small_patch16_dinov3_qkvb": "dinov3_qkvb_of_two_blocks",
}
"""timm's networks of twelve blocks, and those of two blocks in their place."""


def deepened(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Give a network of two blocks the ten that it lacks, each like its second one."""
    more = {key.replace("blocks.1.", f"blocks.{n}."): value for key, value in tensors.items() for n in range(2, 12)}
    return {**tensors, **more}


def _named(name: str, options: Mapping[str, Any], **ours: Any) -> dict[str, Any]:
    """Let the network write down its own name in a timm folder, not that of the one that it is made of."""
    overlay = {"architecture": name, **(options.get("pretrained_cfg_overlay") or {})}
    return {**ours, **options, "pretrained_cfg_overlay": overlay}


@register_model
def vit_of_two_blocks(pretrained: bool = False, **options: Any) -> VisionTransformer:
    """timm's `test_vit` with two blocks in place of six."""
    return vision_transformer.test_vit(pretrained, **_named(TWO_BLOCKS, options, depth=2))


@register_model
def convnext_of_four_blocks(pretrained: bool = False, **options: Any) -> ConvNeXt:
    """timm's `test_convnext` with four blocks in place of nine."""
    return convnext.test_convnext(pretrained, **_named(FOUR_BLOCKS, options, depths=[1, 1, 1, 1]))


@register_model
def vit_tiny_of_two_blocks(pretrained: bool = False, **options: Any) -> VisionTransformer:
    """timm's ViT-Ti/16: learnt positions, and images of 224 pixels only."""
    return vision_transformer.vit_tiny_patch16_224(pretrained, **_named("vit_tiny_of_two_blocks", options, depth=2))


@register_model
def dinov2_of_two_blocks(pretrained: bool = False, **options: Any) -> VisionTransformer:
    """timm's DINOv2 ViT-S/14: scaled layers."""
    return vision_transformer.vit_small_patch14_dinov2(pretrained, **_named("dinov2_of_two_blocks", options, depth=2))


@register_model
def dinov2_reg4_of_two_blocks(pretrained: bool = False, **options: Any) -> VisionTransformer:
    """timm's DINOv2 ViT-S/14 with registers."""
    options = _named("dinov2_reg4_of_two_blocks", options, depth=2)
    return vision_transformer.vit_small_patch14_reg4_dinov2(pretrained, **options)


@register_model
def dinov3_qkvb_of_two_blocks(pretrained: bool = False, **options: Any) -> Eva:
    """timm's DINOv3 ViT-S/16 with biases of query, key and value."""
    return eva.vit_small_patch16_dinov3_qkvb(pretrained, **_named("dinov3_qkvb_of_two_blocks", options, depth=2))


@register_model
def dinov3_of_two_blocks(pretrained: bool = False, **options: Any) -> Eva:
    """timm's DINOv3 ViT-S/16: rotary positions, registers, a norm before pooling."""
    return eva.vit_small_patch16_dinov3(pretrained, **_named("dinov3_of_two_blocks", options, depth=2))


@register_model
def eva02_of_two_blocks(pretrained: bool = False, **options: Any) -> Eva:
    """timm's EVA-02-Ti/14: a norm after pooling."""
    return eva.eva02_tiny_patch14_224(pretrained, **_named("eva02_of_two_blocks", options, depth=2))
