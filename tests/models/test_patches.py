import pytest
import torch

from dinocli.errors import UsageError
from dinocli.models.backbone import create_backbone
from dinocli.models.patches import coarse_features, patch_features

NETS = [("resnet10t", 128, 256), ("convnext_atto", 80, 160), ("tf_efficientnet_lite0", 40, 112)]


@pytest.mark.parametrize(("name", "fine", "coarse"), NETS)
@torch.no_grad()
def test_convnets_give_the_maps_of_stride_8_and_16(name: str, fine: int, coarse: int) -> None:
    backbone = create_backbone(name).eval()
    x = torch.randn(2, 3, 64, 96)
    assert patch_features(backbone, x).shape == (2, fine + coarse, 8, 12)
    assert coarse_features(backbone, x).shape == (2, coarse, 4, 6)


@torch.no_grad()
def test_each_place_is_the_mean_of_its_neighbours() -> None:
    backbone = create_backbone("resnet10t").eval()
    x = torch.randn(1, 3, 64, 64)
    found = patch_features(backbone, x)
    fine, coarse = backbone.model.forward_intermediates(x, indices=[2, 3], intermediates_only=True)
    torch.testing.assert_close(found[0, :128, 3, 4], fine[0, :, 2:5, 3:6].mean((1, 2)))
    torch.testing.assert_close(found[0, :128, 0, 0], fine[0, :, :2, :2].mean((1, 2)))
    torch.testing.assert_close(coarse_features(backbone, x), coarse)


@torch.no_grad()
def test_a_vit_gives_its_patch_tokens() -> None:
    backbone = create_backbone("vit_tiny_patch16_224").eval()
    x = torch.randn(1, 3, 32, 48)
    assert torch.equal(patch_features(backbone, x), backbone.patch_tokens(x))


def test_a_model_without_such_maps_says_so() -> None:
    with pytest.raises(UsageError, match=r"no feature maps of stride 8 and 16"):
        patch_features(create_backbone("mixer_s32_224").eval(), torch.zeros(1, 3, 224, 224))
