import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from dinocli.config.preprocess import Preprocess
from dinocli.errors import UsageError, WeightsError
from dinocli.models.create import create_backbone, usual_size
from dinocli.models.timm_folder import save_backbone
from dinocli.models.tokens import Tokens
from dinocli.models.weights import load_backbone, sha256_of
from dinocli.models.weights_info import WeightsInfo
from tests import networks  # noqa: F401 - registers them in timm

VIT = "vit_tiny_patch16_224"
SHARED = Path(__file__).parents[2].parent / "shared"
# One each: learnt positions (timm takes the native size only), rotary positions, batch norm; and a size for timm.
NAMES = [
    ("vit_tiny_of_two_blocks", 224),
    pytest.param("dinov3_of_two_blocks", 80, marks=pytest.mark.slow),
    ("tf_efficientnet_lite0", 80),
]


def _preprocess(size: int = 224) -> Preprocess:
    return Preprocess(
        range_policy="minmax",
        range_low=12.0,
        range_high=4012.0,
        deep=True,
        grey=True,
        channels=(1,),
        page=2,
        mean=(0.1, 0.2, 0.3),
        std=(0.4, 0.5, 0.6),
        size=size,
        interpolation="bilinear",
    )


@pytest.mark.parametrize(("name", "side"), NAMES)
def test_a_saved_folder_is_the_same_network_in_timm_and_here(name: str, side: int, tmp_path: Path) -> None:
    backbone, info, _ = load_backbone("none", name)
    backbone.eval()
    folder = tmp_path / "runs" / "a" / "backbone"
    save_backbone(folder, backbone, replace(info, licence="apache-2.0", similarity_change=-0.25), _preprocess())
    assert sorted(path.name for path in folder.parent.iterdir()) == ["backbone"]  # no temporary files are left

    twin = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    again, found, stored = load_backbone(str(folder.parent), drop_path=0.1)
    again.eval()
    x = torch.randn(1, 3, side, side)
    small = torch.randn(1, 3, 96, 96)
    x = x if backbone.is_vit else x.to(memory_format=torch.channels_last)  # another order is rounded differently
    with torch.no_grad():
        assert torch.equal(twin(x), backbone(x))
        assert torch.equal(again(x), backbone(x))
        assert torch.equal(again(small), backbone(small))
    assert stored == _preprocess().to_dict()
    assert Preprocess.from_dict(stored) == _preprocess()
    assert found == WeightsInfo(
        name=name,
        source=str(folder.parent),
        sha256=sha256_of(folder / "model.safetensors"),
        licence="apache-2.0",
        matched=info.total,
        total=info.total,
        mean=(0.1, 0.2, 0.3),
        std=(0.4, 0.5, 0.6),
        size=256 if "dinov3" in name else 224,
        pretrained=True,
        pool="timm" if name == "tf_efficientnet_lite0" else "cls",
        model_args={"global_pool": "token", "use_fc_norm": False} if "dinov3" in name else {},
        similarity_change=-0.25,
    )
    data = timm.data.resolve_model_data_config(twin)
    assert list(data["mean"]) == [0.1, 0.2, 0.3]
    assert data["interpolation"] == "bilinear"


def test_a_weights_file_of_dinocli_needs_no_folder_beside_it(tmp_path: Path) -> None:
    backbone, info, _ = load_backbone("none", "test_resnet")
    save_backbone(tmp_path / "b", backbone, replace(info, similarity_change=-0.25), _preprocess(size=320))
    alone = (tmp_path / "b" / "model.safetensors").rename(tmp_path / "alone.safetensors")
    again, found, stored = load_backbone(str(alone), "test_resnet.r160_in1k")
    assert (found.name, found.size, found.mean, found.similarity_change) == ("test_resnet", 320, (0.1, 0.2, 0.3), -0.25)
    assert stored == _preprocess(size=320).to_dict()
    images = torch.rand(1, 3, 64, 64)
    assert torch.equal(again.eval()(images), backbone.eval()(images))
    with pytest.raises(WeightsError, match="holds test_resnet, not resnet18: leave out the name"):
        load_backbone(str(alone), "resnet18")


