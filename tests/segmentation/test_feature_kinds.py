from functools import cache

import numpy as np
import pytest
import torch

from dinocli.models.attention import attend
from dinocli.models.backbone import Backbone
from dinocli.models.create import create_backbone
from dinocli.models.patches import COARSE
from dinocli.segmentation.feature_extraction import feature_grids, grid_layout
from dinocli.segmentation.method import FeatureKind


@cache
def _backbone(name: str) -> Backbone:
    """Build a network that tests do not change."""
    torch.manual_seed(0)
    narrow = {"depth": 2, "embed_dim": 96, "num_heads": 6} if name.startswith("vit_small") else None
    return create_backbone(name, model_args=narrow).eval()


@pytest.mark.parametrize("feature_kind", FeatureKind)
@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "vit_small_patch16_dinov3", "resnet10t"])
def test_a_lattice_says_where_the_cells_lie(name: str, feature_kind: FeatureKind) -> None:
    backbone = _backbone(name)
    if feature_kind == FeatureKind.ATTENTION and not backbone.is_vit:
        pytest.skip("a convnet has no attention")
    patch, step, multiple = grid_layout(backbone, feature_kind)
    if feature_kind == FeatureKind.COARSE and not backbone.is_vit:
        patch = step = COARSE
    side = 2 * multiple
    found = feature_grids(backbone, torch.randn(2, 3, side, 2 * side), feature_kind)
    assert found.dtype == np.float32
    assert found.shape[:3] == (2, (side - patch) // step + 1, (2 * side - patch) // step + 1)


def test_a_query_asks_from_its_patch() -> None:
    backbone = _backbone("vit_tiny_patch16_224")
    x = torch.randn(1, 3, 48, 64)
    seen = attend(backbone, x)[0]
    for query, patch in (((0.0, 0.0), (0, 0)), ((0.99, 0.4), (1, 3)), ((1.0, 1.0), (2, 3))):
        found = feature_grids(backbone, x, FeatureKind.ATTENTION, query=query)
        expected = seen.to_patches(seen.patch_token(*patch)).detach()
        np.testing.assert_allclose(found[0].transpose(2, 0, 1), expected[0], rtol=1e-5)


def test_without_a_class_token_all_patches_ask() -> None:
    backbone = _backbone.__wrapped__("vit_tiny_patch16_224")
    backbone.has_cls = False
    x = torch.randn(1, 3, 32, 32)
    expected = attend(backbone, x)[0].weights(range(1, 5)).detach()[0, :, :, 1:].mean(1).reshape(3, 2, 2)
    found = feature_grids(backbone, x, FeatureKind.ATTENTION)
    np.testing.assert_allclose(found[0].transpose(2, 0, 1), expected, rtol=1e-5)


def test_keys_are_those_of_the_last_block() -> None:
    backbone = _backbone("vit_tiny_patch16_224")
    x = torch.randn(1, 3, 32, 32)
    expected = attend(backbone, x)[0].patch_keys().detach()
    np.testing.assert_allclose(feature_grids(backbone, x, FeatureKind.KEYS), expected.permute(0, 2, 3, 1), rtol=1e-5)
