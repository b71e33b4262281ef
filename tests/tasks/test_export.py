import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import timm
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from dinocli.engine.progress import ProgressReporter
from dinocli.errors import UsageError, WeightsError
from dinocli.models import export_graph as graph
from dinocli.models.export_graph import to_onnx, to_torchscript
from dinocli.models.weights import load_backbone
from dinocli.tasks.export.card import card_of
from dinocli.tasks.export.export import ExportOptions, export
from dinocli.tasks.export.source import Source, open_source
from tests.models.test_portable import CASES, REGISTERS, small


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    torch.manual_seed(0)
    save_file(timm.create_model("test_convnext").state_dict(), str(path))
    return str(path)


def source_of(weights: str, **more: Any) -> Source:
    return replace(open_source(weights, "test_convnext", ProgressReporter()), **more)


def tiny(weights: str, name: str, options: dict[str, Any], size: int) -> Source:
    """A transformer of one block, in the place of the convnet."""
    found = source_of(weights)
    return replace(found, backbone=small(name, options), preprocess=replace(found.preprocess, size=size))


def test_a_timm_folder_and_a_file_of_tensors_give_the_same(weights: str, tmp_path: Path) -> None:
    backbone, _, _ = load_backbone(weights, "test_convnext")
    images = torch.randn(2, 3, 96, 96)
    folder = export(ExportOptions(weights, "test_convnext", "timm", str(tmp_path / "folder")))
    file = export(ExportOptions(weights, "test_convnext", "safetensors", str(tmp_path / "f.safetensors")))
    plain = timm.create_model("test_convnext", num_classes=0)
    plain.load_state_dict(load_file(tmp_path / "f.safetensors"))
    with torch.no_grad():
        wanted = backbone.eval()(images)
        for model in (timm.create_model(f"local-dir:{folder.path}", pretrained=True), plain):
            torch.testing.assert_close(model.eval()(images), wanted, atol=1e-6, rtol=1e-6)
    with safe_open(file.path, "pt") as opened:
        about = opened.metadata()
    assert (about["architecture"], about["size"], about["range_policy"]) == ("test_convnext", "160", "full")
    assert about["mean"].startswith("[0.5")
    assert folder.card == tmp_path / "folder" / "README.md"
    assert 'timm.create_model("local-dir:folder"' in folder.card.read_text()


def test_onnx_of_a_transformer_with_registers_takes_any_batch_and_size(weights: str) -> None:
    source = tiny(weights, *REGISTERS, size=56)
    data, difference = to_onnx(source.backbone, source.preprocess.size, source.facts())
    assert difference < 1e-4
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    assert [output.name for output in session.get_outputs()] == ["pooled", "patches"]
    about = session.get_modelmeta().custom_metadata_map
    assert {"mean", "std", "size", "licence", "range_policy", "range_low", "range_high"} <= set(about)
    images = torch.randn(5, 3, 42, 112)
    with torch.no_grad():
        wanted = source.backbone.with_patches(images)
    for found, expected in zip(session.run(None, {"images": images.numpy()}), wanted, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")
@pytest.mark.parametrize("case", [CASES[0][:2], REGISTERS, ("test_convnext", {})], ids=lambda case: case[0])
def test_torchscript_takes_any_batch_and_size(weights: str, case: tuple[str, dict[str, Any]], tmp_path: Path) -> None:
    source = tiny(weights, *case, size=56 if case is REGISTERS else 64)
    data, difference = to_torchscript(source.backbone, source.preprocess.size, source.facts())
    assert difference < 1e-4
    (tmp_path / "m.pt").write_bytes(data)
    about = {"mean": "", "size": "", "licence": ""}
    load: Any = torch.jit.load
    script = load(str(tmp_path / "m.pt"), _extra_files=about)
    assert about["size"] in ("56", "64", b"56", b"64")
    images = torch.randn(3, 3, 2 * 112, 112)
    with torch.no_grad():
        for found, wanted in zip(script(images), source.backbone.with_patches(images), strict=True):
            torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)


def test_a_graph_that_gives_other_features_is_not_written(weights: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(graph, "rounding_tolerance", lambda model: -1.0)
    source = tiny(weights, *CASES[0][:2], size=64)
    with pytest.raises(WeightsError, match="differs from ours"):
        to_torchscript(source.backbone, source.preprocess.size, source.facts())


def test_a_missing_package_is_named(weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    out = tmp_path / "m.onnx"
    with pytest.raises(WeightsError, match=r"onnxruntime: pip install 'dinocli\[onnx\]'"):
        export(ExportOptions(weights, "test_convnext", "onnx", str(out)))
    assert not out.exists()


def test_outputs_that_are_there_and_formats_that_are_not(weights: str, tmp_path: Path) -> None:
    out = tmp_path / "f.safetensors"
    out.write_bytes(b"mine")
    with pytest.raises(UsageError, match="--force"):
        export(ExportOptions(weights, "test_convnext", "safetensors", str(out)))
    assert out.read_bytes() == b"mine"
    export(ExportOptions(weights, "test_convnext", "safetensors", str(out), force=True))
    with pytest.raises(UsageError, match="is a file"):
        export(ExportOptions(weights, "test_convnext", "timm", str(out), force=True))
    with pytest.raises(UsageError, match="'tflite' is not known"):
        export(ExportOptions(weights, "test_convnext", "tflite", str(tmp_path / "x")))


def test_names_of_others_do_not_format_the_card(weights: str) -> None:
    manifest = {
        "weights": {"source": "a|b](http://hub.invalid)\n# boo", "sha256": "0"},
        "root": "<script>",
        "outcome": None,
    }
    card = card_of(source_of(weights, manifest=manifest), "timm", "x|y", 0.0)
    assert "<script>" not in card
    assert "\n# boo" not in card
    assert "a\\|b\\](http" in card


def test_padding_by_size_keeps_one_size() -> None:
    assert graph.has_one_size(small("tf_efficientnet_lite0", {}))
    assert not graph.has_one_size(small("test_efficientnet", {}))
