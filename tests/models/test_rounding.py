"""The tolerance lies above the differences of kernels and below the differences of wrong features."""

from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from dinocli.models.create import create_backbone
from dinocli.models.rounding import rounding_tolerance


def features(model: Any, images: Tensor) -> Tensor:
    with torch.inference_mode():
        found: Tensor = model.eval()(images)
    return found


def difference(found: Tensor, wanted: Tensor) -> float:
    """Return the largest relative difference, as `export` measures it."""
    return float((found.double() - wanted.double()).abs().max() / wanted.abs().max().clamp(min=1.0))


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "tf_efficientnet_lite0", "convnext_atto"])
def test_another_computation_of_the_same_network_is_inside(name: str) -> None:
    """Single precision in any order of summation is close to double precision."""
    torch.manual_seed(0)
    model, images = timm.create_model(name, num_classes=0), torch.randn(1, 3, 224, 224)
    single = features(model, images)
    most = rounding_tolerance(model)
    assert 0 < difference(single, features(model.double(), images.double())) < most < 2e-4


def test_other_features_are_outside() -> None:
    """Position resampling of timm, and a weight with an error of one percent."""
    torch.manual_seed(0)
    backbone, images = create_backbone("vit_tiny_patch16_224"), torch.randn(1, 3, 96, 96)
    most = rounding_tolerance(backbone)
    twin = timm.create_model("vit_tiny_patch16_224", num_classes=0, dynamic_img_size=True)
    twin.load_state_dict(backbone.model.state_dict())
    right = features(backbone, images)
    assert difference(features(twin, images), right) > most
    with torch.no_grad():
        backbone.model.blocks[6].mlp.fc1.weight.mul_(1.01)
    assert difference(features(backbone, images), right) > most


def test_it_follows_dtype_and_size() -> None:
    small, wide = nn.Linear(64, 64), nn.Linear(6400, 64)
    deep = nn.Sequential(*(nn.Linear(64, 64) for _ in range(100)))
    assert rounding_tolerance(wide) == pytest.approx(10 * rounding_tolerance(small), rel=0.01)
    assert rounding_tolerance(deep) == pytest.approx(10 * rounding_tolerance(small), rel=0.01)
    orders = [rounding_tolerance(nn.Linear(64, 64).to(dtype)) for dtype in (torch.float16, torch.bfloat16)]
    assert orders == pytest.approx([2 * 2**-10, 2 * 2**-7], rel=0.01)
    assert 1e-5 < rounding_tolerance(create_backbone("vit_tiny_patch16_224")) < 1e-4
