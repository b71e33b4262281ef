import pytest
import torch

from dinocli.errors import UsageError, WeightsError
from dinocli.models.create import create_backbone
from dinocli.models.rarity_maps import rarity_maps
from dinocli.models.tokens import Tokens


@pytest.mark.parametrize("name", ["test_efficientnet", "test_resnet", "test_convnext"])
@torch.no_grad()
def test_maps_of_convnets_are_those_of_their_last_two_strides(name: str) -> None:
    backbone = create_backbone(name).eval()
    x = torch.randn(2, 3, 96, 64)
    pooled, maps = rarity_maps(backbone, x)
    stages = [stage["reduction"] for stage in backbone.model.feature_info]
    fine = max(place for place, stride in enumerate(stages) if stride < stages[-1])
    expected = backbone.model.forward_intermediates(x, indices=[fine, len(stages) - 1], intermediates_only=True)
    torch.testing.assert_close(maps["fine"], expected[0])
    torch.testing.assert_close(maps["coarse"], expected[1])
    torch.testing.assert_close(pooled, backbone.model(x))
    assert maps["fine"].shape[2:] == (96 // stages[fine], 64 // stages[fine])


@pytest.mark.parametrize("name", ["test_vit", "vit_tiny_patch16_224"])
@torch.no_grad()
def test_maps_of_transformers_are_patches_of_the_middle_and_the_last_block(name: str) -> None:
    backbone = create_backbone(name).eval()
    side = 4 * backbone.patch
    x = torch.randn(2, 3, side, side)
    pooled, maps = rarity_maps(backbone, x)
    torch.testing.assert_close(maps["coarse"], backbone.patch_tokens(x))
    torch.testing.assert_close(pooled, backbone(x))
    middle = backbone.last_features(x, 1 + backbone.depth // 2)[0]
    torch.testing.assert_close(maps["fine"], backbone.grid(middle, x))
    assert maps["fine"].shape == maps["coarse"].shape
    assert not maps["fine"].allclose(maps["coarse"])


def test_a_model_without_two_strides_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = create_backbone("test_convnext")
    monkeypatch.setattr(backbone.model, "feature_info", [])
    with pytest.raises(WeightsError, match="no maps of two strides"):
        Tokens("rare").check(backbone)


def test_layers_do_not_apply_to_rare_patches() -> None:
    with pytest.raises(UsageError, match="leave out --layers"):
        Tokens("rare", 2).check(create_backbone("test_vit"))