def test_a_swin_from_a_folder_still_takes_any_size(tmp_path: Path) -> None:
    name = "swin_tiny_patch4_window7_224"
    small = {"embed_dim": 24, "depths": [1, 2, 1, 1], "num_heads": [1, 2, 2, 4]}
    config = {"architecture": name, "model_args": small, "pretrained_cfg": {}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with torch.no_grad():
        assert create_backbone(name, folder=tmp_path)(torch.zeros(1, 3, 64, 64)).shape == (1, 192)


@pytest.mark.parametrize(
    ("name", "side", "usual"),
    [
        ("vit_small_patch14_dinov2", 518, 224),
        ("vit_base_patch14_reg4_dinov2.lvd142m", 518, 224),
        ("vit_small_patch14_dinov2", 98, 98),
        ("vit_so400m_patch14_siglip_378", 378, 378),
    ],
)
def test_dinov2_is_used_at_the_size_of_its_evaluation(name: str, side: int, usual: int) -> None:
    assert usual_size(name, side) == usual


def test_a_saved_convnet_has_the_image_size_of_its_run(tmp_path: Path) -> None:
    backbone, info, _ = load_backbone("none", "test_resnet")
    save_backbone(tmp_path / "b", backbone, info, _preprocess(size=320))
    assert load_backbone(str(tmp_path / "b"))[1].size == 320
    vit, info, _ = load_backbone("none", "vit_tiny_of_two_blocks")
    save_backbone(tmp_path / "v", vit, info, _preprocess(size=320))
    twin = timm.create_model(f"local-dir:{tmp_path / 'v'}", pretrained=True)
    assert torch.equal(twin.pos_embed, vit.model.pos_embed)  # not resampled by timm when loaded


def test_saving_again_replaces_and_a_failure_leaves_the_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "backbone"
    backbone, info, _ = load_backbone("none", "test_resnet")
    save_backbone(folder, backbone, info, _preprocess())
    (folder / "stale.txt").touch()
    with torch.no_grad():
        backbone.model.conv1[0].weight.zero_()
    save_backbone(folder, backbone, info, _preprocess())
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]
    assert load_file(folder / "model.safetensors")["conv1.0.weight"].abs().sum() == 0

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    before = sha256_of(folder / "model.safetensors")
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        save_backbone(folder, create_backbone("test_resnet"), info, _preprocess())
    assert sha256_of(folder / "model.safetensors") == before
    assert [path.name for path in tmp_path.iterdir()] == ["backbone"]


def test_none_gives_random_weights_and_a_message() -> None:
    backbone, info, stored = load_backbone("none", "test_resnet", drop_path=0.1)
    assert (info.name, info.source, info.licence) == ("test_resnet", "none", "unknown")
    assert (info.pretrained, info.matched, stored) == (False, 0, None)
    assert info.total == sum("num_batches" not in key for key in backbone.model.state_dict())
    assert len(info.sha256) == 64
    assert info.sha256 != load_backbone("none", "test_resnet")[1].sha256
    with pytest.raises(WeightsError, match="--model TIMM_NAME"):
        load_backbone("none")


def test_info_is_json() -> None:
    info = load_backbone("none", "resnet10t")[1]
    assert json.loads(json.dumps(info.to_dict())) == info.to_dict()
    assert info.to_dict()["mean"] == [0.485, 0.456, 0.406]


