from functools import cache
from typing import Any

import pytest
import torch

from dinocli.errors import UsageError
from dinocli.models.backbone import Backbone
from dinocli.models.create import create_backbone
from dinocli.models.patches import MARGIN, object_features, patch_features, place_features

NETS = [("resnet10t", 128, 256), ("convnext_atto", 80, 160), ("tf_efficientnet_lite0", 40, 112)]


@cache
def _backbone(name: str) -> Backbone:
    """Build a network that tests do not change."""
    torch.manual_seed(0)
    return create_backbone(name).eval()


@pytest.mark.parametrize(("name", "fine", "coarse"), NETS)
@torch.no_grad()
def test_convnets_give_maps_of_stride_8_16_and_32(name: str, fine: int, coarse: int) -> None:
    backbone = _backbone(name)
    x = torch.randn(2, 3, 64, 96)
    assert patch_features(backbone, x).shape == (2, fine, 8, 12)
    assert place_features(backbone, x).shape == (2, coarse + 3, 4, 6)
    assert patch_features(backbone, x[:, :, :32, :32]).shape == (2, fine, 4, 4)
    deep = object_features(backbone, x)
    assert deep is not None
    assert deep.shape[0::2] == (2, 2)
    assert deep.shape[3] == 3


@torch.no_grad()
def test_each_place_is_the_mean_of_its_neighbours_with_the_image_mirrored_beyond_its_border() -> None:
    backbone = _backbone("resnet10t")
    x = torch.randn(1, 3, 64, 64)
    mirrored = torch.cat([x[..., 1 : MARGIN + 1].flip(-1), x, x[..., -MARGIN - 1 : -1].flip(-1)], dim=-1)
    mirrored = torch.cat(
        [mirrored[:, :, 1 : MARGIN + 1].flip(2), mirrored, mirrored[:, :, -MARGIN - 1 : -1].flip(2)], dim=2
    )
    (fine,) = backbone.model.forward_intermediates(mirrored, indices=[2], intermediates_only=True)
    found = patch_features(backbone, x)[0]
    torch.testing.assert_close(found[:, 3, 4], fine[0, :, 4 + 2 : 4 + 5, 4 + 3 : 4 + 6].mean((1, 2)))
    torch.testing.assert_close(found[:, 0, 0], fine[0, :, 4:6, 4:6].mean((1, 2)))


@torch.no_grad()
def test_looks_and_colour_count_the_same_in_each_image() -> None:
    x = torch.stack([0.01 * torch.randn(3, 64, 64), 5 + 3 * torch.randn(3, 64, 64)])
    found = place_features(_backbone("resnet10t"), x)
    for part in (found[:, :256], found[:, 256:]):
        torch.testing.assert_close(part.mean((2, 3)), torch.zeros(part.shape[:2]), atol=1e-4, rtol=0)
        torch.testing.assert_close(part.square().sum(1).mean((1, 2)), torch.ones(2))
    colour = x[1, :, 16:32, :16].mean((1, 2)) - x[1].mean((1, 2))
    torch.testing.assert_close(torch.cosine_similarity(found[1, 256:, 1, 0], colour, dim=0), torch.tensor(1.0))


@torch.no_grad()
def test_a_flat_image_has_a_single_colour() -> None:
    assert place_features(_backbone("resnet10t"), torch.ones(1, 3, 64, 64))[:, 256:].abs().max() < 1e-3


@torch.no_grad()
def test_a_vit_gives_its_patch_tokens() -> None:
    backbone = _backbone("vit_tiny_patch16_224")
    x = torch.randn(1, 3, 32, 48)
    assert torch.equal(patch_features(backbone, x), backbone.patch_tokens(x))


def test_a_model_without_such_maps_is_refused() -> None:
    with pytest.raises(UsageError, match=r"no feature map of stride 8"):
        patch_features(create_backbone("mixer_s32_224").eval(), torch.zeros(1, 3, 224, 224))


@torch.no_grad()
def test_frozen_batch_norm_is_folded_and_gives_the_same_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone, images = _backbone.__wrapped__("resnet10t"), torch.randn(1, 3, 64, 96)
    for name, values in backbone.named_buffers():
        if "running" in name:
            values.uniform_(0.5, 2)
    plain = patch_features(backbone, images)
    backbone.freeze_batch_norm()
    normed, calls = torch.batch_norm, list[int]()

    def counted(*given: Any) -> torch.Tensor:
        calls.append(1)
        return normed(*given)

    monkeypatch.setattr(torch, "batch_norm", counted)
    torch.testing.assert_close(patch_features(backbone, images), plain, rtol=1e-4, atol=1e-5)
    assert not calls
