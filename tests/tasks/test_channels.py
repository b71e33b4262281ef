"""Four bands, of which the fourth decides the class: from files to training, features, masks and exports."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from numpy.typing import NDArray
from PIL import Image

from dinocli.artifacts.feature_file import open_features
from dinocli.artifacts.feature_model import load
from dinocli.config.load import load_recipe
from dinocli.errors import DataError, UsageError, WeightsError
from dinocli.models.timm_folder import save_backbone
from dinocli.models.weights import load_backbone
from dinocli.models.weights_info import plain_preprocess
from dinocli.quality.knn import knn_votes
from dinocli.tasks.cluster.cluster import cluster
from dinocli.tasks.cluster.cluster_options import ClusterOptions
from dinocli.tasks.embed.embed import embed
from dinocli.tasks.evaluate.evaluate import evaluate
from dinocli.tasks.evaluate.evaluate_options import EvaluateOptions
from dinocli.tasks.export.export import export
from dinocli.tasks.export.export_options import ExportOptions
from dinocli.tasks.search.search import search
from dinocli.tasks.search.search_options import SearchOptions
from dinocli.tasks.segment.segment import segment
from dinocli.tasks.train.run_report import TrainResult
from dinocli.tasks.train.train import train
from dinocli.tasks.train.train_options import TrainOptions
from tests.engine.learners import TINY
from tests.networks import TWO_BLOCKS
from tests.tasks.drive import Ears
from tests.tasks.embed.drive import job
from tests.tasks.segment.discs import Unlike, disc_options
from tests.tasks.test_export import run_snippet

SETTINGS = (
    f"model.name={TWO_BLOCKS}",
    "run.steps=2",
    "guard.probe_images=8",
    "data.channels=[0,1,2,3]",
    "run.log_every=1",
)


def bands(kind: int, seed: int, side: int = 40) -> NDArray[np.uint8]:
    """Red, green and blue are noise around a colour by chance; the fourth band is dark, or bright."""
    random = np.random.default_rng((kind, seed))
    level = np.append(random.integers(70, 186, 3), (40, 215)[kind])
    return (level + random.integers(-40, 41, (side, side, 4))).astype(np.uint8)


def write_bands(folder: Path, each: int = 8) -> Path:
    """Write two classes of four-band TIFFs."""
    for kind, name in enumerate(("bare", "crop")):
        (folder / name).mkdir(parents=True)
        for seed in range(each):
            tifffile.imwrite(
                folder / name / f"{seed}.tif", bands(kind, seed), photometric="rgb", extrasamples=["unspecified"]
            )
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bands(tmp_path_factory.mktemp("bands") / "images")


@pytest.fixture(scope="module")
def run(folder: Path) -> TrainResult:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder.parent / "cache"))
        recipe = load_recipe(["satellite"], [*TINY, *SETTINGS])
        options = TrainOptions((str(folder),), recipe, out=str(folder.parent / "run"), device="cpu")
        found = train(options, ears := Ears())
    assert found
    assert "4 channels are not colours: saturation, hue and grayscale are off" in ears.lines
    assert "4 channels; pictures show the first three as red, green and blue" in ears.lines
    return found


@pytest.fixture(scope="module")
def features(folder: Path, run: TrainResult) -> Path:
    path = folder.parent / "feats.npy"
    embed(job(folder, path, weights=str(run.folder), model="", size=0))
    return path


def test_a_run_says_what_its_network_takes(run: TrainResult) -> None:
    recipe = load_recipe([str(run.folder / "recipe.toml")])
    assert recipe.model.in_chans == 4
    assert (recipe.views.hue, recipe.views.saturation, recipe.views.grayscale) == (0, 0, 0)
    assert recipe.views.brightness > 0
    config = json.loads((run.folder / "backbone" / "config.json").read_text())
    assert (config["pretrained_cfg"]["input_size"][0], config["model_args"]["in_chans"]) == (4, 4)
    assert config["dinocli"]["channels"] == [0, 1, 2, 3]
    assert len(config["pretrained_cfg"]["mean"]) == len(config["dinocli"]["std"]) == 4
    assert (run.folder / "report.html").is_file()
    with Image.open(run.folder / "views.png") as views:
        assert views.mode == "RGB"


def test_the_fourth_band_decides(folder: Path, run: TrainResult, features: Path, tmp_path: Path) -> None:
    embed(job(folder, tmp_path / "three.npy", model="test_vit"))
    embed(job(folder, tmp_path / "four.npy", model="test_vit", channels=(0, 1, 2, 3)))
    for path, least, most in ((tmp_path / "three.npy", 0.1, 0.8), (tmp_path / "four.npy", 0.9, 1), (features, 0.9, 1)):
        file = open_features(path)
        labels_N = np.array([name.split("/")[1] for name in file.names])
        accuracy = (knn_votes(file.flat(), labels_N, k=3).predicted_Q == labels_N).mean()
        assert least <= accuracy <= most, path


def test_every_command_reads_the_channels_of_the_weights(folder: Path, features: Path, tmp_path: Path) -> None:
    asked = SearchOptions((str(folder / "crop" / "1.tif"),), str(features), count=3, sheet=str(tmp_path / "s.png"))
    ((_, hits),) = search(asked).answers
    assert all(hit.name.startswith("./crop/") for hit in hits)
    torch.manual_seed(0)
    backbone, info, _ = load_backbone("none", "test_vit")
    save_backbone(features.parent / "rgb", backbone, info, plain_preprocess(info))
    baseline = str(features.parent / "rgb")  # is adapted to the channels of the features
    found = evaluate(EvaluateOptions((str(features),), labels="folder", baseline=baseline, views=0, device="cpu"))
    (row,) = (row for row in found.table if row.key == "knn10_accuracy")
    assert row.baseline is not None
    assert min(row.value, row.baseline) > 0.9


@pytest.mark.slow
def test_a_page_shows_images_of_many_channels(features: Path, tmp_path: Path) -> None:
    cluster(ClusterOptions((str(features),), out=str(tmp_path / "clusters.csv"), report=str(tmp_path / "report.html")))
    assert (tmp_path / "report.html").stat().st_size > 10_000


def test_masks_come_from_all_channels(folder: Path, run: TrainResult, tmp_path: Path) -> None:
    asked = {"overlay": True, "weights": str(run.folder), "model": ""}
    outcome = segment(disc_options(folder / "crop", tmp_path / "out", **asked), method=Unlike())
    assert (outcome.images, outcome.bad) == (8, 0)
    picture = np.asarray(Image.open(tmp_path / "out" / "overlays" / "1.jpg"))
    assert picture.shape == (40, 40, 3)


def test_arrays_pages_and_names_give_what_bands_give(features: Path, tmp_path: Path) -> None:
    pixels = bands(1, 0)
    model = load(str(features.parent / "run"))
    np.save(tmp_path / "a.npy", pixels)
    wanted = model.embed([pixels])
    assert np.array_equal(model.embed([tmp_path / "a.npy"]), wanted)
    planes = pixels.transpose(2, 0, 1)
    tifffile.imwrite(tmp_path / "pages.tif", planes, photometric="minisblack")
    assert np.array_equal(model.embed([tmp_path / "pages.tif"]), wanted)
    names = {"axes": "CYX", "Channel": {"Name": ["DAPI", "GFP", "Cy3", "Cy5"]}}
    (tmp_path / "ome").mkdir()
    tifffile.imwrite(tmp_path / "ome" / "a.ome.tif", planes, metadata=names, photometric="minisblack")
    own: dict[str, Any] = {"weights": str(features.parent / "run"), "model": "", "size": 0, "force": True}
    for channels in (("C:DAPI", "C:GFP", "C:Cy3", "C:Cy5"), ("page",)):
        embed(job(tmp_path / "ome", tmp_path / "o.npy", channels=channels, **own))
        np.testing.assert_allclose(np.load(tmp_path / "o.npy"), wanted, atol=1e-5)


@pytest.mark.parametrize(
    "kind", ["timm", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("onnx", "onnx whole"))]
)
def test_exports_take_four_channels_and_their_card_runs(
    folder: Path, run: TrainResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.chdir(tmp_path)
    format_, _, whole = kind.partition(" ")
    name = "four" if format_ == "timm" else "four.onnx"
    done = export(ExportOptions(str(run.folder), "", format_, name, with_preprocessing=bool(whole)))
    np.save("a.npy", bands(1, 3))
    found = run_snippet(done.card)
    pooled, wanted = np.asarray(found["pooled"])[0], load(str(run.folder)).embed(["a.npy"])[0]
    assert pooled @ wanted / np.linalg.norm(pooled) / np.linalg.norm(wanted) > 0.999
    assert "- Channels: 0, 1, 2, 3 of each file, in this order." in done.card.read_text()


def test_channels_that_do_not_fit_the_weights_are_refused_with_the_option(
    folder: Path, run: TrainResult, tmp_path: Path
) -> None:
    own: dict[str, Any] = {"weights": str(run.folder), "model": "", "size": 0}
    with pytest.raises(WeightsError, match="takes 4 channels, and 3 are read: name 4, such as --channels 0,1,2,3"):
        embed(job(folder, tmp_path / "a.npy", channels=(0, 1, 2), **own))
    grey = tmp_path / "grey"
    grey.mkdir()
    Image.fromarray(bands(0, 0)[..., 0]).save(grey / "a.png")
    with pytest.raises(DataError, match="channel 1 of an image with 1"):
        embed(job(grey, tmp_path / "a.npy", **own))
    for setting, message in (
        ("model.in_chans=5", "model.in_chans=5, and 4 channels are read: select 5, such as --channels 0,1,2,3,4"),
        ("model.in_chans=1", "model.in_chans=1, and 4 channels are read"),
    ):
        recipe = load_recipe(["satellite"], [*TINY, *SETTINGS, setting])
        with pytest.raises(UsageError, match=message):
            train(TrainOptions((str(folder),), recipe, out=str(tmp_path / "run"), device="cpu"))
    with pytest.raises(WeightsError, match="processors read RGB"):
        export(ExportOptions(str(run.folder), "", "transformers", str(tmp_path / "t")))


def test_other_reading_options_keep_the_channels_of_the_weights(folder: Path, run: TrainResult, tmp_path: Path) -> None:
    embed(job(folder, tmp_path / "a.npy", weights=str(run.folder), model="", size=0, range="full"))
    about: dict[str, Any] = json.loads((tmp_path / "a.json").read_text())["preprocess"]
    assert (about["channels"], about["grey"], len(about["mean"])) == ([0, 1, 2, 3], False, 4)
