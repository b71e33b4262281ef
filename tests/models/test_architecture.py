"""The kind of a network follows from its layers, not from batch norm or names."""

from functools import cache
from typing import Any

import pytest
import timm
import torch

from dinocli.config.architecture_defaults import Architecture
from dinocli.models.architecture import architecture_of, attention_share
from dinocli.models.create import create_backbone

KINDS: dict[Architecture, tuple[str, ...]] = {
    "vit": (
        *("vit_tiny_patch16_224", "vit_small_patch14_reg4_dinov2", "vit_small_patch16_dinov3", "beit_base_patch16_224"),
        *("xcit_nano_12_p16_224", "cait_xxs24_224", "tnt_s_patch16_224", "mixer_s32_224", "vit_tiny_r_s16_p8_224"),
    ),
    "hierarchical": (
        *("swin_tiny_patch4_window7_224", "swinv2_tiny_window8_256", "hiera_tiny_224", "pvt_v2_b0", "mvitv2_tiny"),
        *("maxvit_tiny_tf_224", "coatnet_nano_rw_224", "levit_128s", "davit_tiny", "pit_ti_224"),
    ),
    "convnet": (
        *("resnet10t", "tf_efficientnet_lite0", "convnext_atto", "convnextv2_atto", "regnety_002", "convmixer_768_32"),
        *("resnet50_clip", "botnet26t_256", "fastvit_t8", "mobilenetv4_hybrid_medium", "inception_next_tiny"),
    ),
}


SLOW = {  # many layers, of the kinds of layers that the others have
    *("vit_small_patch14_reg4_dinov2", "vit_small_patch16_dinov3", "cait_xxs24_224", "tnt_s_patch16_224"),
    *("swinv2_tiny_window8_256", "mvitv2_tiny", "maxvit_tiny_tf_224", "davit_tiny"),
    *("convnextv2_atto", "inception_next_tiny"),
}
FAMILIES = [
    pytest.param(name, kind, marks=[pytest.mark.slow] if name in SLOW else [])
    for kind, names in KINDS.items()
    for name in names
]


@cache
def layers_of(name: str) -> Any:
    """Return a network without values."""
    with torch.device("meta"):
        return timm.create_model(name, num_classes=0)


@pytest.mark.parametrize(("name", "kind"), FAMILIES)
def test_kind_of_each_family(name: str, kind: Architecture) -> None:
    assert architecture_of(layers_of(name)) == kind


def test_attention_pooling_makes_no_transformer() -> None:
    model = layers_of("resnet50_clip")
    assert any("AttentionPool" in type(part).__name__ for part in model.modules())
    assert attention_share(model) == 0


def test_batch_norm_and_architecture_are_two_things() -> None:
    xcit, convnext = create_backbone("xcit_nano_12_p16_224"), create_backbone("convnext_atto")
    assert (xcit.architecture, xcit.has_batch_norm) == ("vit", True)
    assert (convnext.architecture, convnext.has_batch_norm) == ("convnet", False)
