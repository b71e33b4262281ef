import io
import json
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

from dinocli.artifacts.feature_differences import check_comparable
from dinocli.artifacts.feature_file import open_features
from dinocli.artifacts.feature_model import load_like
from dinocli.augment.resample import normalise, resize_square
from dinocli.errors import DataError, UsageError, WeightsError
from dinocli.models.create import create_backbone
from dinocli.models.features import compute_features
from dinocli.tasks.embed import forward_pass
from dinocli.tasks.embed.embed import embed
from dinocli.tasks.embed.embed_options import EmbedOptions
from dinocli.tasks.embed.merge_shards import merge
from dinocli.tasks.feature_inputs import embed_temporarily
from dinocli.tasks.inputs import ReadOptions
from tests.data.test_georeference import KEYS, SCALE, TIEPOINT, UTM33, geotiff
from tests.tasks.drive import Ears
from tests.tasks.embed.drive import job, write_images


def test_rows_are_what_the_model_says_about_each_image_alone(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "images", 6, mixed=True)
    outcome = embed(job(folder, tmp_path / "feats.npy"))
    torch.manual_seed(0)
    backbone = create_backbone("test_convnext").eval()
    mean, std = backbone.model.pretrained_cfg["mean"], backbone.model.pretrained_cfg["std"]
    expected = []
    for path in sorted(folder.iterdir()):
        pixels = torch.from_numpy(np.array(Image.open(path)))[None, None]
        square = resize_square(pixels, torch.tensor([pixels.shape[2:]]), 32)
        with torch.no_grad():
            expected.append(backbone(normalise(square, mean, std))[0].numpy())
    found = open_features(tmp_path / "feats.npy")
    np.testing.assert_allclose(found.rows, expected, rtol=1e-5, atol=1e-5)
    assert found.names == [f"./{number:03}.png" for number in range(6)]
    assert (outcome.rows, outcome.shape, outcome.images, outcome.bad) == (6, (64,), 6, 0)
    assert {path.name for path in tmp_path.iterdir()} == {"images", "feats.npy", "feats.json", "feats.paths.txt"}


def test_tiles_of_geotiff_name_their_place(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    tags = {SCALE: (10.0, 10.0, 0.0), TIEPOINT: (0.0, 0.0, 0.0, 500_000.0, 4_600_000.0, 0.0), KEYS: UTM33}
    geotiff(tmp_path / "images" / "a.tif", tags)
    geotiff(tmp_path / "images" / "b.tif", {})
    embed(job(tmp_path / "images", tmp_path / "feats.npy", tile="40:0"))
    lines = (tmp_path / "feats.tiles.csv").read_text().splitlines()
    assert lines[0] == "path,left,top,width,height,x1,y1,x2,y2,crs"
    assert lines[2] == "./a.tif,20,0,40,40,500200.0,4600000.0,500600.0,4599600.0,EPSG:32633"
    assert lines[3] == "./b.tif,0,0,40,40,,,,,"
    assert open_features(tmp_path / "feats.npy").boxes == [(0, 0, 40, 40), (20, 0, 40, 40)] * 2


def test_rows_of_zeros_get_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forward_pass, "compute_features", lambda *args, **more: 0 * compute_features(*args, **more))
    heard = Ears()
    embed(job(write_images(tmp_path / "images", 3), tmp_path / "feats.npy"), heard)
    assert "3 rows are zero, so these images are similar to no other; use a larger --size" in heard.warnings


def test_more_shards_than_images_are_refused(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "images", 2)
    with pytest.raises(UsageError, match=r"--shard 0/3: there are 2 images for 3 parts"):
        embed(job(folder, tmp_path / "feats.npy", shard="0/3"))


@pytest.mark.parametrize("tile", ["", "24:0"])
def test_unreadable_images_of_shards_are_left_out_by_the_merge(tmp_path: Path, tile: str) -> None:
    folder = write_images(tmp_path / "images", 6)
    (folder / "001.png").write_bytes(b"no image")
    (folder / "004.png").write_bytes((folder / "004.png").read_bytes()[:200])  # the header says how many tiles
    embed(job(folder, tmp_path / "whole.npy", tile=tile, max_bad="50%"))
    for shard in (0, 1):
        embed(job(folder, tmp_path / "parts.npy", tile=tile, max_bad="50%", shard=f"{shard}/2"))
    part = open_features(tmp_path / "parts.0of2.npy")
    assert np.isnan(part.rows[[name == "./001.png" for name in part.names]]).all()
    merge(str(tmp_path / "parts.npy"))
    whole, merged = (open_features(tmp_path / name) for name in ("whole.npy", "parts.npy"))
    np.testing.assert_allclose(merged.rows, whole.rows, rtol=1e-5, atol=1e-5)
    assert (merged.names, merged.boxes, merged.meta["bad"]) == (whole.names, whole.boxes, 2)


