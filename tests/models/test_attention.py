"""Attention against a softmax computed from the weights, and against the unfused path of timm."""

from typing import Any

import pytest
import torch
from torch import Tensor

from dinocli.errors import UsageError
from dinocli.models.attention import attend
from dinocli.models.backbone import Backbone
from dinocli.models.create import create_backbone

NAMES = [
    "vit_small_patch16_224",
    "vit_small_patch14_reg4_dinov2",
    "vit_small_patch16_dinov3",
    "vit_small_patch16_dinov3_qkvb",
]


def _backbone(name: str) -> Backbone:
    torch.manual_seed(0)
    args = {"depth": 3} | ({"img_size": 64} if name.startswith("beit") else {})
    args |= {} if "tiny" in name else {"embed_dim": 96, "num_heads": 6}
    backbone = create_backbone(name, model_args=args).eval()
    with torch.no_grad():  # initial biases, scales and queries are too small to distinguish formulas
        for parameter in backbone.model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return backbone


def _images(backbone: Backbone) -> Tensor:
    return torch.randn(2, 3, 3 * backbone.patch, 4 * backbone.patch)


def _seen_by_the_block(backbone: Backbone, x: Tensor) -> tuple[Tensor, dict[str, Any]]:
    """Return the input of the attention layer of the last block."""
    seen: list[Any] = []
    layer = backbone.model.blocks[-1].attn
    hook = layer.register_forward_pre_hook(lambda _, args, kwargs: seen.append((args[0], kwargs)), with_kwargs=True)
    backbone.patch_tokens(x)
    hook.remove()
    tokens, options = seen[0]
    return tokens, options


def _turned(x_NE: Tensor, rope: Tensor, prefix: int, half: bool) -> Tensor:
    """Rotate each pair of values of each patch by the angle of its position, in a loop."""
    sin, cos = rope.chunk(2, dim=-1)
    turned = x_NE.clone()
    width = x_NE.shape[1]
    for token in range(prefix, len(x_NE)):
        for e in range(width // 2):
            a, b = (e, e + width // 2) if half else (2 * e, 2 * e + 1)
            s, c = sin[token - prefix], cos[token - prefix]
            turned[token, a] = x_NE[token, a] * c[a] - x_NE[token, b] * s[a]
            turned[token, b] = x_NE[token, b] * c[b] + x_NE[token, a] * s[b]
    return turned


def _by_hand(backbone: Backbone, x: Tensor, image: int, head: int) -> tuple[Tensor, Tensor]:
    """Return softmax(q k / sqrt(E)) of one head, and its keys before the rotation."""
    tokens_BND, options = _seen_by_the_block(backbone, x)
    layer = backbone.model.blocks[-1].attn
    tokens_ND, width, heads = tokens_BND[image], layer.head_dim, layer.num_heads
    biases = [getattr(layer, f"{part}_bias", None) for part in "qk"]
    if layer.qkv.bias is not None:
        biases = list(layer.qkv.bias.reshape(3, -1)[:2])
    parts = []
    for part in range(2):
        rows = slice((part * heads + head) * width, (part * heads + head + 1) * width)
        of_head = tokens_ND @ layer.qkv.weight[rows].T
        bias = biases[part]
        parts.append(of_head if bias is None else of_head + bias[head * width : (head + 1) * width])
    query, key = parts
    plain = key
    if options.get("rope") is not None:
        rope, half = options["rope"].reshape(-1, 2 * width), bool(getattr(layer, "rotate_half", False))
        query = _turned(query, rope, backbone.model.num_prefix_tokens, half)
        key = _turned(key, rope, backbone.model.num_prefix_tokens, half)
    return torch.softmax(query @ key.T / width**0.5, dim=-1), plain


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_equals_a_softmax_by_hand(name: str) -> None:
    backbone = _backbone(name)
    x = _images(backbone)
    found = attend(backbone, x)[0]
    prefix = backbone.model.num_prefix_tokens
    weights = found.weights(range(prefix + 12))
    for image, head in ((0, 0), (1, 5)):
        expected, key = _by_hand(backbone, x, image, head)
        assert expected.std() > 0.01, "flat attention proves nothing"
        torch.testing.assert_close(weights[image, head], expected, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(found.to_patches()[image, head], expected[0, prefix:].reshape(3, 4))
        width = key.shape[1]
        channels = slice(head * width, (head + 1) * width)
        torch.testing.assert_close(found.patch_keys()[image, channels].flatten(1).T, key[prefix:])


@pytest.mark.parametrize("name", [*NAMES, "beit_base_patch16_224"])
@torch.no_grad()
def test_equals_what_timm_multiplies_without_its_fused_call(name: str) -> None:
    backbone = _backbone(name)
    x = torch.randn(1, 3, 4 * backbone.patch, 4 * backbone.patch)
    found = attend(backbone, x)[0]
    layer = backbone.model.blocks[-1].attn
    kept: list[Tensor] = []
    hook = layer.attn_drop.register_forward_hook(lambda _module, _inputs, output: kept.append(output))
    layer.fused_attn = False
    backbone.patch_tokens(x)
    hook.remove()
    torch.testing.assert_close(found.weights(range(kept[0].shape[2])), kept[0], rtol=1e-4, atol=1e-6)


@torch.no_grad()
def test_patches_can_be_queries_and_only_requested_rows_are_computed() -> None:
    backbone = _backbone("vit_tiny_patch16_224")
    found = attend(backbone, _images(backbone))[0]
    token = found.patch_token(2, 1)
    assert token == 1 + 2 * 4 + 1
    assert found.weights([token]).shape == (2, 3, 1, 13)
    torch.testing.assert_close(found.to_patches(token), found.weights([0, token])[:, :, 1, 1:].reshape(2, 3, 3, 4))
    torch.testing.assert_close(found.weights([0, token]).sum(-1), torch.ones(2, 3, 2))


@torch.no_grad()
def test_leaves_the_model_as_it_was() -> None:
    backbone = _backbone("vit_tiny_patch16_224")
    layer = backbone.model.blocks[-1].attn
    layer.fused_attn = False
    x = _images(backbone)
    before = backbone(x)
    attend(backbone, x)
    assert layer.fused_attn is False
    assert not layer._forward_hooks
    assert not layer._forward_pre_hooks
    assert not layer.k_norm._forward_hooks
    assert torch.equal(backbone(x), before)


def test_networks_without_attention_are_refused() -> None:
    with pytest.raises(UsageError, match="resnet10t has no attention"):
        attend(create_backbone("resnet10t").eval(), torch.zeros(1, 3, 64, 64))
