"""A detector as one graph: the same score, map and decision as `segment --detector`."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image

from dinocli.artifacts.detector_graph import DetectorGraph, open_detector_graph
from dinocli.data.canvas import scaled
from dinocli.errors import UsageError, WeightsError
from dinocli.progress import ProgressReporter
from dinocli.segmentation.anomaly_graph import PixelResize, median
from dinocli.segmentation.anomaly_threshold import parse_threshold
from dinocli.tasks.export.export import export
from dinocli.tasks.export.export_options import ExportOptions
from dinocli.tasks.inputs import ReadOptions
from dinocli.tasks.segment.inspection import inspect_images
from dinocli.tasks.segment.segment import segment
from dinocli.tasks.segment.segment_options import SegmentOptions
from tests.networks import FOUR_BLOCKS, TWINS
from tests.tasks.test_export import run_snippet

KINDS: dict[str, tuple[str, int, dict[str, Any]]] = {
    "fine": (FOUR_BLOCKS, 96, {}),
    "both": (FOUR_BLOCKS, 288, {}),
    "coarse": (FOUR_BLOCKS, 288, {}),
    "transformer": (TWINS["vit_tiny_patch16_224"], 64, {"stride": 8}),
}


def surface(seed: int, size: tuple[int, int] = (120, 90), *, spot: bool = False) -> Image.Image:
    """A rough surface, on one image with stripes."""
    pixels = np.random.default_rng(seed).normal(110, 4, size[::-1])
    pixels += 2 * np.sin(np.arange(size[0]) / 9)
    if spot:
        pixels[30:70, 30:70] = 250 * (np.arange(40) // 4 % 2)
    return Image.fromarray(pixels.astype(np.uint8))


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Return the function that makes a detector of good images, once for each kind."""
    folder = tmp_path_factory.mktemp("detectors")
    (folder / "good").mkdir()
    for number in range(9):
        surface(number).save(folder / "good" / f"{number}.png")

    def made(kind: str) -> str:
        network, size, more = KINDS[kind]
        if not (folder / kind).exists():
            features = kind if kind in ("both", "coarse") else "fine"
            job = SegmentOptions((str(folder / "good" / "0.png"),), out=str(folder / f"{kind}-masks"), method="anomaly")
            job = replace(job, reference=str(folder / "good"), method_options={"features": features}, size=size, **more)
            job = replace(job, weights="none", model=network, device="cpu", precision="fp32", refine=False)
            segment(replace(job, save_detector=str(folder / kind), read=ReadOptions(workers=0)))
        return str(folder / kind)

    return made


def opened(folder: str, *, with_preprocessing: bool = False) -> DetectorGraph:
    return open_detector_graph(folder, ProgressReporter(), with_preprocessing=with_preprocessing)


def computed(graph: DetectorGraph) -> Callable[[torch.Tensor], list[Any]]:
    pipeline = graph.pipeline().eval()

    def compute(images: torch.Tensor) -> list[Any]:
        with torch.no_grad():
            return [output.numpy() for output in pipeline(images)]

    return compute


