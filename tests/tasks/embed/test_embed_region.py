"""A region of interest in `embed`: what is read, recorded, taken by later commands, and where tiles lie."""

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dinocli.artifacts.feature_file import open_features
from dinocli.artifacts.feature_model import feature_model_of
from dinocli.errors import DataError, UsageError
from dinocli.models.timm_folder import save_backbone
from dinocli.models.weights import load_backbone
from dinocli.tasks.embed.embed import embed
from tests.tasks.embed.drive import job, write_images
from tests.tasks.embed.test_embed_setup import STORED

BOX = "6,4,32,30"


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Three images; in `cropped` their parts in the box."""
    folder = write_images(tmp_path / "images", 3)
    (tmp_path / "cropped").mkdir()
    for path in folder.iterdir():
        Image.open(path).crop((6, 4, 38, 34)).save(tmp_path / "cropped" / path.name)
    return folder


def _kept_weights(tmp_path: Path, roi: str) -> dict[str, Any]:
    backbone, info, _ = load_backbone("none", "test_convnext")
    about = replace(STORED, deep=False, range_policy="full", source="8-bit", size=32, roi=roi)
    save_backbone(tmp_path / "run" / "backbone", backbone, info, about)
    return {"weights": str(tmp_path / "run"), "model": "", "size": 0}


def test_features_are_those_of_the_part(images: Path, tmp_path: Path) -> None:
    embed(job(images, tmp_path / "box.npy", roi=BOX))
    embed(job(tmp_path / "cropped", tmp_path / "cropped.npy"))
    box, cropped = (np.load(tmp_path / f"{name}.npy") for name in ("box", "cropped"))
    np.testing.assert_array_equal(box, cropped)
    assert json.loads((tmp_path / "box.json").read_text())["preprocess"]["roi"] == BOX


def test_tiles_lie_on_the_whole_image(images: Path, tmp_path: Path) -> None:
    embed(job(images, tmp_path / "box.npy", roi=BOX, tile="16:0"))
    with (tmp_path / "box.tiles.csv").open(newline="") as file:
        first = next(csv.DictReader(file))
    assert [first[key] for key in ("left", "top", "width", "height")] == ["6", "4", "16", "16"]
    assert len(np.load(tmp_path / "box.npy")) == 3 * 2 * 2


def test_weights_and_feature_files_bring_their_region(images: Path, tmp_path: Path) -> None:
    of = _kept_weights(tmp_path, BOX)
    embed(job(images, tmp_path / "stored.npy", **of))
    embed(job(tmp_path / "cropped", tmp_path / "cropped.npy", roi="none", **of))
    np.testing.assert_array_equal(np.load(tmp_path / "stored.npy"), np.load(tmp_path / "cropped.npy"))
    embed(job(images, tmp_path / "ranged.npy", range="full", **of))
    assert json.loads((tmp_path / "ranged.json").read_text())["preprocess"]["roi"] == BOX, "another range, same region"
    like: dict[str, Any] = {"weights": "", "model": "", "size": 0, "like": str(tmp_path / "stored.npy")}
    embed(job(images, tmp_path / "like.npy", **like))
    np.testing.assert_array_equal(np.load(tmp_path / "stored.npy"), np.load(tmp_path / "like.npy"))
    query = feature_model_of(open_features(tmp_path / "stored.npy")).embed([images / "000.png"])
    np.testing.assert_allclose(query[0], np.load(tmp_path / "stored.npy")[0], rtol=1e-4, atol=1e-5)
    with pytest.raises(UsageError, match="--roi and --like"):
        embed(job(images, tmp_path / "no.npy", roi=BOX, **like))


def test_a_box_outside_the_images_is_one_line(images: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"the box --roi 40,0,32,30 leaves its 48x40 px"):
        embed(job(images, tmp_path / "no.npy", roi="40,0,32,30"))


def test_a_mask_leaves_out_patches_and_tiles(images: Path, tmp_path: Path) -> None:
    mask = np.zeros((40, 48), np.uint8)
    mask[:40, :48] = np.add.outer(np.arange(40), np.arange(48)) < 44  # a triangle of the whole height
    Image.fromarray(mask).save(tmp_path / "mask.png")
    roi = str(tmp_path / "mask.png")
    of = _kept_weights(tmp_path, "")
    for kind in ("mean", "pooled+rare"):
        embed(job(images, tmp_path / f"{kind}.npy", kind, roi=roi, **of))
        row = feature_model_of(open_features(tmp_path / f"{kind}.npy")).embed([images / "001.png"], names=["./001.png"])
        np.testing.assert_allclose(row[0], np.load(tmp_path / f"{kind}.npy")[1], rtol=1e-4, atol=1e-5)
        assert np.isfinite(row).all()
    embed(job(images, tmp_path / "patch.npy", "patch", roi=roi, size=64))
    empty = ~np.load(tmp_path / "patch.npy").any(axis=(0, 3))
    assert empty[-1, -1]
    assert not empty[0, 0]
    embed(job(images, tmp_path / "tiles.npy", roi=roi, tile="10:0"))
    tiles = open_features(tmp_path / "tiles.npy")
    shares = [mask[top : top + down, left : left + across].mean() for left, top, across, down in tiles.boxes or []]
    assert min(shares) >= 0.25
    assert len(shares) < 3 * 4 * 5
