"""Outputs that would replace an input, or a part of another result, are refused even with `--force`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dinocli.artifacts.protected_files import check_free
from dinocli.config.load import load_recipe
from dinocli.errors import UsageError
from dinocli.report.sheet import sheet_png
from dinocli.tasks.classify.classify_options import ClassifyOptions
from dinocli.tasks.cluster.cluster_options import ClusterOptions
from dinocli.tasks.embed.embed_options import EmbedOptions
from dinocli.tasks.evaluate.evaluate_options import EvaluateOptions
from dinocli.tasks.export.export_options import ExportOptions
from dinocli.tasks.segment.segment_options import MaskOutputs, SegmentOptions
from dinocli.tasks.train.train_options import TrainOptions


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with images, features, weights, a run, masks and a detector."""
    monkeypatch.chdir(tmp_path)
    for name in (
        *("images/a.png", "images/b/c.png", "images/x.npy", "list.txt", "w.safetensors", "truth.png", "good/a.png"),
        *("g.npy", "g.paths.txt", "g.json", "g.rare.safetensors", "g.index.safetensors", "labels.csv"),
        *("run/run.json", "run/recipe.toml", "run/report.html", "run/backbone/model.safetensors", "run/groups.csv"),
        *("timm/config.json", "timm/model.safetensors", "masks/segment.json", "masks/masks/a.png"),
        *("detector/detector.json", "detector/backbone/model.safetensors", "groups/.dinocli-cluster", "groups/0/a.png"),
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("mine")
    (tmp_path / "g.json").write_text('{"root": "images"}')
    (tmp_path / "list.txt").write_text("images/b/c.png\n")
    return tmp_path


def cluster(*inputs: str, **more: Any) -> Callable[[], None]:
    return ClusterOptions(inputs, **{"out": "new.csv", **more}, force=True).check_outputs


def segment(**more: Any) -> Callable[[], None]:
    options = SegmentOptions(("images",), **{"out": "masks", **more}, force=True)

    def check() -> None:
        options.check_outputs()
        options.check_detector()

    return check


def embed(*inputs: str, **more: Any) -> Callable[[], None]:
    return EmbedOptions(inputs or ("images",), **{"weights": "w.safetensors", **more}, force=True).check


def train(*settings: str, out: str = "run") -> Callable[[], None]:
    return TrainOptions(("images",), load_recipe((), settings), out=out, force=True).check_out


REFUSED = {
    "metadata of the input": cluster("g.npy", coco="g.json"),
    "metadata of the newest features": cluster(coco="g.json"),
    "a table as metadata": cluster("g.npy", out="g.json"),
    "names of the rows": cluster("g.npy", out="g.paths.txt"),
    "tiles of features without tiles": cluster("g.npy", out="g.tiles.csv"),
    "a page as fitted state": cluster("g.npy", report="g.rare.safetensors"),
    "index of the features": cluster("g.npy", report="g.index.safetensors"),
    "an image of the folder": cluster("images", sheet="images/a.png"),
    "an image below the folder": cluster("images", sheet="images/b/c.png"),
    "an image of a pattern": cluster("images/*/*.png", sheet="images/b/c.png"),
    "an image of a list": cluster("@list.txt", sheet="images/b/c.png"),
    "an image of the features": cluster("g.npy", sheet="images/a.png"),
    "the list": cluster("@list.txt", out="list.txt"),
    "the weights": cluster("images", weights="w.safetensors", out="w.safetensors"),
    "the report of a run": cluster("images", weights="w.safetensors", report="run/report.html"),
    "a folder with the input": cluster("groups", weights="w.safetensors", link_dir="groups"),
    "the input below the folder": cluster("groups/0", weights="w.safetensors", link_dir="groups"),
    "weights of embed": embed(out="w.safetensors"),
    "features with the fit": embed(like="g.npy", weights="", out="g.npy"),
    "an array that is an image": embed(out="images/x.npy"),
    "names that are the list": embed("@g.paths.txt", out="g.npy"),
    "weights of a run": embed(out="run/backbone/model.safetensors"),
    "weights as features": embed(weights="timm", out="timm/model.safetensors"),
    "table of labels": ClassifyOptions(("g.npy",), labels=("labels.csv",), out="labels.csv", force=True).check_outputs,
    "a classifier as fit": ClassifyOptions(
        ("g.npy",), labels=("labels.csv",), save="g.rare.safetensors", force=True
    ).check_outputs,
    "baseline of evaluate": EvaluateOptions(("g.npy",), baseline="timm", report="timm/config.json", force=True).check,
    "backbone of the run": ExportOptions("run", out="run/backbone", force=True).check,
    "backbone of another run": ExportOptions("w.safetensors", out="run/backbone", force=True).check,
    "exported weights": ExportOptions("timm", out="timm", force=True).check,
    "a graph over the weights": ExportOptions("w.safetensors", format="onnx", out="w.safetensors", force=True).check,
    "run.json": lambda: check_free([Path("run/run.json")], force=True, inputs=["run"]),
    "true masks": segment(truth="masks/masks"),
    "good images": segment(reference="masks/masks"),
    "an image as COCO": segment(outputs=MaskOutputs(coco="images/a.png")),
    "weights in the detector": segment(weights="detector/backbone", save_detector="detector", method="anomaly"),
    "start weights of the run": train("model.weights=run"),
    "start weights in the run": train("model.weights=run/backbone"),
    "teacher of the run": train("model.weights=none", "model.teacher=run"),
}


@pytest.mark.parametrize("check", REFUSED.values(), ids=REFUSED.keys())
def test_no_force_replaces_an_input_or_a_part_of_a_result(home: Path, check: Callable[[], None]) -> None:
    with pytest.raises(UsageError, match=r"is an input|is an image of|is a part of|holds the input") as refused:
        check()
    assert "choose another --" in str(refused.value)


ALLOWED = {
    "a table beside the features": cluster("g.npy", out="g.csv"),
    "a new picture in the folder": cluster("images", sheet="images/new.png"),
    "an older sheet in the folder": cluster("images", sheet="images/sheet.png"),
    "a picture elsewhere": cluster("images", sheet="truth.png"),
    "a table in a run": cluster("images", weights="run", out="run/groups.csv"),
    "features in the folder": embed(out="images/feats.npy"),
    "COCO beside a table of labels": ClassifyOptions(
        ("g.npy",), labels=("labels.csv",), coco="labels.json", force=True
    ).check_outputs,
    "an exported folder": ExportOptions("run", out="timm", force=True).check,
    "masks beside the input": segment(),
    "a detector again": segment(save_detector="detector", method="anomaly"),
    "a run again": train("model.weights=none"),
}


@pytest.mark.parametrize("check", ALLOWED.values(), ids=ALLOWED.keys())
def test_force_replaces_what_the_command_wrote_before(home: Path, check: Callable[[], None]) -> None:
    picture = np.zeros((4, 4, 3), np.uint8)
    (home / "images" / "sheet.png").write_bytes(sheet_png([[picture]], column_labels=["a"], row_labels=[""]))
    for name in ("images/feats.npy", "images/feats.paths.txt", "labels.json"):
        (home / name).write_text("")
    check()


def test_a_sheet_is_known_by_its_header_and_stays_an_image(tmp_path: Path) -> None:
    path = tmp_path / "sheet.png"
    path.write_bytes(sheet_png([[np.zeros((4, 4, 3), np.uint8)]], column_labels=["a"], row_labels=[""]))
    with Image.open(path) as sheet:
        assert sheet.info["Software"] == "dinocli"


def test_outputs_replace_neither_one_another_nor_an_input(tmp_path: Path) -> None:
    one, other = tmp_path / "a.csv", tmp_path / "b.csv"
    check_free([one, other], force=False, inputs=["-", "@list.txt", "vit_tiny"])
    with pytest.raises(UsageError, match=r"a\.csv is an input or another output"):
        check_free([one, other, tmp_path / "x" / ".." / "a.csv"], force=True)
    other.write_text("mine")
    (tmp_path / "link.csv").symlink_to(other)
    with pytest.raises(UsageError, match=r"b\.csv is an input or another output"):
        check_free([one, other], force=True, inputs=[str(tmp_path / "link.csv")])
    with pytest.raises(UsageError, match="--force"):
        check_free([one, other], force=False)
