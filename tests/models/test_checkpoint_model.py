"""Checkpoints of a user's training with the public code of DINO and DINOv2."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor

from dinocli.errors import WeightsError
from dinocli.models.checkpoint_model import args_for, guess_name
from dinocli.models.timm_folder import save_backbone
from dinocli.models.weights import load_backbone
from tests import networks  # noqa: F401 - registers those of two blocks
from tests.models.test_weights import _preprocess

Tensors = dict[str, Tensor]


def dinov2_file(
    folder: Path, *, grid: int = 14, registers: int = 0, mask: bool = True, **model_args: int
) -> tuple[Path, Tensors]:
    """Write a teacher checkpoint of DINOv2's training, ViT-S/16; return it and timm's tensors for the same network."""
    torch.manual_seed(0)
    with torch.device("meta"):
        model = timm.create_model(
            "vit_small_patch14_dinov2",
            **model_args,
            **{"num_classes": 0, "patch_size": 16, "img_size": 16 * grid},
            **{"reg_tokens": registers, "no_embed_class": registers > 0},
        )
    wanted = {key: torch.randn(value.shape) for key, value in model.state_dict().items()}
    saved = dict(wanted)
    if registers:
        saved["register_tokens"] = saved.pop("reg_token")
        saved["pos_embed"] = torch.cat([torch.full_like(wanted["cls_token"], 0.5), wanted["pos_embed"]], 1)
        wanted["cls_token"] = wanted["cls_token"] + 0.5  # timm includes the position in the class token
    saved |= {"mask_token": torch.zeros(1, model.embed_dim)} if mask else {}
    path = folder / "teacher_checkpoint.pth"
    torch.save({"teacher": {f"backbone.{key}": value for key, value in saved.items()}}, path)
    return path, wanted


PLAIN, REGISTERS = "vit_small_patch14_dinov2", "vit_small_patch14_reg4_dinov2"
REGISTERS_TWO_BLOCKS = "dinov2_reg4_of_two_blocks"
QUICK = [("", 8, False), (REGISTERS_TWO_BLOCKS, 0, True)]
OTHERS = [
    ("", 0, True),
    ("", 4, True),
    (PLAIN, 4, True),
    (PLAIN, 0, True),
    (PLAIN, 8, False),
    (REGISTERS, 0, True),
    (REGISTERS, 4, True),
    (REGISTERS, 8, False),
]


@pytest.mark.parametrize(
    ("named", "registers", "mask"), [*QUICK, *(pytest.param(*case, marks=pytest.mark.slow) for case in OTHERS)]
)
def test_dinov2_of_ones_own_loads_with_its_patch_grid_and_registers(
    named: str, registers: int, mask: bool, tmp_path: Path
) -> None:
    depth = 2 if named == REGISTERS_TWO_BLOCKS else 12
    path, wanted = dinov2_file(tmp_path, registers=registers, mask=mask, depth=depth)
    backbone, info, _ = load_backbone(str(path), named)
    found = backbone.model.state_dict()
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[key], wanted[key]) for key in wanted)
    assert info.name == (named or (REGISTERS if registers else PLAIN))
    assert (backbone.patch, info.size, info.matched) == (16, 224, info.total)
    assert backbone.model.num_prefix_tokens == 1 + registers
    assert not backbone.antialias, "DINOv2's code interpolates without, by default"


def test_model_arguments_are_saved_for_timm(tmp_path: Path) -> None:
    path, _ = dinov2_file(tmp_path, registers=2, grid=6, depth=2)
    backbone, info, _ = load_backbone(str(path), REGISTERS_TWO_BLOCKS)
    assert info.model_args == {"reg_tokens": 2, "no_embed_class": True, "patch_size": 16, "img_size": 96}
    save_backbone(tmp_path / "b", backbone, info, _preprocess(96))
    x = torch.randn(1, 3, 96, 96)
    twin = timm.create_model(f"local-dir:{tmp_path / 'b'}", pretrained=True).eval()
    again, found, _ = load_backbone(str(tmp_path / "b"))
    with torch.no_grad():
        wanted = backbone.eval()(x)
        assert torch.equal(twin(x), wanted)
        assert torch.equal(again.eval()(x), wanted)
    assert (found.size, found.model_args) == (96, info.model_args)


def test_patch_sizes_without_a_timm_name(tmp_path: Path) -> None:
    """vit_tiny of DINO with patches of 8 px."""
    model = timm.create_model("vit_tiny_patch16_224", num_classes=0, patch_size=8, img_size=64)
    torch.save(model.state_dict(), tmp_path / "tiny8.pth")
    assert not timm.is_model("vit_tiny_patch8_224")
    backbone, info, _ = load_backbone(str(tmp_path / "tiny8.pth"))
    assert (info.name, backbone.patch, info.size, info.matched) == ("vit_tiny_patch16_224", 8, 64, info.total)


def shapes(width: int, depth: int, **more: Any) -> Tensors:
    tensors = {
        **{"patch_embed.proj.weight": torch.empty(width, 3, 14, 14), "cls_token": torch.empty(1, 1, width)},
        **{f"blocks.{block}.ls1.gamma": torch.empty(width) for block in range(depth)},
        "pos_embed": torch.empty(1, 1 + 37 * 37, width),
    }
    return tensors | {key.replace("/", "."): torch.empty(value) for key, value in more.items()}


def built(tensors: Tensors) -> tuple[str, dict[str, Any]]:
    name = guess_name(tensors)
    return name, args_for(name, tensors, guessed=True)


def test_the_released_models_need_no_arguments() -> None:
    plain = shapes(768, 12, **{"blocks/0/mlp/fc1/weight": (3072, 768)})
    assert built(plain) == ("vit_base_patch14_dinov2", {})
    giant = shapes(1536, 40, **{"blocks/0/mlp/w12/weight": (8192, 1536), "register_tokens": (1, 4, 1536)})
    assert built(giant) == ("vit_giant_patch14_reg4_dinov2", {})
    gated = shapes(1024, 24, **{"blocks/0/mlp/w12/weight": (5464, 1024)})
    assert guess_name(gated) == "", "timm has no gated ViT-L"


def test_a_wrong_width_is_still_refused(tmp_path: Path) -> None:
    path, _ = dinov2_file(tmp_path, depth=2, embed_dim=192)
    with pytest.raises(WeightsError, match=r"fit dinov2_of_two_blocks .*--model TIMM_NAME"):
        load_backbone(str(path), "dinov2_of_two_blocks")
