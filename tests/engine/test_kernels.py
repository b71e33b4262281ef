"""Replaced kernels against those of torch: values and gradients."""

from collections.abc import Sequence
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import CheckpointError

from dinocli.engine.build import build_precision
from dinocli.engine.kernels import Kernels
from dinocli.engine.precision import Precision
from dinocli.models.create import create_backbone
from tests.engine.learners import tiny_recipe

CPU = torch.device("cpu")
BF16 = Precision(CPU, "bf16", "math")

plain = partial(Kernels, plain_attention=True, depthwise_float32=False)
depthwise = partial(Kernels, plain_attention=False, depthwise_float32=True)


def qkv() -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, 3, 5, 8, requires_grad=True) for _ in range(3))
    return q, k, v


def gradients(output: Tensor, inputs: Sequence[Tensor]) -> list[Tensor]:
    return list(torch.autograd.grad(output.float().square().sum(), inputs))


def test_plain_attention_equals_torch() -> None:
    inputs = qkv()
    expected = F.scaled_dot_product_attention(*inputs)
    with plain():
        found = F.scaled_dot_product_attention(*inputs, attn_mask=None, dropout_p=0.0, is_causal=False)
    assert found.grad_fn is not None
    assert found.grad_fn.name() == "UnsafeViewBackward0"  # a matrix product, not the attention of torch
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(gradients(found, inputs), gradients(expected, inputs))


def test_plain_attention_computes_in_the_dtype_that_it_gets() -> None:
    q, k, v = (tensor.detach().bfloat16() for tensor in qkv())
    with plain():
        assert F.scaled_dot_product_attention(q, k, v).dtype == torch.bfloat16


@pytest.mark.parametrize("options", [{"is_causal": True}, {"attn_mask": torch.zeros(5, 5).fill_diagonal_(-9.0)}])
def test_a_mask_is_left_to_torch(options: dict[str, object]) -> None:
    inputs = qkv()
    expected = F.scaled_dot_product_attention(*inputs, **options)  # type: ignore[arg-type]
    with plain():
        found = F.scaled_dot_product_attention(*inputs, **options)  # type: ignore[arg-type]
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    assert not torch.allclose(found, F.scaled_dot_product_attention(*inputs))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("bias", [False, True])
def test_depthwise_gradients_are_those_of_float32(stride: int, bias: bool) -> None:
    """For rounded inputs the forward pass is bit-identical to half precision."""
    torch.manual_seed(0)
    layer = nn.Conv2d(8, 8, 3, stride, 1, groups=8, bias=bias)
    x = torch.randn(2, 8, 6, 6).bfloat16().float().requires_grad_()
    parameters = [x, *layer.parameters()]
    with torch.autocast("cpu", torch.bfloat16):
        expected = layer(x)
        with depthwise():
            found = layer(x)
    assert torch.equal(found, expected)
    assert found.grad_fn is not None
    assert "Depthwise" in found.grad_fn.name()
    upstream = torch.randn_like(found)
    exact = torch.autograd.grad(layer(x), parameters, upstream.float())
    for one, other in zip(torch.autograd.grad(found, parameters, upstream), exact, strict=True):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one, other, rtol=2**-8, atol=1e-5)  # that of x is rounded to bfloat16 once


def test_a_depthwise_convolution_of_an_input_without_gradient() -> None:
    layer, x = nn.Conv2d(8, 8, 3, groups=8), torch.randn(2, 8, 6, 6)
    layer.weight.requires_grad_(False)
    with torch.autocast("cpu", torch.bfloat16), depthwise():
        layer(x).sum().backward()
    assert layer.weight.grad is None
    assert layer.bias is not None
    assert layer.bias.grad is not None


@pytest.mark.parametrize("layer", [nn.Conv2d(8, 8, 3), nn.Conv2d(8, 8, 3, groups=4), nn.Conv2d(1, 8, 3)])
def test_other_convolutions_are_left_to_torch(layer: nn.Conv2d) -> None:
    x = torch.randn(2, layer.in_channels, 6, 6)
    with torch.autocast("cpu", torch.bfloat16), depthwise():
        assert "Depthwise" not in layer(x).grad_fn.name()


def test_without_autocast_nothing_is_replaced() -> None:
    layer, x = nn.Conv2d(8, 8, 3, groups=8), torch.randn(2, 8, 6, 6)
    with depthwise():
        assert torch.equal(layer(x), layer(x))
        assert layer(x).dtype == torch.float32
        assert "Depthwise" not in layer(x).grad_fn.name()


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "tf_efficientnet_lite0"])
def test_gradient_checkpointing_works_without_them(name: str) -> None:
    """Checkpointing repeats the forward pass outside the replacement, so it fails with replaced kernels."""
    backbone = create_backbone(name, model_args={"depth": 2} if name.startswith("vit") else None)
    backbone.freeze_batch_norm()
    recipe = tiny_recipe("model.grad_checkpointing=true", "run.precision=bf16", "run.attention=math")
    precision = build_precision(recipe, backbone, CPU)
    assert not precision.own_kernels
    backbone.set_grad_checkpointing()
    with precision.autocast():
        loss = backbone(torch.randn(2, 3, 64, 64)).float().square().mean()
    loss.backward()
    with BF16.autocast():
        loss = backbone(torch.randn(2, 3, 64, 64)).float().square().mean()
    with pytest.raises(CheckpointError):
        loss.backward()
