"""A region of interest in `segment`: found inside, written in pixels of the whole image, nothing outside."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dinocli.progress import ProgressReporter
from dinocli.segmentation.anomaly import Anomaly
from dinocli.segmentation.attention_mask import AttentionMethod
from dinocli.segmentation.kmeans_segments import KMeansMethod
from dinocli.segmentation.method import FeatureGrid, Method
from dinocli.segmentation.pca_foreground import PcaMethod
from dinocli.segmentation.tokencut import TokenCut
from dinocli.tasks.inputs import ReadOptions
from dinocli.tasks.segment.inspection import inspect_images
from dinocli.tasks.segment.segment import segment
from dinocli.tasks.segment.segment_options import SegmentOptions
from tests.tasks.segment.discs import Unlike, disc, disc_options, draw

BOX = (40, 20, 128, 96)


@pytest.fixture
def framed(tmp_path: Path) -> Path:
    """An image of a disc inside a bright frame; in `cropped` what lies inside, in `truth` the disc of each."""
    for name in ("in", "cropped", "truth", "truth2"):
        (tmp_path / name).mkdir()
    whole, truth = np.full((140, 200), 255, np.uint8), np.zeros((140, 200), np.uint8)
    whole[20:116, 40:168], truth[20:116, 40:168] = draw(disc()), 255 * disc()
    for folder, pixels in (("in", whole), ("cropped", draw(disc())), ("truth", truth), ("truth2", disc())):
        Image.fromarray(pixels).save(tmp_path / folder / "a.png")
    return tmp_path


def _asked(images: Path, out: Path, roi: str = "", **more: object) -> SegmentOptions:
    options = disc_options(images, out, soft=True, overlay=True, **more)
    return SegmentOptions(**{**options.__dict__, "read": ReadOptions(workers=0, roi=roi)})


def test_masks_of_a_box_lie_on_the_whole_image(framed: Path) -> None:
    roi = ",".join(map(str, BOX))
    whole = segment(_asked(framed / "in", framed / "out", roi, truth=str(framed / "truth")), method=Unlike())
    part = segment(_asked(framed / "cropped", framed / "part", truth=str(framed / "truth2")), method=Unlike())
    assert whole.scores == part.scores
    for kind in ("masks", "soft"):
        placed, own = (np.asarray(Image.open(framed / out / kind / "a.png")) for out in ("out", "part"))
        assert placed.shape == (140, 200)
        np.testing.assert_array_equal(placed[20:116, 40:168], own)
        assert own.any()
        assert placed.sum() == own.sum(), "nothing outside"
    tables = []
    for out in ("out", "part"):
        with (framed / out / "segments.csv").open(newline="") as file:
            tables.append(next(csv.DictReader(file)))
    assert int(tables[0]["left"]) == int(tables[1]["left"]) + 40
    assert int(tables[0]["top"]) == int(tables[1]["top"]) + 20
    assert json.loads((framed / "out" / "segment.json").read_text())["reading"]["preprocess"]["roi"] == roi
    overlay = np.asarray(Image.open(framed / "out" / "overlays" / "a.jpg").convert("L")).astype(int)
    assert abs(overlay[5, 5] - 127) < 5, "what does not count is half as bright"


def test_a_detector_keeps_its_region(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number in range(8):
        pixels = np.random.default_rng(number).integers(100, 120, (120, 160)).astype(np.uint8)
        pixels[:, :40] = 250 * (np.arange(40) // 4 % 2)  # a fixture
        pixels[60:84, 100:124] = pixels[60:84, :24] if number == 3 else pixels[60:84, 100:124]
        Image.fromarray(pixels).save(tmp_path / "in" / f"{number}.png")
    options = _asked(tmp_path / "in", tmp_path / "out", "60,10,96,96", save_detector=str(tmp_path / "det"))
    segment(SegmentOptions(**{**options.__dict__, "method": "anomaly"}))
    asked = SegmentOptions(
        inputs=(str(tmp_path / "in"),), detector=str(tmp_path / "det"), device="cpu", read=ReadOptions(workers=0)
    )
    found = {Path(answer["image"]).stem: answer for answer in inspect_images(asked, ProgressReporter(), None)}
    assert [name for name, answer in found.items() if not answer["good"]] == ["3"]
    left, top, width, height = found["3"]["regions"][0]["box"]
    assert 92 <= left < left + width <= 132
    assert 52 <= top < top + height <= 92


METHODS: dict[str, Method] = {
    "anomaly": Anomaly(),
    "kmeans": KMeansMethod(segments=2),
    "pca": PcaMethod(),
    "tokencut": TokenCut(affinity_threshold=None),
    "attention": AttentionMethod(),
}


@pytest.mark.parametrize("name", METHODS)
def test_pixels_outside_a_mask_do_not_change_the_result(name: str) -> None:
    y, x = np.mgrid[:20, :24]
    inside_hw = (y - 10) ** 2 + (x - 12) ** 2 < 80
    found = []
    for seed in (1, 2):
        random, outside = np.random.default_rng(0), np.random.default_rng(seed)
        grids = []
        for image in range(12):
            values_hwD = 1 + 0.2 * random.random((20, 24, 6), np.float32)
            values_hwD[8:13, 9:15, :3] += 1 + (image == 3)
            values_hwD[~inside_hw] = outside.random((int((~inside_hw).sum()), 6), np.float32) * 9
            grids.append(FeatureGrid(values_hwD, image, inside_hw))
        maps = METHODS[name].fit(grids).apply(grids[3])
        found.append((maps.score, maps.empty_reason, maps.saliency()[inside_hw], maps.labels()[inside_hw]))
    assert found[0][:2] == found[1][:2]
    for one, other in zip(found[0][2:], found[1][2:], strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
        assert one.any()


def test_masks_are_empty_outside_a_mask(framed: Path) -> None:
    y, x = np.mgrid[:140, :200]
    Image.fromarray((abs(y - 68) + abs(x - 104) < 45).astype(np.uint8)).save(framed / "diamond.png")
    inside_HW = np.asarray(Image.open(framed / "diamond.png")) > 0
    segment(_asked(framed / "in", framed / "out", str(framed / "diamond.png")), method=Unlike())
    for kind in ("masks", "soft"):
        placed = np.asarray(Image.open(framed / "out" / kind / "a.png"))
        assert placed.shape == (140, 200)
        assert placed[inside_HW].any()
        assert not placed[~inside_HW].any()
