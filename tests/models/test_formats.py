"""Checkpoints in each official format, made from a random network of the same architecture, and loaded again."""

import os
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

from dinocli.errors import WeightsError
from dinocli.models.checkpoint_model import guess_name
from dinocli.models.create import create_backbone
from dinocli.models.formats import read_tensors, unwrap
from dinocli.models.positions import resample_position
from dinocli.models.weights import load_backbone
from tests.networks import deepened

Tensors = dict[str, Tensor]
VIT = "vit_tiny_of_two_blocks"
pytestmark = pytest.mark.usefixtures("twins")


def _put(prefix: str, tensors: Tensors) -> Tensors:
    return {prefix + key: value for key, value in tensors.items()}


def _other(tensors: Tensors) -> Tensors:
    """Return tensors of the same names and other values: a network in the file that must not be loaded."""
    return {key: value + 1 for key, value in tensors.items()}


def _dino_full(tensors: Tensors) -> dict[str, Any]:
    head = {"head.mlp.0.weight": torch.ones(2, 2), "head.last_layer.weight_g": torch.ones(2, 1)}
    return {
        "student": _put("module.", _put("backbone.", _other(tensors)) | head),
        "teacher": _put("backbone.", tensors) | head,
        "optimizer": {"state": {}, "param_groups": [{"lr": np.float64(1e-3), "weight_decay": np.float64(0.04)}]},
        "epoch": 3,
        "args": Namespace(arch="vit_tiny", patch_size=16),
        "dino_loss": {"center": torch.zeros(1, 2)},
        "fp16_scaler": {"scale": 65536.0},
    }


def _solo(tensors: Tensors) -> dict[str, Any]:
    mixed = _put("backbone.", _other(tensors)) | _put("momentum_backbone.", tensors)
    return {"state_dict": mixed | {"classifier.weight": torch.ones(3, 192)}, "epoch": 1}


FORMATS: dict[str, Callable[[Tensors], dict[str, Any]]] = {
    "flat": dict,
    "dino with student and teacher": _dino_full,
    "dino student only": lambda t: {
        "student": _put("module.backbone.", t) | {"module.head.mlp.0.weight": torch.ones(1)}
    },
    "classifier left behind": lambda t: {"model": t | {"head.weight": torch.ones(9, 192), "head.bias": torch.ones(9)}},
    "timm with averaged weights": lambda t: {"state_dict": _other(t), "state_dict_ema": t, "arch": VIT},
    "timm's older averaged weights": lambda t: {"model": _other(t), "model_ema": t},
    "compiled and distributed": lambda t: {"model": _put("_orig_mod.module.", t)},
    "distributed and compiled": lambda t: {"model": _put("module._orig_mod.", t)},
    "solo-learn": _solo,
    "lightning": lambda t: {"state_dict": _put("model.backbone.", t) | {"model.head.weight": torch.ones(3)}},
    "teacher and student by prefix": lambda t: _put("student.backbone.", _other(t)) | _put("teacher.backbone.", t),
    "half precision": lambda t: {key: value.half() for key, value in t.items()},
}


