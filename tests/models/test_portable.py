from typing import Any

import pytest
import timm
import torch

from dinocli.models.backbone import Backbone
from dinocli.models.portable import Portable

NARROW = {"depth": 1, "embed_dim": 96, "num_heads": 6}
REGISTERS = ("vit_small_patch14_reg4_dinov2", {"img_size": 56, **NARROW})
CASES: list[tuple[str, dict[str, Any], list[tuple[int, int]]]] = [
    ("vit_tiny_patch16_224", {"depth": 1}, [(224, 224), (96, 96), (224, 112), (320, 256)]),
    (*REGISTERS, [(56, 56), (28, 42), (98, 84)]),
    ("vit_small_patch16_dinov3", NARROW, [(64, 96)]),
    ("test_convnext", {}, [(64, 96)]),
    ("test_efficientnet", {}, [(64, 96)]),
    ("swin_tiny_patch4_window7_224", {"depths": (1, 1, 1, 1)}, [(224, 224)]),
]


def small(name: str, options: dict[str, Any]) -> Backbone:
    """Build a backbone of one block with a position embedding large enough to affect the result."""
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=0, **options)
    if getattr(model, "pos_embed", None) is not None:
        torch.nn.init.normal_(model.pos_embed)
    return Backbone(name, model).eval()


@pytest.mark.parametrize(("name", "options", "sizes"), CASES, ids=[case[0] for case in CASES])
@torch.no_grad()
def test_gives_what_the_backbone_gives_at_any_size(
    name: str, options: dict[str, Any], sizes: list[tuple[int, int]]
) -> None:
    backbone = small(name, options)
    portable = Portable(backbone).eval()
    before = {key: value.clone() for key, value in backbone.model.state_dict().items()}
    for height, width in sizes:
        images = torch.randn(2, 3, height, width)
        for found, wanted in zip(portable(images), backbone.with_patches(images), strict=True):
            torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
    assert list(before) == list(backbone.model.state_dict())  # the position embedding keeps its place


@torch.no_grad()
def test_the_position_embedding_matters_in_these_tests() -> None:
    backbone = small(*CASES[0][:2])
    images = torch.randn(2, 3, 96, 64)
    before = backbone(images)
    backbone.model.pos_embed[:, 1:] = 0
    assert (backbone(images) - before).abs().max() > 1e-2
