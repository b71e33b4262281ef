"""How images are read: as the weights were trained, if they know how, or as a training on these images would."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from dinocli.artifacts.run_folder import RunFolder, mark_latest
from dinocli.augment.resample import normalise, resize_square
from dinocli.config.preprocess import Preprocess
from dinocli.data.read import Reader
from dinocli.errors import DataError, UsageError, WeightsError
from dinocli.models.create import create_backbone
from dinocli.models.timm_folder import save_backbone
from dinocli.models.weights import load_backbone
from dinocli.tasks.embed import embed_setup
from dinocli.tasks.embed.embed import embed
from tests import networks  # noqa: F401 - timm has to know them
from tests.data.hostile import write_bombs
from tests.tasks.drive import Ears
from tests.tasks.embed.drive import job, write_images

STORED = Preprocess("fixed", 0.0, 40_000.0, True, True, (), 0, (0.4, 0.5, 0.6), (0.2, 0.3, 0.4), 64)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """Weights of ours, trained on bright 16-bit images at 64 px."""
    torch.manual_seed(3)
    backbone, info, _ = load_backbone("none", "test_convnext")
    save_backbone(tmp_path / "run" / "backbone", backbone, info, STORED)
    return tmp_path / "run"


@pytest.fixture
def dark(tmp_path: Path) -> Path:
    folder = tmp_path / "dark"
    folder.mkdir()
    pixels = np.random.default_rng(0)
    for number in range(3):
        Image.fromarray(pixels.integers(0, 1000, (50, 60), dtype=np.uint16)).save(folder / f"{number}.png")
    return folder


def expected(folder: Path, about: Preprocess) -> np.ndarray:
    torch.manual_seed(3)
    backbone = create_backbone("test_convnext").eval()
    rows = []
    for path in sorted(folder.iterdir()):
        canvas = torch.from_numpy(Reader(about, 448).full(str(path)))[None]
        square = resize_square(canvas, torch.tensor([canvas.shape[2:]]), about.size)
        with torch.no_grad():
            rows.append(backbone(normalise(square, about.mean, about.std))[0].numpy())
    return np.array(rows)


def test_a_dark_folder_stays_dark(weights: Path, dark: Path, tmp_path: Path) -> None:
    out = tmp_path / "feats.npy"
    embed(job(dark, out, weights=str(weights), model="", size=0))
    np.testing.assert_allclose(np.load(out), expected(dark, STORED), rtol=1e-4, atol=1e-5)
    assert json.loads(out.with_suffix(".json").read_text())["preprocess"] == STORED.to_dict()


def test_the_user_may_want_another_range_and_size(weights: Path, dark: Path, tmp_path: Path) -> None:
    out = tmp_path / "feats.npy"
    embed(job(dark, out, weights=str(weights), model="", size=32, range="fixed:0,1000"))
    about = replace(STORED, range_high=1000.0, size=32)
    np.testing.assert_allclose(np.load(out), expected(dark, about), rtol=1e-4, atol=1e-5)
    assert not np.allclose(np.load(out), expected(dark, replace(STORED, size=32)), rtol=1e-2)


@pytest.mark.parametrize("tokens", ["pooled", "rare"])
def test_a_size_that_a_network_cannot_take_is_named(dark: Path, tmp_path: Path, tokens: str) -> None:
    with pytest.raises(WeightsError, match=r"cannot compute images of 16 px .* use another --size"):
        embed(job(dark, tmp_path / "f.npy", tokens, size=16))


def test_nodata_and_what_was_assumed_reach_the_features_and_the_user(weights: Path, tmp_path: Path) -> None:
    holed = np.random.default_rng(0).integers(1000, 2000, (50, 60), dtype=np.uint16)
    holed[:20] = 65535
    (tmp_path / "in").mkdir()
    tifffile.imwrite(tmp_path / "in" / "a.tif", np.stack([holed, holed]), photometric="minisblack")
    heard = Ears()
    embed(job(tmp_path / "in", tmp_path / "a.npy", weights=str(weights), model="", range="auto"), heard)
    assert [warning.split()[0] for warning in heard.warnings] == ["65535", "1"]
    heard = Ears()
    read: dict[str, Any] = {"nodata": (65535.0,), "page": 1, "range": "auto"}
    embed(job(tmp_path / "in", tmp_path / "b.npy", weights=str(weights), model="", **read), heard)
    assert heard.warnings == []
    about = json.loads((tmp_path / "b.json").read_text())["preprocess"]
    assert (about["nodata"], about["page"], about["source"]) == ([65535.0], 1, "deep integer")
    assert about["range_high"] < 2048
    heard = Ears()
    embed(job(tmp_path / "in", tmp_path / "c.npy", weights=str(weights), model=""), heard)
    assert [warning.split()[:4] for warning in heard.warnings] == [["1", "of", "1", "files"]], "of stored settings too"


def test_the_stored_range_stays_unless_another_is_asked_for(weights: Path, dark: Path, tmp_path: Path) -> None:
    heard = Ears()
    embed(job(dark, tmp_path / "a.npy", weights=str(weights), model="", size=0, page=0, nodata=(7.0,)), heard)
    about = json.loads((tmp_path / "a.json").read_text())["preprocess"]
    assert about == replace(STORED, nodata=(7.0,)).to_dict()
    assert "images are read as these weights were trained except --nodata" in heard.lines
    embed(job(dark, tmp_path / "b.npy", weights=str(weights), model="", channels=(0,)), heard)
    about = json.loads((tmp_path / "b.json").read_text())["preprocess"]
    assert (about["range_policy"], about["range_high"]) == ("fixed", 40_000), "asked for in training, not measured"


def test_the_range_of_other_channels_is_measured(tmp_path: Path, dark: Path) -> None:
    torch.manual_seed(3)
    backbone, info, _ = load_backbone("none", "test_convnext")
    save_backbone(tmp_path / "run" / "backbone", backbone, info, replace(STORED, range_policy="minmax"))
    heard = Ears()
    embed(job(dark, tmp_path / "a.npy", weights=str(tmp_path / "run"), model="", channels=(0,)), heard)
    assert json.loads((tmp_path / "a.json").read_text())["preprocess"]["range_high"] < 1100
    assert "--channels are not those of these weights: the range is measured again" in heard.lines


def test_a_bad_image_is_named_where_the_table_of_all_is_thrown_away(weights: Path, dark: Path, tmp_path: Path) -> None:
    (dark / "x.png").write_bytes(b"no image")
    heard = Ears()
    embed(job(dark, tmp_path / "f.npy", weights=str(weights), model="", note=False, max_bad="50%"), heard)
    assert heard.warnings == ["1 image cannot be read; the first is ./x.png: not an image in a known format"]


def test_weights_of_a_run_hear_of_the_file(weights: Path, dark: Path, tmp_path: Path) -> None:
    run = RunFolder(weights)
    run.write({"inputs": [str(dark)], "status": "finished"})
    for name, note in (("one.npy", True), ("hidden.npy", False), ("two.npy", True)):
        embed(job(dark, tmp_path / name, weights=str(weights), model="", note=note))
    assert [Path(made["path"]).name for made in run.read()["outputs"]] == ["one.npy", "two.npy"]


def test_images_of_a_run_that_came_on_stdin_have_to_be_named(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    RunFolder(weights).write({"inputs": ["-"], "status": "finished"})
    mark_latest(RunFolder(weights))
    with pytest.raises(DataError, match="came on stdin and cannot be read again: name them"):
        embed(replace(job(tmp_path, tmp_path / "feats.npy", weights="", model=""), inputs=()))


def test_channels_and_pages_are_those_asked_for(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    frames = [np.random.default_rng(seed).integers(0, 256, (40, 40, 3), dtype=np.uint8) for seed in range(2)]
    first, second = (Image.fromarray(frame) for frame in frames)
    first.save(folder / "a.tif", save_all=True, append_images=[second])
    embed(job(folder, tmp_path / "asked.npy", channels=(1,), page=1))
    Image.fromarray(frames[1][..., 1]).save(folder / "a.tif")
    embed(job(folder, tmp_path / "same.npy"))
    np.testing.assert_allclose(np.load(tmp_path / "asked.npy"), np.load(tmp_path / "same.npy"), rtol=1e-5, atol=1e-5)


def test_half_precision_is_used_and_recorded(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "images", 3)
    for precision in ("fp32", "bf16"):
        embed(job(folder, tmp_path / f"{precision}.npy", precision=precision))
    full, half = np.load(tmp_path / "fp32.npy"), np.load(tmp_path / "bf16.npy")
    assert not np.array_equal(full, half)
    assert np.abs(full - half).max() < 0.05 * np.abs(full).max()
    assert json.loads((tmp_path / "bf16.json").read_text())["precision"] == "bf16"


def test_a_size_that_the_model_does_not_take_is_refused_first(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "images", 1)
    with pytest.raises(UsageError, match="100x100 px is not a multiple of the 16-px patches"):
        embed(job(folder, tmp_path / "feats.npy", model="vit_tiny_patch16_224", size=100))
    assert [path.name for path in tmp_path.iterdir()] == ["images"]


def test_a_folder_of_bombs_costs_no_more_than_its_rows(weights: Path, tmp_path: Path) -> None:
    bombs = write_bombs(tmp_path / "in")
    write_images(tmp_path / "in", 2)
    found = embed(job(tmp_path / "in", tmp_path / "a.npy", weights="none", model="test_convnext", max_bad="100%"))
    assert found is not None
    assert (found.images, found.bad) == (len(bombs) + 2, len(bombs) - 2)
    named = (tmp_path / "a.bad.csv").read_text()
    assert all(path.name in named for path in bombs if path.name not in ("circle.tif", "tags.tif"))


def test_a_size_that_nobody_asked_for_is_said(tmp_path: Path) -> None:
    torch.manual_seed(0)
    backbone, info, _ = load_backbone("none", "vit_tiny_of_two_blocks")
    save_backbone(tmp_path / "weights", backbone, info, replace(STORED, size=64))
    images = write_images(tmp_path / "images", 2)
    for size, said in (
        (0, "images are resized to 64 px, the position embedding is of 224 px: --size changes it"),
        (32, ""),
    ):
        heard = Ears()
        out = tmp_path / f"{size}.npy"
        embed(job(images, out, "pooled", weights=str(tmp_path / "weights"), model="", size=size), heard)
        assert [line for line in heard.lines if "position" in line] == ([said] if said else [])


@pytest.mark.parametrize(("kind", "layers"), [("cls", 1), ("auto", 99)])
def test_tokens_that_a_model_has_not_are_refused_before_images_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, layers: int
) -> None:
    folder = write_images(tmp_path / "images", 4)
    monkeypatch.setattr(embed_setup, "survey_images", None)
    with pytest.raises(WeightsError, match=r"no class token|fewer than --layers 99"):
        embed(job(folder, tmp_path / "f.npy", kind, layers))