def test_the_limit_of_unreadable_images_is_that_of_all_shards(tmp_path: Path) -> None:
    folder, heard = write_images(tmp_path / "images", 6), Ears()
    for name in ("000.png", "001.png", "002.png"):
        (folder / name).write_bytes(b"no image")
    for shard in (0, 1):
        embed(job(folder, tmp_path / "f.npy", shard=f"{shard}/2", range="full"))
    assert np.isnan(open_features(tmp_path / "f.0of2.npy").rows).all()
    with pytest.raises(DataError, match="at least 3 of 6 images cannot be read, --max-bad 10% allows 0"):
        merge(str(tmp_path / "f.npy"))
    assert not (tmp_path / "f.npy").exists()
    merge(str(tmp_path / "f.npy"), max_bad="3", reporter=heard)
    assert open_features(tmp_path / "f.npy").names == ["./003.png", "./004.png", "./005.png"]
    assert heard.warnings == [f"3 images cannot be read; they are named in {tmp_path / 'f.bad.csv'}"]


@pytest.mark.parametrize(
    ("names", "warns"), [(["000", "001", "002"], 0), (["001", "000", "002"], 1), (["000", "000", "001"], 1)]
)
@pytest.mark.parametrize("way", ["-", "@list.txt", "arguments"])
def test_rows_on_stdout_that_are_not_in_the_order_of_a_list_get_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: list[str], warns: int, way: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_images(Path("images"), 3)
    paths = [f"images/{name}.png" for name in names]
    text = "\n".join(paths)
    Path("list.txt").write_text(text)
    heard, asked = Ears(), job(Path("images"), Path("-"))
    asked = replace(asked, inputs=tuple(paths) if way == "arguments" else (way,))
    embed(asked, heard, io.BytesIO(text.encode()), io.BytesIO())
    assert sum("rows are in the sorted order of the distinct image names" in line for line in heard.warnings) == warns


def test_a_folder_on_stdout_gets_no_warning_of_its_order(tmp_path: Path) -> None:
    heard = Ears()
    embed(job(write_images(tmp_path / "images", 3), Path("-")), heard, None, io.BytesIO())
    assert not heard.warnings


def test_only_rows_of_unreadable_images_have_no_tile(tmp_path: Path) -> None:
    embed(job(write_images(tmp_path / "images", 2), tmp_path / "feats.npy", tile="24:0"))
    tiles = tmp_path / "feats.tiles.csv"
    lines = tiles.read_text().splitlines()
    tiles.write_text("\n".join([*lines[:-1], "./001.png,0,0,0,0"]))
    with pytest.raises(WeightsError, match="a tile has no area"):
        open_features(tmp_path / "feats.npy")