@pytest.fixture(scope="module")
def vit() -> Tensors:
    torch.manual_seed(0)
    return {key: value.half().float() for key, value in create_backbone(VIT).model.state_dict().items()}


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_gives_the_same_tensors(form: str, vit: Tensors, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pth"
    torch.save(FORMATS[form](vit), path)
    backbone, info, stored = load_backbone(str(path))  # the name follows from the shapes
    assert info.name == VIT
    assert info.matched == info.total == len(vit)
    assert stored is None
    assert all(torch.equal(value, vit[key]) for key, value in backbone.model.state_dict().items())


def test_safetensors_and_the_old_zipless_format(vit: Tensors, tmp_path: Path) -> None:
    save_file(vit, tmp_path / "a.safetensors")
    torch.save(vit, tmp_path / "b.pt", _use_new_zipfile_serialization=False)
    for name in ("a.safetensors", "b.pt"):
        assert load_backbone(str(tmp_path / name))[1].matched == len(vit)


def test_dinov2_with_its_chunked_blocks(tmp_path: Path) -> None:
    name = "dinov2_of_two_blocks"
    tensors = create_backbone(name).model.state_dict()

    def official(key: str) -> str:
        head, _, rest = key.partition("blocks.")
        index = rest.partition(".")[0]
        return f"{head}blocks.{index}.{rest}" if rest else key  # a chunk of each block

    saved = {official(key): value for key, value in tensors.items()} | {"mask_token": torch.zeros(1, 384)}
    assert "blocks.1.1.ls1.gamma" in saved
    torch.save({"teacher": _put("backbone.", saved)}, tmp_path / "v2.pth")
    backbone, info, _ = load_backbone(str(tmp_path / "v2.pth"))
    assert (info.name, info.matched, info.total) == (name, 34, 34)
    assert all(torch.equal(value, tensors[key]) for key, value in backbone.model.state_dict().items())


def test_dinov2_checkpoints_with_registers_are_read(tmp_path: Path) -> None:
    name = "dinov2_reg4_of_two_blocks"
    tensors = create_backbone(name).model.state_dict()
    saved = dict(tensors) | {"mask_token": torch.zeros(1, 384), "register_tokens": tensors["reg_token"]}
    del saved["reg_token"]
    place_of_cls = torch.full((1, 1, 384), 0.5)  # official code adds it at runtime; in timm the token includes it
    saved["pos_embed"] = torch.cat([place_of_cls, tensors["pos_embed"]], 1)
    torch.save(saved, tmp_path / "reg.pth")
    backbone, info, _ = load_backbone(str(tmp_path / "reg.pth"))
    assert (info.name, info.matched, info.total) == (name, 35, 35)
    found = backbone.model.state_dict()
    torch.testing.assert_close(found["cls_token"], tensors["cls_token"] + 0.5)
    assert torch.equal(found["reg_token"], tensors["reg_token"])
    assert torch.equal(found["pos_embed"], tensors["pos_embed"])


def test_dinov3_checkpoints_are_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = "dinov3_of_two_blocks"
    tensors = create_backbone(name).model.state_dict()
    renamed = {"reg_token": "storage_tokens", "gamma_1": "ls1.gamma", "gamma_2": "ls2.gamma"}
    saved = {}
    for key, value in tensors.items():
        for ours, theirs in renamed.items():
            key = key.replace(ours, theirs)
        saved[key] = value
    for block in range(2):
        saved[f"blocks.{block}.attn.qkv.bias"] = torch.zeros(1152)
        saved[f"blocks.{block}.attn.qkv.bias_mask"] = torch.zeros(1152)
    saved |= {"mask_token": torch.zeros(1, 384), "rope_embed.periods": torch.ones(16)}
    torch.save(saved, tmp_path / "v3.pth")
    backbone, info, _ = load_backbone(str(tmp_path / "v3.pth"))
    assert (info.name, info.matched) == (name, info.total)
    assert all(torch.equal(value, tensors[key]) for key, value in backbone.model.state_dict().items())
    assert capsys.readouterr().out == ""  # timm's filter prints; stdout is for results


def test_convnets_and_old_files_without_counters(tmp_path: Path) -> None:
    torch.manual_seed(1)
    tensors = create_backbone("resnet10t").model.state_dict()
    older = {key: value for key, value in tensors.items() if "num_batches" not in key}
    torch.save({"state_dict": _put("module.", older) | {"module.fc.weight": torch.ones(5, 512)}}, tmp_path / "r.pth")
    backbone, info, _ = load_backbone(str(tmp_path / "r.pth"), "resnet10t")
    assert info.matched == info.total == len(older)
    assert all(torch.equal(backbone.model.state_dict()[key], value) for key, value in older.items())


def test_blocks_of_an_efficientnet_are_not_chunks() -> None:
    tensors = create_backbone("tf_efficientnet_lite0").model.state_dict()
    assert unwrap(_put("module.", tensors), tensors).keys() == tensors.keys()


def test_position_embedding_of_another_grid_is_resampled(vit: Tensors, tmp_path: Path) -> None:
    position = torch.randn(1, 1 + 10 * 10, 192)
    torch.save(vit | {"pos_embed": position}, tmp_path / "small.pth")
    backbone, info, _ = load_backbone(str(tmp_path / "small.pth"), VIT)
    expected = resample_position(position, (10, 10), (14, 14), prefix=1, antialias=False)
    assert info.matched == len(vit)
    assert torch.equal(backbone.model.pos_embed, expected)


def test_only_certain_names_are_inferred(vit: Tensors) -> None:
    whole = deepened(vit)
    assert guess_name(whole) == "vit_tiny_patch16_224"
    with torch.device("meta"):
        assert guess_name(timm.create_model("vit_small_patch8_224.dino").state_dict()) == "vit_small_patch8_224"
    assert guess_name({key: value for key, value in whole.items() if not key.startswith("blocks.11.")}) == ""
    assert guess_name(create_backbone("resnet10t").model.state_dict()) == ""


class _Attack:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_malicious_pickle_is_refused_and_not_run(zipped: bool, vit: Tensors, tmp_path: Path) -> None:
    path = tmp_path / "evil.pth"
    torch.save({"model": vit, "args": _Attack(tmp_path / "hit")}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(WeightsError, match=r"evil\.pth: holds Python objects, which are never run: save") as caught:
        read_tensors(path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "hit").exists()


def test_numpy_numbers_run_nothing_of_numpy(tmp_path: Path) -> None:
    torch.save({"lr": np.float64(0.5), "model": {"a": torch.ones(1)}}, tmp_path / "n.pth")
    with pytest.raises(Exception, match="numpy"):
        torch.load(tmp_path / "n.pth", weights_only=True)  # plain torch.load fails
    assert read_tensors(tmp_path / "n.pth").keys() == {"a"}
    torch.save({"model": {"a": torch.ones(1)}, "x": np.ones(3)}, tmp_path / "array.pth")
    with pytest.raises(WeightsError, match="never run"):
        read_tensors(tmp_path / "array.pth")


@pytest.mark.parametrize("name", ["x.pth", "x.safetensors"])
def test_error_names_a_damaged_file(name: str, vit: Tensors, tmp_path: Path) -> None:
    path = tmp_path / name
    save_file(vit, path) if path.suffix == ".safetensors" else torch.save(vit, path)
    for content in (path.read_bytes()[:100_000], b"<html>404</html>", b""):
        path.write_bytes(content)
        with pytest.raises(WeightsError, match=f"{name}: not a ") as caught:
            read_tensors(path)
        assert "\n" not in str(caught.value)


def test_no_tensors_no_weights(tmp_path: Path) -> None:
    torch.save({"epoch": 3}, tmp_path / "empty.pth")
    with pytest.raises(WeightsError, match="holds no tensors"):
        read_tensors(tmp_path / "empty.pth")


def _without(tensors: Tensors, part: str) -> Tensors:
    return {key: value for key, value in tensors.items() if part not in key}


def _deeper(tensors: Tensors) -> Tensors:
    return tensors | {key.replace("blocks.0.", "blocks.12."): v for key, v in tensors.items() if "blocks.0." in key}


def _layer_scale(tensors: Tensors) -> Tensors:
    return tensors | {f"blocks.{block}.ls1.gamma": torch.ones(192) for block in range(2)}


WRONG: dict[str, tuple[Callable[[Tensors], Tensors], str]] = {
    "parts missing": (lambda t: _without(t, "mlp.fc2"), r"26 of 30 tensors fit .*missing: blocks\.0\.mlp\.fc2"),
    "deeper": (_deeper, r"30 of 30 tensors fit .*unexpected: blocks\.12\."),
    "with layer scale": (_layer_scale, r"unexpected: blocks\.0\.ls1\.gamma"),
    "another width": (
        lambda t: t | {"norm.weight": torch.ones(384)},
        r"29 of 30 .*wrong shape or type: norm\.weight",
    ),
    "whole numbers": (
        lambda t: t | {"norm.weight": torch.ones(192, dtype=torch.int8)},
        r"29 of 30 .*wrong shape or type: norm\.weight",
    ),
    "another patch": (
        lambda t: t | {"patch_embed.proj.weight": torch.ones(192, 3, 8, 8)},
        "patches are 8 px, those of",
    ),
    "something else": (lambda t: {"a": torch.ones(1)}, "0 of 30 tensors fit"),
}


@pytest.mark.parametrize("case", WRONG)
def test_weights_that_do_not_fit_are_refused(case: str, vit: Tensors, tmp_path: Path) -> None:
    change, message = WRONG[case]
    path = tmp_path / "w.pth"
    torch.save(change(vit), path)
    with pytest.raises(WeightsError, match=message) as caught:
        load_backbone(str(path), VIT)
    assert str(path) in str(caught.value)
    assert "--model" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_few_missing_tensors_are_counted_not_refused(vit: Tensors, tmp_path: Path) -> None:
    whole = {key: value for key, value in deepened(vit).items() if not key.startswith("norm.")}
    torch.save(whole, tmp_path / "w.pth")
    info = load_backbone(str(tmp_path / "w.pth"), "vit_tiny_patch16_224")[1]
    assert (info.matched, info.total) == (148, 150)
