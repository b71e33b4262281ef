import csv
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import timm
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from dinocli.artifacts.export_source import Source, open_source
from dinocli.artifacts.feature_file import open_features
from dinocli.artifacts.feature_graph import FeatureGraph
from dinocli.artifacts.feature_model import FeatureModel, load
from dinocli.artifacts.graph_parts import open_graph
from dinocli.config.preprocess import Preprocess
from dinocli.data.ranges import map_range
from dinocli.errors import UsageError, WeightsError
from dinocli.models import export_graph as graph
from dinocli.models.export_graph import to_onnx, to_torchscript
from dinocli.models.graph_pipeline import GraphPreprocessing
from dinocli.models.timm_folder import save_backbone
from dinocli.models.token_kinds import POOLED_RARE
from dinocli.models.tokens import POOLED
from dinocli.models.weights import load_backbone
from dinocli.progress import ProgressReporter
from dinocli.quality.classifier_file import load_classifier
from dinocli.report.model_card import card_of
from dinocli.tasks.classify.classify import classify
from dinocli.tasks.classify.classify_options import ClassifyOptions
from dinocli.tasks.embed.embed import embed
from dinocli.tasks.embed.embed_options import EmbedOptions
from dinocli.tasks.export.export import export
from dinocli.tasks.export.export_options import ExportOptions
from dinocli.tasks.inputs import ReadOptions
from tests.models.test_portable import CASES, REGISTERS, small
from tests.networks import FOUR_BLOCKS


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    torch.manual_seed(0)
    save_file(timm.create_model(FOUR_BLOCKS).state_dict(), str(path))
    return str(path)


def source_of(weights: str, **more: Any) -> Source:
    return replace(open_source(weights, FOUR_BLOCKS, ProgressReporter()), **more)


def tiny(weights: str, name: str, options: dict[str, Any], size: int) -> Source:
    """A transformer of one block, in the place of the convnet."""
    found = source_of(weights)
    return replace(found, backbone=small(name, options), preprocess=replace(found.preprocess, size=size))


def test_a_timm_folder_and_a_file_of_tensors_give_the_same(weights: str, tmp_path: Path) -> None:
    backbone, _, _ = load_backbone(weights, FOUR_BLOCKS)
    images = torch.randn(2, 3, 96, 96)
    random_state = torch.get_rng_state()
    folder = export(ExportOptions(weights, FOUR_BLOCKS, "timm", str(tmp_path / "folder")))
    file = export(ExportOptions(weights, FOUR_BLOCKS, "safetensors", str(tmp_path / "f.safetensors")))
    assert torch.equal(torch.get_rng_state(), random_state), "the caller's random numbers"
    plain = timm.create_model(FOUR_BLOCKS, num_classes=0)
    plain.load_state_dict(load_file(tmp_path / "f.safetensors"))
    with torch.no_grad():
        wanted = backbone.eval()(images)
        for model in (timm.create_model(f"local-dir:{folder.path}", pretrained=True), plain):
            torch.testing.assert_close(model.eval()(images), wanted, atol=1e-6, rtol=1e-6)
    with safe_open(file.path, "pt") as opened:
        about = opened.metadata()
    assert (about["architecture"], about["size"], about["range_policy"]) == (FOUR_BLOCKS, "160", "full")
    assert about["mean"].startswith("[0.5")
    assert folder.card == tmp_path / "folder" / "README.md"
    assert 'timm.create_model("local-dir:folder"' in folder.card.read_text()