def test_tar_shards_give_the_rows_of_their_folder(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "images", 5, mixed=True)
    for shard in (0, 1):
        with tarfile.open(tmp_path / f"{shard}.tar", "w") as archive:
            for path in sorted(folder.iterdir())[shard::2]:
                archive.add(path, path.name)
    embed(job(folder, tmp_path / "folder.npy"))
    embed(job(tmp_path / "*.tar", tmp_path / "shards.npy"))
    found = open_features(tmp_path / "shards.npy")
    assert found.names == [f"./{n % 2}.tar/{n:03}.png" for n in (0, 2, 4, 1, 3)]
    np.testing.assert_allclose(found.rows, np.load(tmp_path / "folder.npy")[[0, 2, 4, 1, 3]], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("changed", [{"batch_size": 1}, {"batch_size": 64}, {"workers": 1}, {"workers": 2}])
def test_rows_do_not_depend_on_batches_and_threads(tmp_path: Path, changed: dict[str, Any]) -> None:
    folder = write_images(tmp_path / "images", 11, mixed=True)
    for name, more in (("usual", {}), ("other", changed)):
        embed(job(folder, tmp_path / f"{name}.npy", **more))
    usual, other = (np.load(tmp_path / f"{name}.npy") for name in ("usual", "other"))
    np.testing.assert_allclose(other, usual, rtol=1e-5, atol=1e-5)
    assert (tmp_path / "usual.paths.txt").read_text() == (tmp_path / "other.paths.txt").read_text()


def test_a_bad_image_drops_its_row(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "images", 9)
    embed(job(folder, tmp_path / "good.npy"))
    for number in (0, 1, 2, 3, 7):  # a whole batch, and one in the middle
        (folder / f"{number:03}.png").write_bytes(b"no image")
    outcome = embed(job(folder, tmp_path / "feats.npy", max_bad="60%"))
    found = open_features(tmp_path / "feats.npy")
    assert found.names == [f"./{number:03}.png" for number in (4, 5, 6, 8)]
    np.testing.assert_allclose(found.rows, np.load(tmp_path / "good.npy")[[4, 5, 6, 8]], rtol=1e-5, atol=1e-5)
    bad = (tmp_path / "feats.bad.csv").read_text().splitlines()
    assert bad[0] == "path,reason"
    assert [line.split(",")[0] for line in bad[1:]] == [f"./{number:03}.png" for number in (0, 1, 2, 3, 7)]
    assert (outcome.rows, outcome.bad) == (4, 5)
    with pytest.raises(DataError, match="--max-bad 10% allows 0"):
        embed(job(folder, tmp_path / "other.npy"))
    assert not (tmp_path / "other.npy").exists()


def test_existing_features_are_not_overwritten(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "images", 2)
    (tmp_path / "feats.npy").write_text("mine")
    with pytest.raises(UsageError, match=r"feats\.npy already exists; add --force"):
        embed(job(folder, tmp_path / "feats.npy"))
    assert (tmp_path / "feats.npy").read_text() == "mine"
    embed(job(folder, tmp_path / "feats.npy", force=True))
    assert len(np.load(tmp_path / "feats.npy")) == 2


def test_the_record_says_how_the_numbers_were_made(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "images", 2)
    embed(job(folder, tmp_path / "feats.npy", kind="mean", normalize=True))
    meta = json.loads((tmp_path / "feats.json").read_text())
    assert (meta["schema"], meta["kind"], meta["n"], meta["dim"]) == (1, "features", 2, 64)
    assert (meta["tokens"], meta["layers"], meta["normalized"], meta["precision"]) == ("mean", 1, True, "fp32")
    assert meta["preprocess"]["size"] == 32
    assert meta["preprocess"]["grey"] is True
    assert len(meta["weights"]["sha256"]) == 64
    assert meta["weights"]["licence"] == "unknown"
    assert meta["root"] == str(folder)
    assert {"torch", "timm", "dinocli"} <= set(meta["versions"])
    np.testing.assert_allclose(np.linalg.norm(np.load(tmp_path / "feats.npy"), axis=1), 1, rtol=1e-6)


def test_temporary_features_are_those_of_embed(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "images", 3)
    embed(job(folder, tmp_path / "feats.npy", precision="auto"))
    found = embed_temporarily(job(folder, tmp_path / "unused.npy", precision="auto"))
    assert not (tmp_path / "unused.npy").exists()
    np.testing.assert_array_equal(found.flat(), np.load(tmp_path / "feats.npy"))
    assert found.names == ["./000.png", "./001.png", "./002.png"]
    assert found.image(1) == folder / "001.png"


def test_later_features_take_the_precision_of_the_first(tmp_path: Path) -> None:
    folder, half, whole = write_images(tmp_path / "in", 5), tmp_path / "half.npy", tmp_path / "whole.npy"
    torch.manual_seed(0)
    save_file(timm.create_model("test_convnext").state_dict(), str(tmp_path / "w.safetensors"))
    for path, precision in ((half, "bf16"), (whole, "auto")):
        embed(job(folder, path, "pooled", weights=str(tmp_path / "w.safetensors"), precision=precision))
    assert [open_features(path).meta["precision"] for path in (half, whole)] == ["bf16", "fp32"]
    like = EmbedOptions((str(folder),), str(tmp_path / "like.npy"), like=str(half), device="cpu")
    embed(replace(like, read=ReadOptions(workers=0)))
    again = open_features(tmp_path / "like.npy")
    assert again.meta["precision"] == "bf16"
    np.testing.assert_array_equal(again.rows, np.load(half))
    paths = sorted(map(str, folder.iterdir()))
    np.testing.assert_allclose(load_like(half).embed(paths), np.load(half), atol=1e-6)
    assert np.abs(load_like(whole).embed(paths) - np.load(half)).max() > 1e-4, "half precision is not float32"
    with pytest.raises(WeightsError, match="made with different precision"):
        check_comparable(open_features(half), open_features(whole))
