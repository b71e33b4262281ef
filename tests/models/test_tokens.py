import re
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from dinocli.errors import UsageError, WeightsError
from dinocli.models.backbone import Backbone
from dinocli.models.create import create_backbone
from dinocli.models.features import extract
from dinocli.models.token_kinds import FITTED, KINDS
from dinocli.models.tokens import Tokens

# name, side, leading tokens that are not patches
VITS = [
    ("vit_small_patch16_224.dino", 96, 1),
    ("vit_small_patch14_reg4_dinov2", 98, 5),
    ("vit_small_patch16_dinov3", 96, 5),
]
CONVNETS = ["resnet10t", "convnext_atto", "tf_efficientnet_lite0"]


@cache
def _model(name: str) -> Backbone:
    """Build one backbone of each kind, transformers with four blocks, ViTs narrow and of the size in `VITS`.

    Tests do not change them.
    """
    torch.manual_seed(0)
    args: dict[str, Any] = {"depth": 4, "embed_dim": 96, "num_heads": 6} if name.startswith("vit") else {}
    args |= {"depths": (1, 1, 1, 1)} if name.startswith("swin") else {}
    sides = {known: side for known, side, _ in VITS if "dinov3" not in known}
    args |= {"img_size": sides[name]} if name in sides else {}
    return create_backbone(name, model_args=args).eval()


def _of(backbone: Backbone, x: Tensor, kind: str, layers: int = 1) -> Tensor:
    return torch.from_numpy(extract(backbone, [x], autocast=None, tokens=Tokens(kind, layers)))


def _close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)  # of values around 1; kernels may differ


@pytest.mark.parametrize(("name", "side", "prefix"), VITS)
@torch.no_grad()
def test_tokens_of_transformers_are_timms(name: str, side: int, prefix: int) -> None:
    backbone = _model(name)
    x = torch.randn(1, 3, side, side)
    sequence = backbone.model.forward_features(x)
    patches = sequence[:, prefix:]
    rows = side // backbone.patch
    assert patches.shape[1] == rows * rows
    _close(_of(backbone, x, "pooled"), backbone.model(x))
    _close(_of(backbone, x, "cls"), sequence[:, 0])
    _close(_of(backbone, x, "mean"), patches.mean(1))
    _close(_of(backbone, x, "cls+mean"), torch.cat([sequence[:, 0], patches.mean(1)], 1))
    _close(_of(backbone, x, "gem"), patches.clamp(min=1e-6).pow(3).mean(1).pow(1 / 3))
    _close(_of(backbone, x, "patch"), patches.reshape(1, rows, rows, -1))


@pytest.mark.parametrize("name", CONVNETS)
@torch.no_grad()
def test_tokens_of_convnets_are_timms(name: str) -> None:
    backbone = _model(name)
    x = torch.randn(2, 3, 64, 96)
    feature_map = backbone.model.forward_features(x)
    assert feature_map.shape[2:] == (2, 3)
    _close(_of(backbone, x, "pooled"), backbone.model(x))
    _close(_of(backbone, x, "mean"), feature_map.mean((2, 3)))
    _close(_of(backbone, x, "gem"), feature_map.clamp(min=1e-6).pow(3).mean((2, 3)).pow(1 / 3))
    _close(_of(backbone, x, "patch"), feature_map.permute(0, 2, 3, 1))


@torch.no_grad()
def test_pooling_may_be_wider_than_the_map() -> None:
    backbone, x = _model("mobilenetv3_small_050"), torch.randn(1, 3, 64, 64)
    assert _of(backbone, x, "mean").shape == (1, 288)
    assert _of(backbone, x, "pooled").shape == (1, backbone.dim) == (1, 1024)


@torch.no_grad()
def test_maps_with_channels_last_are_laid_out_alike() -> None:
    backbone, x = _model("swin_tiny_patch4_window7_224"), torch.randn(1, 3, 64, 96)
    _close(_of(backbone, x, "patch"), backbone.model.forward_features(x))


