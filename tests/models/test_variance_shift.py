"""Shift of the variances of images from those that batch norms store."""

import math

import pytest
import torch
from torch import Tensor, nn

from dinocli.models.create import create_backbone
from dinocli.models.variance_shift import variance_shift


def images(scale: float = 1.0) -> list[Tensor]:
    drawn = scale * torch.randn(12, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    return [drawn[:5], drawn[5:10], drawn[10:]]


def fitted() -> nn.Module:
    """Build a network whose batch norms store the variances of `images`."""
    backbone = create_backbone("test_resnet").eval()
    for norm in (module for module in backbone.modules() if isinstance(module, nn.BatchNorm2d)):
        seen: list[Tensor] = []
        hook = norm.register_forward_pre_hook(lambda _, inputs, seen=seen: seen.append(inputs[0]))
        with torch.no_grad():
            for batch in images():
                backbone(batch)
        hook.remove()
        values = torch.cat(seen)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        norm.running_mean.copy_(values.mean((0, 2, 3)))
        norm.running_var.copy_(values.var((0, 2, 3), correction=0))
    return backbone


def test_images_with_the_stored_variances_have_no_shift_and_others_have_one() -> None:
    backbone = fitted()
    state = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    near, far = (variance_shift(backbone, images(scale)) for scale in (1, 3))  # type: ignore[arg-type]
    assert near == pytest.approx(0, abs=1e-3)
    assert far > 0.5
    assert all(torch.equal(tensor, state[name]) for name, tensor in backbone.state_dict().items())


def test_the_shift_is_the_mean_over_layers_of_that_over_channels() -> None:
    backbone = fitted()
    norms = [module for module in backbone.modules() if isinstance(module, nn.BatchNorm2d)]
    last = norms[-1]
    assert last.running_var is not None
    last.running_var[0] *= 16
    expected = math.log(16) / len(last.running_var) / len(norms)
    assert variance_shift(backbone, images()) == pytest.approx(expected, rel=0.02)  # type: ignore[arg-type]


def test_without_a_batch_norm_or_an_image_there_is_no_shift() -> None:
    assert math.isnan(variance_shift(create_backbone("test_convnext"), images()))
    assert math.isnan(variance_shift(create_backbone("test_resnet"), []))