@pytest.mark.slow
def test_weights_that_no_folder_was_read_for_are_exported_without_a_reading(weights: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number in range(4):
        pixels = np.random.default_rng(number).integers(1000, 4000, (40, 48)).astype(np.uint16)
        Image.fromarray(pixels).save(tmp_path / "in" / f"{number}.png")
    export(ExportOptions(weights, FOUR_BLOCKS, "timm", str(tmp_path / "folder")))
    export(ExportOptions(weights, FOUR_BLOCKS, "safetensors", str(tmp_path / "f.safetensors")))
    rows = []
    for number, name in enumerate((weights, str(tmp_path / "folder"), str(tmp_path / "f.safetensors"))):
        out, model = tmp_path / f"{number}.npy", FOUR_BLOCKS if name == weights else ""
        asked = {"weights": name, "model": model, "size": 32, "device": "cpu", "tokens": "pooled", "note": False}
        embed(EmbedOptions((str(tmp_path / "in"),), str(out), read=ReadOptions(workers=0), **asked))  # type: ignore[arg-type]
        file = open_features(out)
        assert file.meta["preprocess"]["deep"], "the range of these images is measured"
        rows.append(file.rows)
    np.testing.assert_allclose(rows[1], rows[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(rows[2], rows[0], rtol=1e-5, atol=1e-6)
    again = export(ExportOptions(str(tmp_path / "folder"), "", "timm", str(tmp_path / "again")))
    assert "dinocli" not in json.loads((again.path / "config.json").read_text())


@pytest.mark.parametrize("pool", ["cls", "mean"])
def test_a_timm_folder_keeps_the_pooling_of_a_transformer(tmp_path: Path, pool: str) -> None:
    torch.manual_seed(0)
    save_file(timm.create_model("test_vit").state_dict(), str(tmp_path / "v.safetensors"))
    source = open_source(str(tmp_path / "v.safetensors"), "test_vit", ProgressReporter(), pool=pool)
    save_backbone(tmp_path / "folder", source.backbone, source.info, source.preprocess, keep_reading=False)
    again, _, reading = load_backbone(str(tmp_path / "folder"))
    assert (again.pool_kind, reading) == (pool, None)


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
def test_torchscript_of_a_model_that_resamples_its_positions_itself_takes_any_size() -> None:
    backbone, _, _ = load_backbone("none", "test_vit")
    assert backbone.model.patch_embed.grid_size == (10, 10), "at its own grid timm resamples nothing, nor did the trace"
    assert to_torchscript(backbone.eval(), 160, {})[1] < 1e-5


@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")
@pytest.mark.parametrize("case", [CASES[0][:2], REGISTERS, (FOUR_BLOCKS, {})], ids=lambda case: case[0])
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
    with pytest.raises(WeightsError, match="differs from the original"):
        to_torchscript(source.backbone, source.preprocess.size, source.facts())


def test_a_missing_package_is_named(weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    out = tmp_path / "m.onnx"
    with pytest.raises(WeightsError, match=r"onnxruntime: pip install 'dinocli\[onnx\]'"):
        export(ExportOptions(weights, FOUR_BLOCKS, "onnx", str(out)))
    assert not out.exists()


def test_outputs_that_are_there_and_formats_that_are_not(weights: str, tmp_path: Path) -> None:
    out = tmp_path / "f.safetensors"
    out.write_bytes(b"mine")
    with pytest.raises(UsageError, match="--force"):
        export(ExportOptions(weights, FOUR_BLOCKS, "safetensors", str(out)))
    assert out.read_bytes() == b"mine"
    export(ExportOptions(weights, FOUR_BLOCKS, "safetensors", str(out), force=True))
    with pytest.raises(UsageError, match="is a file"):
        export(ExportOptions(weights, FOUR_BLOCKS, "timm", str(out), force=True))
    with pytest.raises(UsageError, match="'tflite' is not known"):
        export(ExportOptions(weights, FOUR_BLOCKS, "tflite", str(tmp_path / "x")))


def test_force_replaces_an_exported_folder_and_no_other(weights: str, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    mine = picture(tmp_path / "images" / "mine.png", (8, 8))
    with pytest.raises(UsageError, match=r"images holds mine\.png, which no export wrote"):
        export(ExportOptions(weights, FOUR_BLOCKS, "timm", str(tmp_path / "images"), force=True))
    assert mine.is_file()
    out = ExportOptions(weights, FOUR_BLOCKS, "timm", str(tmp_path / "out"), force=True)
    assert export(out).path.is_dir()
    assert export(out).path.is_dir()


def test_names_of_others_do_not_format_the_card(weights: str) -> None:
    manifest = {
        "weights": {"source": "a|b](http://hub.invalid)\n# boo", "sha256": "0"},
        "root": "<script>",
        "outcome": None,
    }
    card = card_of(FeatureGraph(source_of(weights, manifest=manifest)), "timm", "x|y", 0.0)
    assert "<script>" not in card
    assert "\n# boo" not in card
    assert "a\\|b\\](http" in card


def test_the_card_of_a_student_names_its_teacher(weights: str) -> None:
    origin = {"source": "none", "sha256": "0"}
    manifest = {"weights": origin, "teacher": {"source": "runs/large", "sha256": "abcdef0123456789"}, "outcome": None}
    card = card_of(FeatureGraph(source_of(weights, manifest=manifest)), "timm", "small", 0.0)
    assert "distilled from a larger network" in card
    assert "| teacher | runs/large, sha256 abcdef012345 |" in card
    assert "inherited from teacher and start weights" in card


def test_padding_by_size_keeps_one_size() -> None:
    assert graph.has_one_size(small("tf_efficientnet_lite0", {}))
    assert not graph.has_one_size(small("test_efficientnet", {}))


SLOW = ("onnx", "onnx with preprocessing")


def picture(path: Path, size: tuple[int, int], seed: int = 0) -> Path:
    """Write a smooth colour picture."""
    pixels = np.random.default_rng(seed).integers(0, 256, (5, 4, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC).save(path)
    return path


def trained(weights: str, folder: Path, method: str) -> tuple[Path, list[str]]:
    """Classify twelve pictures of two kinds, and keep the classifier."""
    images = folder / "images"
    images.mkdir()
    for number in range(12):
        picture(images / f"{number:02}.png", (90 + 10 * number, 200 - 7 * number), number % 2)
    rows = [f"./{number:02}.png,{'dark' if number % 2 else 'light'}\n" for number in range(8)]
    (folder / "few.csv").write_text("path,label\n" + "".join(rows))
    saved = folder / "clf.safetensors"
    job = ClassifyOptions((str(images),), (str(folder / "few.csv"),), out=str(folder / "p.csv"), save=str(saved))
    read = ReadOptions(workers=0)
    classify(replace(job, method=method, weights=weights, model=FOUR_BLOCKS, device="cpu", read=read))
    return saved, sorted(str(path) for path in images.iterdir())


def run_snippet(card: Path) -> dict[str, Any]:
    """Run the code of a card, and return what it defined."""
    found: dict[str, Any] = {}
    exec(card.read_text().split("```python\n")[1].split("```")[0], found)
    return found


@pytest.mark.parametrize("method", ["linear", "knn"])
def test_a_classifier_in_a_graph_gives_its_own_probabilities(weights: str, tmp_path: Path, method: str) -> None:
    saved = load_classifier(trained(weights, tmp_path, method)[0])
    pipeline = FeatureGraph(source_of(weights), saved=saved).pipeline().eval()
    with torch.no_grad():
        pooled, _, probabilities = pipeline(torch.randn(5, 3, 64, 64))
    np.testing.assert_allclose(probabilities, saved.classifier.probabilities(pooled.numpy()), atol=1e-5)


def test_equal_features_have_a_difference_of_zero(weights: str, monkeypatch: pytest.MonkeyPatch) -> None:
    equal_BD = np.full((1, 3), 0.1, np.float32)  # its cosine to itself is rounded to 1.0000001
    monkeypatch.setattr(FeatureGraph, "_trials", lambda _: iter([(torch.zeros(1), equal_BD)]))
    assert FeatureGraph(source_of(weights), with_preprocessing=True).verified(lambda _: [equal_BD]) == 0


@pytest.mark.slow
def test_onnx_with_preprocessing_and_classifier_goes_from_pixels_to_the_table(
    weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved, images = trained(weights, tmp_path, "linear")
    monkeypatch.chdir(tmp_path)
    out = Path("my_model.onnx")
    done = export(ExportOptions("", "", "onnx", str(out), with_preprocessing=True, classifier=str(saved)))
    assert done.difference < 1e-3
    session = onnxruntime.InferenceSession(out, providers=["CPUExecutionProvider"])
    (taken,) = session.get_inputs()
    assert (taken.type, taken.shape[3]) == ("tensor(uint8)", 3)
    about = session.get_modelmeta().custom_metadata_map
    assert json.loads(about["classes"]) == ["dark", "light"]
    wanted = load(weights, model=FOUR_BLOCKS).embed(images)
    with (tmp_path / "p.csv").open() as file:
        table = {row["path"]: row for row in csv.DictReader(file)}
    for path, feature in zip(images, wanted, strict=True):
        pixels = np.asarray(Image.open(path))[None]
        pooled, _, probabilities = session.run(None, {"images": pixels})
        cosine = float(pooled[0] @ feature / np.linalg.norm(pooled[0]) / np.linalg.norm(feature))
        assert cosine > 0.9995, path
        row = table[f"./{Path(path).name}"]
        if not row["given"]:
            assert ["dark", "light"][probabilities[0].argmax()] == row["predicted"]
            assert float(probabilities.max()) == pytest.approx(float(row["confidence"]), abs=0.02)
    Path(images[0]).rename("a.png")
    found = run_snippet(done.card)
    assert (found["label"], found["pooled"].shape) == (table["./00.png"]["given"], (1, 64))
    card = done.card.read_text()
    assert "ONNX opset 18; batch, height and width are dynamic" in card
    assert "calibrated, of dark, light" in card


@pytest.fixture(scope="module")
def rare_file(weights: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rare features of 16 pictures."""
    folder = tmp_path_factory.mktemp("rare")
    (folder / "images").mkdir()
    for number in range(16):
        picture(folder / "images" / f"{number:02}.png", (90 + 10 * number, 200 - 7 * number), number)
    out = folder / "rare.npy"
    job = EmbedOptions((str(folder / "images"),), out=str(out), weights=weights, model=FOUR_BLOCKS, tokens=POOLED_RARE)
    embed(replace(job, device="cpu", read=ReadOptions(workers=0)))
    return out


@pytest.mark.parametrize("with_preprocessing", [False, True], ids=["squares", "source values"])
def test_rare_features_in_a_graph_are_those_of_embed(rare_file: Path, *, with_preprocessing: bool) -> None:
    whole = open_graph("", "", ProgressReporter(), with_preprocessing=with_preprocessing, like=str(rare_file))
    pipeline = whole.pipeline().eval()
    assert pipeline.outputs == ["pooled", "features"]

    def compute(images: torch.Tensor) -> list[Any]:
        with torch.no_grad():
            return [output.numpy() for output in pipeline(images)]

    assert whole.verified(compute) < 1e-3
    with pytest.raises(WeightsError, match=r"cosine of -?0\.\d+ to those of embed"):
        whole.verified(lambda images: [compute(images)[0], compute(images)[1][:, ::-1].copy()])
    new = picture(rare_file.parent / "new.png", (160, 160), 99)
    like = FeatureModel(whole.source.backbone, whole.source.preprocess, whole.rare or POOLED).embed([new])
    assert like.shape == (1, open_features(rare_file).flat().shape[1])


@pytest.mark.slow
def test_onnx_with_a_classifier_of_rare_features_goes_from_pixels_to_the_table(
    rare_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [f"./{number:02}.png,{'dark' if number % 2 else 'light'}\n" for number in range(12)]
    Path("few.csv").write_text("path,label\n" + "".join(rows))
    classify(ClassifyOptions((str(rare_file),), ("few.csv",), out="p.csv", save="clf.safetensors", method="linear"))
    new = picture(tmp_path / "a.png", (140, 150), 99)
    job = EmbedOptions((str(new),), out="new.npy", like=str(rare_file), device="cpu", read=ReadOptions(workers=0))
    embed(job)
    wanted = open_features(tmp_path / "new.npy").flat()[0]
    done = export(
        ExportOptions(format="onnx", out="my_model.onnx", with_preprocessing=True, classifier="clf.safetensors")
    )
    found = run_snippet(done.card)
    assert found["features"][0] @ wanted > 0.999
    saved = load_classifier(Path("clf.safetensors"))
    probability = saved.classifier.probabilities(wanted[None])[0].max()
    assert found["confidence"] == pytest.approx(probability, abs=0.02)
    assert "`pooled+rare` of length 1" in done.card.read_text()
    plain = export(ExportOptions(format="onnx", out="squares.onnx", like=str(rare_file)))
    assert plain.difference < 1e-4
    assert "the batch is dynamic" in plain.card.read_text()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"format": "timm"}, "--like makes one graph of all: it needs --format onnx"),
        ({"classifier": "c"}, "leave --like out"),
    ],
    ids=["timm", "classifier"],
)
def test_rare_features_are_for_onnx_without_another_classifier(
    rare_file: Path, tmp_path: Path, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        export(ExportOptions(like=str(rare_file), out=str(tmp_path / "x"), **{"format": "onnx"} | options))


@pytest.mark.parametrize(
    ("about", "words"),
    [
        ({"tokens": "pooled"}, "holds pooled features: give a file of rare or pooled"),
        ({"keep_aspect": True}, "with --keep-aspect: a graph takes whole squares"),
        ({"tile": "256"}, "with --tile: a graph takes whole squares"),
        ({"weights": {}}, "does not say which weights"),
        ({"weights": {"sha256": "0"}}, "with other weights"),
    ],
    ids=["pooled", "aspect", "tiles", "unknown weights", "other weights"],
)
def test_features_that_no_graph_gives_are_refused(
    weights: str, rare_file: Path, tmp_path: Path, about: dict[str, Any], words: str
) -> None:
    for path in rare_file.parent.glob("rare.*"):
        shutil.copy(path, tmp_path / path.name)
    meta = json.loads((tmp_path / "rare.json").read_text())
    (tmp_path / "rare.json").write_text(json.dumps(meta | about))
    given = weights if "sha256" in about.get("weights", {}) else ""
    with pytest.raises((UsageError, WeightsError), match=words):
        open_graph(given, FOUR_BLOCKS, ProgressReporter(), like=str(tmp_path / "rare.npy"))


def test_preprocessing_and_classifier_need_onnx(weights: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--with-preprocessing makes one graph of all: it needs --format onnx"):
        export(ExportOptions(weights, FOUR_BLOCKS, "timm", str(tmp_path / "x"), with_preprocessing=True))


@pytest.mark.parametrize(
    "about",
    [
        {"grey": True},
        {"range_policy": "minmax", "range_low": 20.0, "range_high": 180.0},
        {"range_policy": "minmax", "range_low": 900.0, "range_high": 3100.0, "deep": True, "source": "deep integer"},
        {"range_policy": "minmax", "range_low": -1.0, "range_high": 2.5, "deep": True, "source": "float"},
        {"deep": True},
    ],
    ids=["grey", "minmax", "12 bits", "float", "16 bits"],
)
def test_every_fixed_range_is_in_the_graph(weights: str, about: dict[str, Any]) -> None:
    source = source_of(weights)
    source = replace(source, preprocess=replace(source.preprocess, **{"source": ""} | about))
    whole = FeatureGraph(source, with_preprocessing=True)
    pipeline = whole.pipeline().eval()

    def compute(images: torch.Tensor) -> list[Any]:
        with torch.no_grad():
            return [output.numpy() for output in pipeline(images)]

    assert whole.verified(compute) < 1e-3
    image_range = replace(source.preprocess, range_policy="image", range_low=1.0, range_high=99.0)
    with pytest.raises(UsageError, match="percentiles"):
        FeatureGraph(replace(source, preprocess=image_range), with_preprocessing=True)


def test_the_graph_maps_each_channel_by_its_range() -> None:
    ranges = ((0.0, 1000.0), (-5.0, 5.0), (3.0, 4.0), (100.0, 4000.0))
    half = (0.5,) * 4
    about = Preprocess("minmax", -5.0, 4000.0, True, False, (0, 1, 2, 3), 0, half, half, 16, channel_ranges=ranges)
    low_4, high_4 = np.array(ranges).T
    images = np.random.default_rng(0).uniform(low_4 - 1, high_4 + 1, (1, 16, 16, 4)).astype(np.float32)
    expected = map_range(images[0], about).transpose(2, 0, 1) / 65535
    found = GraphPreprocessing(about)(torch.from_numpy(images))[0].numpy() * 0.5 + 0.5
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_a_graph_with_other_features_is_refused(weights: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = FeatureGraph(source_of(weights), with_preprocessing=True)
    with pytest.raises(WeightsError, match="cosine"):
        whole.verified(lambda images: [np.ones((1, 64), np.float32) * np.r_[1, -np.ones(63)].astype(np.float32)])


@pytest.mark.parametrize(
    ("kind", "grey"),
    [
        *(("timm", False), ("timm", True), ("safetensors", False), ("torchscript", False)),
        *(pytest.param(kind, True, marks=pytest.mark.slow) for kind in ("safetensors", "torchscript")),
        *(pytest.param(kind, grey, marks=pytest.mark.slow) for kind in SLOW for grey in (False, True)),
    ],
)
@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")
def test_the_snippet_of_the_card_gives_the_features_of_embed(
    weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, grey: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    about = replace(source_of(weights).preprocess, grey=grey)
    folder = tmp_path / "start_weights"
    save_backbone(folder, source_of(weights).backbone, source_of(weights).info, about)
    format_, _, more = kind.partition(" ")
    name = "my_model" + {"timm": "", "safetensors": ".safetensors", "onnx": ".onnx", "torchscript": ".pt"}[format_]
    done = export(ExportOptions(str(folder), "", format_, name, with_preprocessing=bool(more)))
    path = picture(tmp_path / "a.png", (130, 170))
    found = run_snippet(done.card)
    pooled = np.asarray(found["pooled"])[0]
    wanted = load(str(folder)).embed([path])[0]
    # The snippet rounds to 8 bits, which alone gives 0.9991 for a grey image; a crop instead of the squash gives 0.85.
    assert pooled @ wanted / np.linalg.norm(pooled) / np.linalg.norm(wanted) > 0.998
    assert found["pooled"].shape == (1, 64)