@pytest.mark.parametrize(
    ("name", "stages", "widths"),
    [
        ("resnet10t", ["layer3", "layer4"], (256, 512)),  # the last stage returns the last map
        ("tf_efficientnet_lite0", ["blocks.6", ""], (320, 1280)),  # widened after it
        ("mobilenetv3_small_050", ["blocks.3", "blocks.5"], (24, 288)),  # widened after pooling
        ("swin_tiny_patch4_window7_224", ["layers.2", ""], (384, 768)),  # channels last, a norm at the end
    ],
)
@pytest.mark.parametrize("kind", ["pooled", "mean", "gem"])
@torch.no_grad()
def test_layers_of_a_convnet_are_its_last_maps_each_of_length_1(
    name: str, stages: list[str], widths: tuple[int, int], kind: str
) -> None:
    backbone = _model(name)
    backbone.freeze_batch_norm()
    x = torch.randn(2, 3, 64, 96)
    expected = []
    for stage, width in zip(stages, widths, strict=True):
        maps = _map_of(backbone, stage, x)
        assert maps.shape[1] == width
        pooled = maps.clamp(min=1e-6).pow(3).mean((2, 3)).pow(1 / 3) if kind == "gem" else maps.mean((2, 3))
        expected.append(backbone(x) if kind == "pooled" and stage == stages[-1] else pooled)
    _close(_of(backbone, x, kind, layers=2), torch.cat([torch.nn.functional.normalize(part) for part in expected], 1))


def _map_of(backbone: Backbone, stage: str, x: Tensor) -> Tensor:
    """Return the output of a stage of timm's model; the last map if no stage is named."""
    seen: list[Tensor] = []
    hook = backbone.model.get_submodule(stage).register_forward_hook(lambda *call: seen.append(call[2]))
    last = backbone.model.forward_features(x)
    hook.remove()
    found = seen[0] if stage else last
    return found.permute(0, 3, 1, 2) if backbone.name.startswith("swin") else found


@pytest.mark.parametrize(("name", "side", "prefix"), VITS)
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in FITTED])
@torch.no_grad()
def test_layers_are_the_outputs_of_the_last_blocks_after_the_norm(name: str, side: int, prefix: int, kind: str) -> None:
    backbone = _model(name)
    x = torch.randn(1, 3, 8 * backbone.patch, 6 * backbone.patch)  # another grid: positions are resampled here too
    seen: list[Tensor] = []
    hooks = [
        block.register_forward_hook(lambda *call: seen.append(backbone.model.norm(call[2])))
        for block in backbone.model.blocks[2:]
    ]
    found = _of(backbone, x, kind, layers=2)
    for hook in hooks:
        hook.remove()
    blocks = seen[:]
    expected = {
        "pooled": [backbone.model.forward_head(block) for block in blocks],
        "cls": [block[:, 0] for block in blocks],
        "mean": [block[:, prefix:].mean(1) for block in blocks],
        "cls+mean": [torch.cat([block[:, 0], block[:, prefix:].mean(1)], 1) for block in blocks],
        "gem": [block[:, prefix:].clamp(min=1e-6).pow(3).mean(1).pow(1 / 3) for block in blocks],
        "patch": [block[:, prefix:].reshape(1, 8, 6, -1) for block in blocks],
    }
    _close(found, torch.cat(expected[kind], dim=-1))
    assert not torch.allclose(blocks[0], blocks[1])


def test_error_names_what_a_model_lacks() -> None:
    convnet, vit = create_backbone("resnet10t"), create_backbone("vit_tiny_patch16_224")
    Tokens("mean").check(convnet)
    Tokens("cls+mean", layers=12).check(vit)
    for tokens, backbone, words in (
        (Tokens("cls"), convnet, "resnet10t has no class token: use --tokens pooled, mean, gem or patch"),
        (Tokens("cls+mean"), create_backbone("vit_wee_patch16_reg1_gap_256"), "has no class token"),
        (Tokens("pooled", layers=6), convnet, "resnet10t has 5 maps, fewer than --layers 6"),
        (Tokens("patch", layers=2), convnet, "the maps of resnet10t differ in size: use --tokens pooled, mean or gem"),
        (Tokens("cls", layers=13), vit, "has 12 blocks, fewer than --layers 13"),
    ):
        with pytest.raises(WeightsError, match=re.escape(words)):
            tokens.check(backbone)
    with pytest.raises(UsageError, match="'CLS' is not known; use one of pooled, cls, mean"):
        Tokens("CLS")
