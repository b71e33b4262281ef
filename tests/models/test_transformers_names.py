"""Weights of the transformers library, with other names and separate query, key and value, give equal features."""

import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from dinocli.errors import WeightsError
from dinocli.models.weights import load_backbone
from dinocli.tasks.export.export import export
from dinocli.tasks.export.export_options import ExportOptions
from tests.networks import TWO_BLOCKS

pytestmark = pytest.mark.usefixtures("twins")
VIT_NAMES = {
    "attn.proj": "attention.output.dense",
    "norm1": "layernorm_before",
    "norm2": "layernorm_after",
    "mlp.fc1": "intermediate.dense",
    "mlp.fc2": "output.dense",
}
DINOV2_NAMES = {"attn.proj": "attention.output.dense", "ls1.gamma": "layer_scale1.lambda1"}
DINOV2_NAMES |= {"ls2.gamma": "layer_scale2.lambda1"}
DINOV3_NAMES = {"attn.proj": "attention.o_proj", "mlp.fc1": "mlp.up_proj", "mlp.fc2": "mlp.down_proj"}
DINOV3_NAMES |= {"gamma_1": "layer_scale1.lambda1", "gamma_2": "layer_scale2.lambda1"}
TOP = {
    "cls_token": "embeddings.cls_token",
    "pos_embed": "embeddings.position_embeddings",
    "reg_token": "embeddings.register_tokens",
    "norm.weight": "layernorm.weight",
    "norm.bias": "layernorm.bias",
}


def scrambled(model: Any) -> Any:
    """Set each parameter to random values; many are initialised to zero or one."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.05)
    return model.eval()


def renamed(model: Any, names: dict[str, str], layer: str, qkv: tuple[str, ...], patch: str) -> dict[str, Tensor]:
    """Convert tensors of timm to those of the transformers library."""
    found: dict[str, Tensor] = {}
    for key, value in model.state_dict().items():
        if key in TOP:
            found[TOP[key]] = value
        elif key.startswith("patch_embed.proj."):
            found[f"embeddings.{patch}.{key.rpartition('.')[2]}"] = value
        elif key.startswith("blocks."):
            _, number, inner = key.split(".", 2)
            if inner.startswith("attn.qkv."):
                for part, piece in zip(qkv, value.chunk(3), strict=True):
                    found[f"{layer}.{number}.{part}.{inner.rpartition('.')[2]}"] = piece.clone()
            elif inner in ("attn.q_bias", "attn.v_bias"):
                found[f"{layer}.{number}.attention.{inner[5]}_proj.bias"] = value
            else:
                name = next((name for name in names if inner.startswith(name)), "")
                found[f"{layer}.{number}.{inner.replace(name, names[name]) if name else inner}"] = value
    return {key: value.contiguous() for key, value in found.items()}


def write(folder: Path, tensors: dict[str, Tensor], kind: str, heads: int) -> str:
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"model_type": kind, "num_attention_heads": heads}))
    about = {"image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.4], "crop_size": {"height": 70, "width": 70}}
    (folder / "preprocessor_config.json").write_text(json.dumps(about))
    return str(folder)


APART = ("attention.attention.query", "attention.attention.key", "attention.attention.value")


def vit(prefix: str = "", name: str = "vit_tiny_of_two_blocks") -> tuple[Any, dict[str, Tensor], str]:
    model = scrambled(timm.create_model(name, num_classes=0))
    found = renamed(model, VIT_NAMES, "encoder.layer", APART, "patch_embeddings.projection")
    found |= {"pooler.dense.weight": torch.ones(2, 2)}
    return model, {prefix + key: value for key, value in found.items()}, "vit"


def whole_vit() -> tuple[Any, dict[str, Tensor], str]:
    return vit("vit.", "vit_tiny_patch16_224")


def dinov2() -> tuple[Any, dict[str, Tensor], str]:
    model = scrambled(timm.create_model("dinov2_of_two_blocks", num_classes=0, img_size=70))
    found = renamed(model, DINOV2_NAMES, "encoder.layer", APART, "patch_embeddings.projection")
    return model, found | {"embeddings.mask_token": torch.zeros(1, 384)}, "dinov2"


def registers() -> tuple[Any, dict[str, Tensor], str]:
    model = scrambled(timm.create_model("dinov2_reg4_of_two_blocks", num_classes=0, img_size=70))
    found = renamed(model, DINOV2_NAMES, "encoder.layer", APART, "patch_embeddings.projection")
    # In the library the class token has a position; in timm it is included in the token.
    place = torch.randn(1, 1, 384)
    found["embeddings.cls_token"] = found["embeddings.cls_token"] - place
    found["embeddings.position_embeddings"] = torch.cat([place, found["embeddings.position_embeddings"]], dim=1)
    return model, found | {"embeddings.mask_token": torch.zeros(1, 384)}, "dinov2_with_registers"


def dinov3() -> tuple[Any, dict[str, Tensor], str]:
    model = scrambled(timm.create_model("dinov3_qkvb_of_two_blocks", num_classes=0, global_pool="token"))
    apart = ("attention.q_proj", "attention.k_proj", "attention.v_proj")
    found = renamed(model, DINOV3_NAMES, "layer", apart, "patch_embeddings")
    found["norm.weight"], found["norm.bias"] = found.pop("layernorm.weight"), found.pop("layernorm.bias")
    return model, found | {"embeddings.mask_token": torch.zeros(1, 1, 384)}, "dinov3_vit"


def images_for(kind: str) -> Tensor:
    """Return images of the size of the model's position embedding, so that it is not resampled."""
    side = {"vit": 224, "dinov3_vit": 64}.get(kind, 70)
    return torch.randn(2, 3, side, side)


