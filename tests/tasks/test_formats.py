"""The same 16-bit images as PNG, DICOM, arrays, OME-TIFF, BigTIFF and windows of one raster: every command reads them
alike."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import timm
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save_file

from dinocli.artifacts.feature_file import open_features
from dinocli.tasks.classify.classify import classify
from dinocli.tasks.classify.classify_options import ClassifyOptions
from dinocli.tasks.cluster.cluster import cluster
from dinocli.tasks.cluster.cluster_options import ClusterOptions
from dinocli.tasks.embed.embed import embed
from dinocli.tasks.evaluate.evaluate import evaluate
from dinocli.tasks.evaluate.evaluate_options import EvaluateOptions
from dinocli.tasks.inputs import ReadOptions
from dinocli.tasks.search.search import search
from dinocli.tasks.search.search_options import SearchOptions
from dinocli.tasks.segment.segment import segment
from dinocli.tasks.train.train import train
from tests.data.test_dicom import write as write_dicom
from tests.tasks import drive
from tests.tasks.embed.drive import job
from tests.tasks.segment.discs import Unlike, disc_options

SIDE, COUNT = 48, 8
RASTER = "windows"


def pixels(number: int) -> NDArray[np.uint16]:
    """A bright square on noise, with 12 bits."""
    image = np.random.default_rng(number).integers(900, 1100, (SIDE, SIDE))
    image[10 : 20 + 2 * number, 12:30] += 1500 + 100 * number
    return image.astype(np.uint16)


WRITERS: dict[str, tuple[str, Callable[[Path, NDArray[np.uint16]], Any]]] = {
    "png": ("png", lambda path, image: Image.fromarray(image).save(path)),
    "dicom": ("dcm", lambda path, image: write_dicom(path, image, BitsStored=12, HighBit=11)),
    "npy": ("npy", lambda path, image: np.save(path, image)),
    "npz": ("npz", lambda path, image: np.savez_compressed(path, image)),
    "ome": (
        "ome.tif",
        lambda path, image: tifffile.imwrite(path, image[None], ome=True, tile=(16, 16), metadata={"axes": "CYX"}),
    ),
    "bigtiff": (
        "tif",
        lambda path, image: tifffile.imwrite(
            path, image, byteorder=">", bigtiff=True, tile=(16, 32), compression="zlib", photometric="minisblack"
        ),
    ),
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("formats")
    for kind, (suffix, write) in WRITERS.items():
        (folder / kind).mkdir()
        for number in range(COUNT):
            write(folder / kind / f"{number}.{suffix}", pixels(number))
    (folder / RASTER).mkdir()
    raster = np.concatenate([pixels(number) for number in range(COUNT)], axis=1)
    tifffile.imwrite(folder / RASTER / "a.tif", raster, tile=(16, 16), compression="zlib", photometric="minisblack")
    return folder


def read_options(kind: str) -> dict[str, Any]:
    return {"workers": 0, "window": SIDE if kind == RASTER else 0}


@pytest.fixture(scope="module")
def features(root: Path) -> Path:
    torch.manual_seed(0)
    save_file(timm.create_model("test_convnext").state_dict(), str(root / "weights.safetensors"))
    embed(job(root / "png", root / "png.npy", "pooled", weights=str(root / "weights.safetensors")))
    return root / "png.npy"


@pytest.mark.parametrize("kind", [*[kind for kind in WRITERS if kind != "png"], RASTER])
def test_every_format_gives_the_same_features(root: Path, features: Path, kind: str, tmp_path: Path) -> None:
    weights = str(root / "weights.safetensors")
    embed(job(root / kind, tmp_path / "a.npy", "pooled", weights=weights, **read_options(kind)))
    assert np.array_equal(np.load(tmp_path / "a.npy"), np.load(features))
    assert len(set(open_features(tmp_path / "a.npy").names)) == COUNT


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["dicom", RASTER])
def test_training_and_masks_are_the_same(
    root: Path, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    losses, masks = [], []
    for name in ("png", kind):
        read = ReadOptions(**read_options(name))
        settings = ("run.steps=2", "run.log_every=1", "guard.probe_images=8")
        train(replace(drive.job(root / name, tmp_path / name, settings), read=read))
        lines = (tmp_path / name / "metrics.jsonl").read_text().splitlines()
        losses.append([json.loads(line).get("loss") for line in lines])
        segment(replace(disc_options(root / name, tmp_path / f"{name}-masks"), read=read), method=Unlike())
        paths = sorted((tmp_path / f"{name}-masks" / "masks").rglob("*.png"))
        masks.append(np.stack([np.asarray(Image.open(path)) for path in paths]))
    assert losses[0] == losses[1]
    assert any(losses[0])
    assert masks[0].shape == (COUNT, SIDE, SIDE)
    assert masks[0].any()
    assert np.array_equal(masks[0], masks[1])


@pytest.mark.slow
def test_the_other_commands_read_dicom_as_png(root: Path, features: Path, tmp_path: Path) -> None:
    usual: dict[str, Any] = {
        "weights": str(root / "weights.safetensors"),
        "model": "test_convnext",
        "device": "cpu",
        "read": ReadOptions(workers=0),
    }
    ((_, hits),) = search(SearchOptions((str(root / "dicom" / "3.dcm"),), str(features), count=1)).answers
    assert (hits[0].name, round(hits[0].cosine, 5)) == ("./3.png", 1)
    scores = []
    for kind in ("png", "dicom"):
        suffix = WRITERS[kind][0]
        table = "".join(f"{number}.{suffix},{number % 2}\n" for number in range(COUNT))
        (tmp_path / "few.csv").write_text(f"path,label\n{table}")
        inputs = (str(root / kind),)
        asked = EvaluateOptions(inputs, **usual, labels=str(tmp_path / "few.csv"), views=0)
        found: list[Any] = [(row.key, row.value) for row in evaluate(asked).table]
        cluster(ClusterOptions(inputs, **usual, k=2, out=str(tmp_path / f"{kind}.csv"), report="none"))
        found.append((tmp_path / f"{kind}.csv").read_text().replace(f".{suffix}", ""))
        out = tmp_path / f"{kind}-predictions.csv"
        classify(ClassifyOptions(inputs, **usual, labels=(str(tmp_path / "few.csv"),), out=str(out)))
        scores.append([*found, out.read_text().replace(f".{suffix}", "")])
    assert scores[0] == scores[1]