@pytest.mark.parametrize("with_preprocessing", [False, True], ids=["canvases", "source values"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_graph_gives_score_map_and_decision_of_segment(
    detector: Callable[[str], str], kind: str, *, with_preprocessing: bool
) -> None:
    graph = opened(detector(kind), with_preprocessing=with_preprocessing)
    difference = graph.verified(computed(graph))
    assert difference < (2e-5 if kind in ("fine", "transformer") and not with_preprocessing else 0.05)
    rows, columns = graph.geometry.canvas
    assert rows < columns, "the shape of the images"


@pytest.mark.parametrize("kind", ["fine", "coarse"])
@pytest.mark.parametrize(
    "about",
    [
        {"grey": False},
        {"grey": False, "roi": "4,8,64,96", "range_policy": "minmax", "range_low": 20.0, "range_high": 180.0},
        {"deep": True, "range_policy": "minmax", "range_low": 900.0, "range_high": 3100.0, "source": "deep integer"},
        {
            "deep": True,
            "grey": False,
            "range_policy": "minmax",
            "range_low": -1.0,
            "range_high": 2.5,
            "source": "float",
        },
    ],
    ids=["colours", "region", "12 bits", "float"],
)
def test_every_range_and_a_region_are_in_a_graph(
    detector: Callable[[str], str], kind: str, about: dict[str, Any]
) -> None:
    graph = opened(detector(kind))
    preprocess = replace(graph.source.preprocess, **{"source": ""} | about)
    for with_preprocessing in (False, True):
        graph = replace(
            graph, source=replace(graph.source, preprocess=preprocess), with_preprocessing=with_preprocessing
        )
        assert graph.verified(computed(graph)) < 0.05


@pytest.mark.parametrize("threshold", ["0.3", "quantile:0.5"])
def test_a_graph_has_the_threshold_of_its_detector(detector: Callable[[str], str], threshold: str) -> None:
    graph = opened(detector("fine"))
    fitted = replace(graph.detector.fitted, threshold=parse_threshold(threshold))
    graph = replace(graph, detector=replace(graph.detector, fitted=fitted))
    assert graph.verified(computed(graph)) < 2e-5
    assert float(graph.facts()["threshold"]) == pytest.approx(0.3) or threshold != "0.3"
    _, map_Bhw, defective_B = computed(graph)(graph.pipeline().example())
    assert ((map_Bhw.max(axis=(1, 2)) > graph.threshold) == defective_B).all()


def test_a_graph_marks_other_scenes_as_segment_does(detector: Callable[[str], str]) -> None:
    graph = opened(detector("both"))
    fitted = graph.detector.fitted
    assert fitted.scale.scene_limit < np.inf
    strict = replace(fitted, scale=replace(fitted.scale, scene_limit=1e-3))
    graph = replace(graph, detector=replace(graph.detector, fitted=strict))
    score_B, _, defective_B = computed(graph)(graph.pipeline().example())
    assert (score_B == 1).all()
    assert defective_B.all()
    assert graph.verified(computed(graph)) < 0.05

    def compute(images: torch.Tensor) -> list[Any]:
        score_B, map_Bhw, defective_B = computed(graph)(images)
        return [score_B * 0.9, map_Bhw, defective_B]

    with pytest.raises(WeightsError, match="the exported detector differs from segment"):
        graph.verified(compute)


@pytest.mark.parametrize("output", range(3), ids=["score", "map", "decision"])
@pytest.mark.parametrize("kind", ["fine", "coarse"])
def test_a_graph_that_differs_in_one_output_is_refused(detector: Callable[[str], str], kind: str, output: int) -> None:
    graph = opened(detector(kind))
    changes: list[Callable[[Any], Any]] = [lambda score: score * 0.9, lambda map_Bhw: map_Bhw[:, ::-1], np.logical_not]

    def compute(images: torch.Tensor) -> list[Any]:
        outputs = computed(graph)(images)
        outputs[output] = changes[output](outputs[output])
        return outputs

    with pytest.raises(WeightsError, match="the exported detector differs from segment"):
        graph.verified(compute)


@pytest.mark.parametrize("count", [1, 2, 5, 6])
def test_the_median_is_that_of_numpy(count: int) -> None:
    values = np.random.default_rng(0).normal(size=(3, count)).astype(np.float32)
    np.testing.assert_array_equal(median(torch.from_numpy(values))[:, 0], np.median(values, axis=1))


@pytest.mark.parametrize("size", [(64, 96), (30, 45), (21, 50), (40, 60)])
def test_pixels_are_resized_as_by_pil(detector: Callable[[str], str], size: tuple[int, int]) -> None:
    about = opened(detector("fine")).source.preprocess
    pixels_CHW = np.array(surface(1, (60, 40)))[None]
    found = PixelResize(about, size)(torch.from_numpy(pixels_CHW[None]).float())[0].numpy()
    wrong = found != scaled(pixels_CHW, size)
    assert abs(found - scaled(pixels_CHW, size).astype(int)).max() <= 1
    assert wrong.mean() < 0.02


def test_images_of_several_shapes_get_a_square_and_a_line(detector: Callable[[str], str], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(detector("fine"), tmp_path / "det"))
    record = json.loads((folder / "detector.json").read_text())
    assert record["canvas"] == [96, 128]
    lines: list[str] = []

    class Lines(ProgressReporter):
        def line(self, text: str) -> None:
            lines.append(text)

    (folder / "detector.json").write_text(json.dumps(record | {"canvas": None}))
    assert open_detector_graph(str(folder), Lines(), with_preprocessing=False).geometry.canvas == (96, 96)
    assert lines[-1].endswith("the graph takes 96 x 96 px")
    for damage, shown in (({"canvas": [96, 100]}, "96, 100"), ({"canvas": None, "size": 0}, "0")):
        (folder / "detector.json").write_text(json.dumps(record | damage))
        with pytest.raises(WeightsError, match=rf"canvas of \[{shown}\] px: save the detector again"):
            opened(str(folder))


def test_what_a_graph_cannot_contain_is_refused(detector: Callable[[str], str]) -> None:
    graph = opened(detector("fine"))
    found, source = graph.detector, graph.source
    enhanced = replace(found.fitted, scale=replace(found.fitted.scale, enhanced=True))
    with pytest.raises(UsageError, match="save a detector with --reference"):
        replace(graph, detector=replace(found, fitted=enhanced))
    with pytest.raises(UsageError, match="save a detector without --tile"):
        replace(graph, detector=replace(found, record={**found.record, "tile": "64:8"}))
    with pytest.raises(UsageError, match="use --roi x,y,w,h"):
        replace(graph, source=replace(source, preprocess=replace(source.preprocess, roi="data:image/png;base64,x")))
    each = replace(source.preprocess, range_policy="image", range_low=1.0, range_high=99.0)
    with pytest.raises(UsageError, match="percentiles"):
        replace(graph, source=replace(source, preprocess=each), with_preprocessing=True)


@pytest.mark.parametrize("options", [{"format": "timm"}, {"classifier": "c"}, {"like": "f.npy"}, {"model": "x"}])
def test_a_detector_needs_onnx_and_has_its_own_weights(
    detector: Callable[[str], str], tmp_path: Path, options: dict[str, Any]
) -> None:
    with pytest.raises(UsageError, match="a detector is exported with --format onnx, without --like, --classifier"):
        export(ExportOptions(detector("fine"), out=str(tmp_path / "x"), **{"format": "onnx"} | options))


@pytest.mark.slow
@pytest.mark.parametrize("with_preprocessing", [False, True], ids=["canvases", "source values"])
@pytest.mark.parametrize("kind", ["both", "transformer"])
def test_onnx_and_the_code_of_the_card_judge_as_segment(
    detector: Callable[[str], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    *,
    with_preprocessing: bool,
) -> None:
    folder = detector(kind)
    monkeypatch.chdir(tmp_path)
    done = export(ExportOptions(folder, format="onnx", out="det.onnx", with_preprocessing=with_preprocessing))
    assert done.difference < 0.05
    about = onnxruntime.InferenceSession("det.onnx").get_modelmeta().custom_metadata_map
    assert {"mean", "std", "size", "canvas", "licence", "range_policy", "weights_sha256"} <= set(about)
    assert float(about["threshold"]) == 0.5
    for spot in (False, True):
        surface(99, spot=spot).save("a.png")
        job = SegmentOptions(("a.png",), detector=folder, device="cpu", precision="fp32", min_area=0)
        (answer,) = inspect_images(replace(job, read=ReadOptions(workers=0)), ProgressReporter(), None)
        found = run_snippet(done.card)
        assert found["score"][0] == pytest.approx(answer["score"], abs=0.01)
        assert bool(found["defective"][0]) == (not answer["good"]) == bool(found["mask"].any()) == spot
