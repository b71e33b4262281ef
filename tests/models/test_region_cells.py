"""Means over the patches inside a region of interest, for each kind of network and feature."""

import pytest
import torch

from dinocli.models.backbone import Backbone
from dinocli.models.create import create_backbone
from dinocli.models.rarity_maps import rarity_maps
from dinocli.models.region_cells import cells_inside, cells_of
from dinocli.models.token_kinds import FITTED, KINDS
from dinocli.models.tokens import Tokens
from tests.models.test_tokens import _close, _model


def _small_swin() -> Backbone:
    """Build a network whose maps have channels last."""
    small = {"depths": (1, 1), "num_heads": (1, 1), "embed_dim": 8, "img_size": 96, "window_size": 4}
    return create_backbone("swin_tiny_patch4_window7_224", model_args=small).eval()


def test_cells_count_from_half_coverage_and_at_least_one_counts() -> None:
    inside_HW = torch.zeros(8, 8, dtype=torch.bool)
    inside_HW[:4, :3] = True
    assert cells_inside(inside_HW, (2, 2)).tolist() == [[True, False], [False, False]]
    assert cells_inside(inside_HW, (2, 4)).tolist() == [[True, True, False, False], [False] * 4]
    assert cells_inside(inside_HW, (1, 1)).tolist() == [[True]], "the fullest, where none is half inside"


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "swin", "vit_small_patch16_dinov3"])
@torch.no_grad()
def test_means_are_those_of_the_cells_inside(name: str) -> None:
    backbone = _small_swin() if name == "swin" else _model(name)
    x_B3HW = torch.randn(2, 3, 96, 96)
    (features,) = backbone.last_features(x_B3HW, 1)
    grid_BDhw = backbone.grid(features, x_B3HW)
    h, w = grid_BDhw.shape[2:]
    inside_HW = torch.zeros(h, w, dtype=torch.bool)
    inside_HW[: h // 2 + 1, : w // 2] = True
    part_BDP = grid_BDhw[:, :, : h // 2 + 1, : w // 2].flatten(2)
    found = {kind: Tokens(kind, inside_HW=inside_HW).compute(backbone, x_B3HW) for kind in ("mean", "gem", "patch")}
    _close(found["mean"], part_BDP.mean(2))
    _close(found["gem"], part_BDP.clamp(min=1e-6).pow(3).mean(2).pow(1 / 3))
    assert not found["patch"][:, ~inside_HW].any()
    pooled_BD, maps = rarity_maps(backbone, x_B3HW, inside_HW)
    if backbone.pool_kind == "timm":
        _close(pooled_BD, found["mean"])
    _close(pooled_BD, Tokens(inside_HW=inside_HW).compute(backbone, x_B3HW))
    for map_BDhw in maps.values():
        assert torch.equal(map_BDhw[0, 0].isfinite(), cells_of(inside_HW, map_BDhw))


@torch.no_grad()
def test_a_region_of_the_whole_image_changes_nothing() -> None:
    backbone, x_B3HW = _model("vit_small_patch16_224.dino"), torch.randn(1, 3, 64, 64)
    for kind in (kind for kind in KINDS if kind not in FITTED):
        all_in = Tokens(kind, 2, torch.ones(9, 7, dtype=torch.bool))
        _close(all_in.compute(backbone, x_B3HW), all_in.without_region().compute(backbone, x_B3HW))