def test_a_file_has_its_own_hash_and_no_licence(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file(create_backbone("test_resnet").model.state_dict(), path)
    info = load_backbone(str(path), "test_resnet")[1]
    assert (info.source, info.sha256, info.licence) == (str(path.resolve()), sha256_of(path), "unknown")
    with pytest.raises(WeightsError, match=r"w\.safetensors: the shapes do not tell .*--model"):
        load_backbone(str(path))


@cache
def vit_tensors() -> dict[str, torch.Tensor]:
    tensors: dict[str, torch.Tensor] = create_backbone(VIT).model.state_dict()
    return tensors


@pytest.mark.parametrize(
    ("classifier", "name", "mean"),
    [(False, VIT, 0.485), (True, VIT, 0.5), (False, VIT + ".augreg_in21k_ft_in1k", 0.5), (False, "", 0.485)],
)
def test_a_vit_without_classifier_has_imagenets_mean(classifier: bool, name: str, mean: float, tmp_path: Path) -> None:
    tensors = vit_tensors()
    save_file(tensors | ({"head.weight": torch.ones(9, 192)} if classifier else {}), tmp_path / "w.safetensors")
    assert load_backbone(str(tmp_path / "w.safetensors"), name)[1].mean[0] == mean


@pytest.mark.parametrize("path", ["missing.pth", "./missing", "/no/such/folder", "a/b/c", "runs/x.safetensors"])
def test_a_missing_path_does_not_use_the_network(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dinocli.models.hub._answers", lambda url: pytest.fail("asked the network"))
    with pytest.raises(WeightsError, match=f"no such weights file or folder: {path}"):
        load_backbone(path)


def test_a_missing_run_lists_existing_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dinocli.models.hub._answers", lambda url: pytest.fail("asked the network"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WeightsError, match=rf"runs/mine \(in {tmp_path}\); check the path"):
        load_backbone("runs/mine")
    for name in ("steel-1", "cells", "empty"):
        (tmp_path / "runs" / name).mkdir(parents=True)
    for name in ("steel-1", "cells"):
        (tmp_path / "runs" / name / "run.json").touch()
    with pytest.raises(WeightsError, match=r"runs/steel-2 \(in /.*\); there are runs/steel-1, runs/cells$"):
        load_backbone("runs/steel-2")
    (tmp_path / "runs" / "w.pth").touch()
    with pytest.raises(WeightsError, match=r"runs/nope .*; there are .*runs/w.pth"):
        load_backbone("runs/nope")
    with pytest.raises(WeightsError, match=r"runs/a/b/c .*; check the path"):
        load_backbone("runs/a/b/c")


def test_an_unknown_home_directory_is_a_wrong_path() -> None:
    with pytest.raises(WeightsError, match=r"no such weights file or folder: ~nobody-here/w.pth"):
        load_backbone("~nobody-here/w.pth")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (None, "no readable config.json"),
        ("{", r"config\.json cannot be read"),
        ('{"a": 1}', "config.json is not timm's"),
        ('{"model_type": "bert"}', "a bert of the transformers library: give vit"),
        ('{"architecture": "resnet10t"}', "has no model.safetensors or pytorch_model.bin"),
        ('{"architecture": "resnet1000"}', "no model 'resnet1000'"),
        ('{"architecture": "resnet10t", "pretrained_cfg": {"ours": 1}}', r"of its config\.json cannot be built .*ours"),
    ],
)
def test_a_folder_that_is_not_timms_says_what_is_missing(config: str | None, message: str, tmp_path: Path) -> None:
    if config is not None:
        (tmp_path / "config.json").write_text(config)
        if "has no" not in message:
            save_file({"a": torch.ones(1)}, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match=message) as caught:
        load_backbone(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_an_unfinished_run_says_how_to_resume(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"status": "running"}')
    with pytest.raises(WeightsError, match="this run has not ended, it has no weights yet: continue with --resume"):
        load_backbone(str(tmp_path))


POOLED_BY_MEAN = [  # norm before and after pooling
    "dinov3_of_two_blocks",
    pytest.param("eva02_of_two_blocks", marks=pytest.mark.slow),
]


@pytest.mark.parametrize("name", POOLED_BY_MEAN)
@torch.no_grad()
def test_the_class_token_is_pooled_where_timm_pools_the_mean_beside_it(name: str, tmp_path: Path) -> None:
    """`--tokens cls` and attention maps use the class token, so it must be what is trained, here and in timm."""
    backbone, info, _ = load_backbone("none", name)
    backbone.eval()
    x = torch.randn(2, 3, *[224 if backbone.fixed_size else 64] * 2)
    assert (info.pool, backbone.pool_kind) == ("cls", "cls")
    assert torch.equal(backbone(x), Tokens("cls").compute(backbone, x))
    save_backbone(tmp_path / "b", backbone, info, _preprocess())
    twin = timm.create_model(f"local-dir:{tmp_path / 'b'}", pretrained=True).eval()
    assert torch.equal(twin(x), backbone(x))
    again, found, _ = load_backbone(str(tmp_path / "b"))
    assert (found.pool, found.model_args) == ("cls", info.model_args)
    assert torch.equal(again.eval()(x), backbone(x))


@torch.no_grad()
def test_the_other_pooling_can_be_selected(tmp_path: Path) -> None:
    name, x = "dinov3_of_two_blocks", torch.randn(2, 3, 64, 64)
    for pool in ("mean", "timm"):
        backbone, info, _ = load_backbone("none", name, pool=pool)
        assert (info.pool, info.model_args) == ("mean", {})
        torch.testing.assert_close(backbone.eval()(x), Tokens("mean").compute(backbone, x))
    backbone, info, _ = load_backbone("none", "vit_tiny_of_two_blocks", pool="mean")
    backbone.eval()
    torch.testing.assert_close(backbone(x), Tokens("mean").compute(backbone, x))
    save_backbone(tmp_path / "b", backbone, info, _preprocess())
    twin = timm.create_model(f"local-dir:{tmp_path / 'b'}", pretrained=True).eval()
    x = torch.randn(1, 3, 224, 224)
    assert torch.equal(twin(x), backbone(x))
    with pytest.raises(UsageError, match="resnet10t has no class token beside its mean"):
        load_backbone("none", "resnet10t", pool="cls")


def test_weights_whose_classifier_read_the_mean_keep_it(tmp_path: Path) -> None:
    """A fine-tuned EVA-02 was trained with mean pooling; so were older folders of dinocli, which do not state it."""
    name = "eva02_of_two_blocks"
    tensors = create_backbone(name).model.state_dict()
    save_file(tensors, tmp_path / "bare.safetensors")
    save_file(tensors | {"head.weight": torch.ones(9, 192)}, tmp_path / "tuned.safetensors")
    save_file(tensors | {"lm_head.weight": torch.ones(9, 192)}, tmp_path / "mim.safetensors")
    pools = {
        stem: load_backbone(str(tmp_path / f"{stem}.safetensors"), name)[1].pool for stem in ("bare", "tuned", "mim")
    }
    assert pools == {"bare": "cls", "tuned": "mean", "mim": "cls"}
    folder = tmp_path / "folder"
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors")
    config: dict[str, Any] = {"architecture": name, "pretrained_cfg": {}}
    for more, pool in (({}, "cls"), ({"num_classes": 1000}, "mean"), ({"dinocli": _preprocess().to_dict()}, "mean")):
        (folder / "config.json").write_text(json.dumps(config | more))
        assert load_backbone(str(folder))[1].pool == pool, more


def test_imagenet_weights_of_efficientnet_lite0_match() -> None:
    path = SHARED / "data" / "weights" / "tf_efficientnet_lite0_imagenet.safetensors"
    if not path.is_file():
        pytest.skip(f"no {path}")
    info = load_backbone(str(path), "tf_efficientnet_lite0")[1]
    assert (info.matched, info.total, info.mean) == (245, 245, (0.5, 0.5, 0.5))