@pytest.mark.parametrize(
    "made",
    [vit, whole_vit, dinov2, registers, dinov3],
    ids=["vit", "whole-vit-with-prefix", "dinov2", "registers", "dinov3"],
)
def test_a_folder_gives_the_features_of_the_same_weights_in_timm(made: Any, tmp_path: Path) -> None:
    model, tensors, kind = made()
    heads = model.blocks[0].attn.num_heads
    backbone, info, stored = load_backbone(write(tmp_path / "hf", tensors, kind, heads))
    images = images_for(kind)
    with torch.no_grad():
        torch.testing.assert_close(backbone.eval()(images), model(images), atol=1e-4, rtol=1e-4)
    assert (info.mean, info.std, info.size) == ((0.4, 0.5, 0.6), (0.2, 0.3, 0.4), 70)
    assert (info.matched, info.source, stored) == (info.total, str(tmp_path / "hf"), None)


def test_data_of_another_kind_is_refused(tmp_path: Path) -> None:
    _, tensors, kind = vit()
    for name, changed, told, heads, words in (
        ("heads", tensors, kind, 6, "6 attention heads"),
        ("kind", tensors, "beit", 3, "a beit of the transformers library"),
        ("part", tensors | {"encoder.layer.0.lambda_1": torch.ones(3)}, kind, 3, "is not part of"),
        ("half", {k: v for k, v in tensors.items() if "0.attention.attention.key" not in k}, kind, 3, "lacks query"),
    ):
        with pytest.raises(WeightsError, match=words) as caught:
            load_backbone(write(tmp_path / name, changed, told, heads))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "made",
    [vit, dinov2, registers, dinov3],
    ids=["vit", "dinov2", "registers", "dinov3"],
)
def test_an_exported_folder_is_read_back(made: Any, tmp_path: Path) -> None:
    model, tensors, kind = made()
    first = write(tmp_path / "hf", tensors, kind, model.blocks[0].attn.num_heads)
    done = export(ExportOptions(first, format="transformers", out=str(tmp_path / "again")))
    again = load_file(done.path / "model.safetensors")
    assert set(again) == set(tensors) - {"pooler.dense.weight"}
    config = json.loads((done.path / "config.json").read_text())
    assert (config["model_type"], type(config.get("mlp_ratio", 4))) == (kind, int), "the library refuses 4.0"
    about = json.loads((done.path / "preprocessor_config.json").read_text())
    assert (about["image_mean"], about["size"]) == ([0.4, 0.5, 0.6], {"height": 70, "width": 70})
    assert "AutoModel.from_pretrained" in done.card.read_text()


def test_a_network_unknown_to_the_library_is_refused(tmp_path: Path) -> None:
    save_file(timm.create_model("test_convnext").state_dict(), str(tmp_path / "w.safetensors"))
    options = ExportOptions(str(tmp_path / "w.safetensors"), "test_convnext", "transformers", str(tmp_path / "out"))
    with pytest.raises(WeightsError, match="has no place in the transformers library"):
        export(options)
    assert not (tmp_path / "out").exists()


def test_a_network_of_uncommon_shapes_is_exported_and_read_back_by_its_name(tmp_path: Path) -> None:
    save_file(timm.create_model(TWO_BLOCKS, num_classes=0).state_dict(), str(tmp_path / "w.safetensors"))
    folder = str(tmp_path / "out")
    export(ExportOptions(str(tmp_path / "w.safetensors"), TWO_BLOCKS, "transformers", folder))
    with pytest.raises(WeightsError, match=r"out/model\.safetensors: the shapes do not tell .*--model"):
        load_backbone(folder)
    assert load_backbone(folder, TWO_BLOCKS)[1].name == TWO_BLOCKS


@pytest.mark.parametrize("made", [vit, dinov2, registers, dinov3], ids=["vit", "dinov2", "registers", "dinov3"])
@pytest.mark.filterwarnings("ignore")  # of another library
def test_features_are_those_of_the_library_both_ways(made: Any, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    model, tensors, kind = made()
    first = write(tmp_path / "hf", tensors, kind, model.blocks[0].attn.num_heads)
    done = export(ExportOptions(first, format="transformers", out=str(tmp_path / "ours")))
    theirs = transformers.AutoModel.from_pretrained(done.path).eval()
    images = images_for(kind)
    theirs.save_pretrained(tmp_path / "theirs")
    backbone, _, _ = load_backbone(str(tmp_path / "theirs"))
    with torch.no_grad():
        wanted = theirs(images).last_hidden_state[:, 0]
        torch.testing.assert_close(model(images), wanted, atol=2e-4, rtol=2e-4)
        torch.testing.assert_close(backbone.eval()(images), wanted, atol=2e-4, rtol=2e-4)
