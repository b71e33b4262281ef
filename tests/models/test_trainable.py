"""Trainable parameters and their learning rates, by name, for a ViT, a ConvNeXt and an EfficientNet."""

import pytest
from torch.nn.modules.batchnorm import _BatchNorm

from dinocli.engine.optim import lr_scales
from dinocli.errors import UsageError
from dinocli.models.backbone import Backbone
from dinocli.models.create import create_backbone
from dinocli.models.lora import add_lora
from dinocli.models.trainable import layers, trainable_names

VIT, CONVNEXT, EFFICIENTNET = "vit_tiny_patch16_224", "test_convnext", "tf_efficientnet_lite0"


@pytest.fixture(scope="module")
def backbones() -> dict[str, Backbone]:
    return {name: create_backbone(name) for name in (VIT, CONVNEXT, EFFICIENTNET, "densenet121")}


def starts(names: set[str], *prefixes: str) -> bool:
    return all(name.startswith(tuple(f"model.{prefix}" for prefix in prefixes)) for name in names)


def test_all_means_every_parameter(backbones: dict[str, Backbone]) -> None:
    for backbone in backbones.values():
        assert trainable_names(backbone, "all") == {name for name, _ in backbone.named_parameters()}


def test_the_last_blocks_of_a_vit_and_its_norm(backbones: dict[str, Backbone]) -> None:
    two = trainable_names(backbones[VIT], "last-2")
    assert starts(two, "blocks.10.", "blocks.11.", "norm.")
    assert len(two) == 2 * 12 + 2
    assert trainable_names(backbones[VIT], "last-1") < two


def test_the_last_stages_of_convnets_and_what_follows(backbones: dict[str, Backbone]) -> None:
    assert starts(trainable_names(backbones[CONVNEXT], "last-1"), "stages.3.", "head.norm.")
    lite = trainable_names(backbones[EFFICIENTNET], "last-2")
    assert starts(lite, "blocks.5.", "blocks.6.", "conv_head.", "bn2.")
    assert {"model.conv_head.weight", "model.bn2.bias"} <= lite
    dense = trainable_names(backbones["densenet121"], "last-1")
    assert starts(dense, "features.denseblock4.", "features.norm5."), "a norm alone is not a stage"


def test_norms_are_scales_and_shifts_of_norms_alone(backbones: dict[str, Backbone]) -> None:
    for name, per_norm in ((VIT, 2 * 25), (CONVNEXT, 28), (EFFICIENTNET, 2 * 49)):
        found = trainable_names(backbones[name], "norms")
        parameters = dict(backbones[name].named_parameters())
        assert len(found) == per_norm
        assert all(parameters[norm].ndim == 1 for norm in found)
    batch_norms = [key for key, module in backbones[EFFICIENTNET].named_modules() if isinstance(module, _BatchNorm)]
    assert trainable_names(backbones[EFFICIENTNET], "norms") == {
        f"{key}.{kind}" for key in batch_norms for kind in ("weight", "bias")
    }


def test_attention_alone_can_train(backbones: dict[str, Backbone]) -> None:
    expected = {f"model.blocks.{n}.attn.proj.{kind}" for n in range(12) for kind in ("weight", "bias")}
    assert trainable_names(backbones[VIT], "attn-proj") == expected
    changed = create_backbone(VIT)
    add_lora(changed, 2)
    low_rank = trainable_names(changed, "lora")
    assert len(low_rank) == 12 * 2 * 2
    assert all(name.endswith((".down_RI", ".up_OR")) for name in low_rank)


@pytest.mark.parametrize("part", ["attn-proj", "lora"])
def test_error_names_what_a_convnet_lacks(backbones: dict[str, Backbone], part: str) -> None:
    with pytest.raises(UsageError, match=rf"{CONVNEXT} has no part model\.trainable={part}"):
        trainable_names(backbones[CONVNEXT], part)


def test_error_names_the_number_of_blocks(backbones: dict[str, Backbone]) -> None:
    with pytest.raises(UsageError, match="last-13: vit_tiny_patch16_224 has 12 blocks"):
        trainable_names(backbones[VIT], "last-13")


def test_rates_fall_towards_the_stem(backbones: dict[str, Backbone]) -> None:
    factors = lr_scales(backbones[VIT], 0.5, 0.2)
    assert factors.keys() == trainable_names(backbones[VIT], "all")
    assert factors["model.norm.weight"] == factors["model.blocks.11.mlp.fc1.weight"] == 1.0
    assert factors["model.blocks.9.attn.qkv.bias"] == 0.25
    assert factors["model.pos_embed"] == factors["model.cls_token"] == 0.5**12
    assert factors["model.patch_embed.proj.weight"] == pytest.approx(0.2 * 0.5**12)
    lite = lr_scales(backbones[EFFICIENTNET], 1.0, 0.2)
    assert {name for name, factor in lite.items() if factor != 1.0} == {
        "model.conv_stem.weight",
        "model.bn1.weight",
        "model.bn1.bias",
    }


def test_without_decay_all_rates_are_one(backbones: dict[str, Backbone]) -> None:
    for backbone in backbones.values():
        assert set(lr_scales(backbone, 1.0, 1.0).values()) == {1.0}
        assert len(layers(backbone, coarse=False)) >= len(layers(backbone, coarse=True)) > 4
