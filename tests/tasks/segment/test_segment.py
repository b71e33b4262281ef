"""The whole way from files to files, with a method that random weights are good enough for."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from dinocli.data.georeference import georeference_of
from dinocli.errors import DataError, Interrupted, UsageError
from dinocli.progress import ProgressReporter
from dinocli.segmentation.method import PatchMaps
from dinocli.tasks.segment.segment import segment
from tests.data.test_georeference import KEYS, SCALE, TIEPOINT, UTM33, geotiff
from tests.tasks.segment.discs import StopsAfter, Unlike, disc, disc_options, draw, make_discs


def mask_of(out: Path, stem: str) -> NDArray[Any]:
    return np.asarray(Image.open(out / "masks" / f"{stem}.png"))


def iou(one: NDArray[Any], other: NDArray[Any]) -> float:
    return float(((one > 0) & (other > 0)).sum() / ((one > 0) | (other > 0)).sum())


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in files(folder) if name != "segment.json"}


def test_every_output_is_written(tmp_path: Path) -> None:
    images, out = make_discs(tmp_path / "in", ("a.png", "a.jpg", "b/c.tif")), tmp_path / "out"
    asked = {"soft": True, "overlay": True, "yolo": True, "coco": str(out / "masks.coco.json")}
    outcome = segment(disc_options(images, out, **asked), method=Unlike())
    assert (outcome.images, outcome.segmented, outcome.empty_images, outcome.bad) == (3, 3, 0, 0)
    stems = ("a.png", "a.jpg", "b/c")
    folders = {"masks": ".png", "soft": ".png", "overlays": ".jpg", "labels": ".txt"}
    expected = {f"{folder}/{stem}{suffix}" for folder, suffix in folders.items() for stem in stems}
    assert files(out) - expected == {"masks.coco.json", "classes.txt", "segments.csv", "report.html", "segment.json"}
    assert expected <= files(out)
    for stem in stems:
        assert iou(mask_of(out, stem), disc()) > 0.8
    soft = np.asarray(Image.open(out / "soft" / "b" / "c.png")) / 65535
    assert soft[disc()].mean() > 0.6 > 0.3 > soft[~disc()].mean()
    with (out / "segments.csv").open(newline="") as table:
        assert [row["image"] for row in csv.DictReader(table)] == ["./a.jpg", "./a.png", "./b/c.tif"]
    assert json.loads((out / "segment.json").read_text())["request"]["size"] == 96


@pytest.mark.parametrize("turn", [1, 3, 6, 8])
def test_masks_lie_on_the_picture_as_a_viewer_shows_it(tmp_path: Path, turn: int) -> None:
    upright = draw(np.pad(disc(64, 64), ((0, 32), (0, 64))))
    stored = {1: upright, 3: upright[::-1, ::-1], 6: np.rot90(upright, 1), 8: np.rot90(upright, -1)}[turn]
    exif = Image.Exif()
    exif[274] = turn
    (tmp_path / "in").mkdir()
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "in" / "a.png", exif=exif)
    segment(disc_options(tmp_path / "in", tmp_path / "out"), method=Unlike())
    mask = Image.open(tmp_path / "out" / "masks" / "a.png")
    assert mask.size == (128, 96)
    assert not mask.getexif()
    assert iou(np.asarray(mask), np.pad(disc(64, 64), ((0, 32), (0, 64)))) > 0.7


def test_deep_palette_and_thin_images(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    picture = draw(disc())
    Image.fromarray(picture).convert("RGB").quantize(16).save(folder / "palette.png")
    Image.fromarray(np.dstack([picture] * 3 + [np.full_like(picture, 255)])).save(folder / "alpha.png")
    for name, shape in (("thin.png", (90, 1)), ("flat.png", (1, 90)), ("dot.png", (1, 1))):
        Image.fromarray(np.zeros(shape, np.uint8)).save(folder / name)
    segment(disc_options(folder, tmp_path / "out"), method=Unlike())
    for name, shape in (("thin", (90, 1)), ("flat", (1, 90)), ("dot", (1, 1))):
        assert mask_of(tmp_path / "out", name).shape == shape
    for name in ("palette", "alpha"):
        assert iou(mask_of(tmp_path / "out", name), disc()) > 0.8


def test_twelve_bits_in_sixteen_are_segmented_as_eight(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    Image.fromarray(draw(disc()).astype(np.uint16) * 16).save(tmp_path / "in" / "a.png")  # 12 bits of 16
    segment(disc_options(tmp_path / "in", tmp_path / "out", overlay=True), method=Unlike())
    assert iou(mask_of(tmp_path / "out", "a"), disc()) > 0.8


def test_a_flat_image_gets_an_empty_mask_and_a_row_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    Image.fromarray(np.full((96, 128), 77, np.uint8)).save(tmp_path / "in" / "a.png")
    outcome = segment(disc_options(tmp_path / "in", tmp_path / "out"), method=Unlike())
    assert outcome.empty_images == 1
    assert not mask_of(tmp_path / "out", "a").any()
    with (tmp_path / "out" / "segments.csv").open(newline="") as table:
        (row,) = csv.DictReader(table)
    assert (row["segment"], row["area"], row["empty_reason"]) == ("0", "0", "flat")


def test_more_than_255_labels_are_16_bit(tmp_path: Path) -> None:
    class Many(Unlike):
        def apply(self, grid: Any) -> PatchMaps:
            rows, columns = grid.values_hwD.shape[:2]
            soft = np.zeros((300, rows, columns), np.float32)
            soft[299] = 1
            return PatchMaps(soft, -1, 1.0, saliency_hw=soft[0])

    segment(disc_options(make_discs(tmp_path / "in", ("a.png",)), tmp_path / "out"), method=Many())
    assert mask_of(tmp_path / "out", "a").dtype == np.uint16
    assert (mask_of(tmp_path / "out", "a") == 300).all()


def test_an_unreadable_image_is_left_out_and_named(tmp_path: Path) -> None:
    images = make_discs(tmp_path / "in", tuple(f"{number:02}.png" for number in range(12)))
    (images / "05.png").write_bytes(b"broken")
    outcome = segment(disc_options(images, tmp_path / "out"), method=Unlike())
    assert (outcome.segmented, outcome.bad) == (11, 1)
    assert "./05.png" in (tmp_path / "out" / "images.bad.csv").read_text()
    with pytest.raises(DataError, match=r"05\.png"):
        segment(disc_options(images, tmp_path / "strict", max_bad="0"), method=Unlike())


def test_an_interrupted_run_goes_on_and_gives_the_same(tmp_path: Path) -> None:
    images = make_discs(tmp_path / "in", ("a.png", "b.png", "c.png", "d.png"))
    asked = {"soft": True, "overlay": True, "yolo": True}
    segment(disc_options(images, tmp_path / "whole", **asked), method=Unlike())
    options = disc_options(images, tmp_path / "parts", **asked)
    with pytest.raises(Interrupted, match=r"after 2 of 4.*--resume"):
        segment(options, StopsAfter(2), method=Unlike())
    assert not (tmp_path / "parts" / "segments.csv").exists()
    with (tmp_path / "parts" / ".segment.jsonl").open("ab") as log:
        log.write(b'{"image":2,"rec')  # cut off in the middle of a line
    second = Unlike()
    resumed = disc_options(images, tmp_path / "parts", **asked, resume=True)
    segment(resumed, method=second)
    assert second.seen == [2, 3]
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")
    again = Unlike()
    assert segment(resumed, method=again).segmented == 4
    assert again.seen == []


def test_masks_of_geotiff_are_geotiff_too(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    tags = {SCALE: (10.0, 10.0, 0.0), TIEPOINT: (0.0, 0.0, 0.0, 500_000.0, 4_600_000.0, 0.0), KEYS: UTM33}
    geotiff(tmp_path / "in" / "a.tif", tags)
    segment(disc_options(tmp_path / "in", tmp_path / "out"), method=Unlike())
    place = georeference_of(str(tmp_path / "out" / "geotiff" / "a.tif"))
    assert place is not None
    assert (place.crs, place.transform) == ("EPSG:32633", (500_000, 10, 0, 4_600_000, 0, -10))


def test_another_request_does_not_go_on(tmp_path: Path) -> None:
    images = make_discs(tmp_path / "in", ("a.png", "b.png"))
    with pytest.raises(Interrupted):
        segment(disc_options(images, tmp_path / "out"), StopsAfter(1), method=Unlike())
    with pytest.raises(UsageError, match=r"--resume needs the same command.*size: 96 -> 64"):
        segment(disc_options(images, tmp_path / "out", size=64, resume=True), method=Unlike())


def test_only_what_is_ours_is_replaced(tmp_path: Path) -> None:
    images = make_discs(tmp_path / "in", ("a.png",))
    truth = tmp_path / "set" / "masks" / "a.png"
    truth.parent.mkdir(parents=True)
    truth.write_bytes(b"somebody's truth")
    for more in ({}, {"force": True}, {"resume": True}):
        with pytest.raises(UsageError, match="not made by `dinocli segment`"):
            segment(disc_options(images, tmp_path / "set", **more), method=Unlike())
    assert truth.read_bytes() == b"somebody's truth"
    segment(disc_options(images, tmp_path / "out", soft=True), method=Unlike())
    with pytest.raises(UsageError, match="already exists"):
        segment(disc_options(images, tmp_path / "out"), method=Unlike())
    segment(disc_options(images, tmp_path / "out", force=True), method=Unlike())
    assert not (tmp_path / "out" / "soft").exists()
    (tmp_path / "c.json").write_text("mine")
    with pytest.raises(UsageError, match=r"c\.json already exists"):
        segment(disc_options(images, tmp_path / "new", coco=str(tmp_path / "c.json")), method=Unlike())


def test_truth_gives_scores(tmp_path: Path) -> None:
    images = make_discs(tmp_path / "in", ("a.png", "b.png", "x/c.png", "none.png"))
    for name in ("a.png", "b_mask.png", "x/c.bmp"):
        (tmp_path / "truth" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(disc().astype(np.uint8) * 255).save(tmp_path / "truth" / name)
    warnings: list[str] = []
    reporter = ProgressReporter()
    reporter.warn = warnings.append  # type: ignore[method-assign,assignment]
    outcome = segment(disc_options(images, tmp_path / "out", truth=str(tmp_path / "truth")), reporter, method=Unlike())
    assert warnings == [
        f"1 of 4 images have no mask in {tmp_path / 'truth'}; the scores leave them out "
        f"(--good-without-mask counts them as good)"
    ]
    exact = [iou(mask_of(tmp_path / "out", stem), disc()) for stem in ("a", "b", "x/c")]
    value, low, high = outcome.scores["IoU"]
    assert value == pytest.approx(np.mean(exact), abs=1e-6)
    assert low <= value <= high
    assert outcome.scores["pixel AUROC"][0] > 0.95
    assert outcome.scores["AUPRO"][0] > 0.7
    assert "Against the truth" in (tmp_path / "out" / "report.html").read_text()


def test_segments_everywhere_are_scored_by_the_best_one(tmp_path: Path) -> None:
    images = make_discs(tmp_path / "in", ("a.png", "b.png"))
    for name in ("a.png", "b.png"):
        (tmp_path / "truth").mkdir(exist_ok=True)
        Image.fromarray(disc().astype(np.uint8)).save(tmp_path / "truth" / name)
    options = disc_options(images, tmp_path / "out", truth=str(tmp_path / "truth"))
    outcome = segment(options, method=Unlike(dense=True))
    assert outcome.scores["best segment IoU"][0] > 0.8
    assert "IoU" not in outcome.scores


def test_a_truth_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    images = make_discs(tmp_path / "in", ("a.png",))
    (tmp_path / "truth").mkdir()
    Image.fromarray(disc(50, 50).astype(np.uint8)).save(tmp_path / "truth" / "a.png")
    with pytest.raises(DataError, match="has 50x50 px, its image 128x96"):
        segment(disc_options(images, tmp_path / "out", truth=str(tmp_path / "truth")), method=Unlike())
    (tmp_path / "truth" / "a.png").rename(tmp_path / "truth" / "other.png")
    with pytest.raises(DataError, match="no image has a mask"):
        segment(disc_options(images, tmp_path / "out2", truth=str(tmp_path / "truth")), method=Unlike())


@pytest.mark.parametrize("more", [{"tile": "64:16"}, {"size": 64}, {"refine": False}, {"sample": 1}, {"npy": True}])
def test_every_option_does_something(tmp_path: Path, more: dict[str, Any]) -> None:
    images = make_discs(tmp_path / "in", ("a.png", "b.png"))
    usual, changed = (
        (segment(disc_options(images, tmp_path / str(part), **own), method=Unlike()), tmp_path / str(part))
        for part, own in ((0, {"soft": True}), (1, {"soft": True, **more}))
    )
    assert contents(usual[1]) != contents(changed[1]) or usual[0].method != changed[0].method


def test_attention_shows_its_heads_and_scores_them(tmp_path: Path) -> None:
    images = make_discs(tmp_path / "in", ("a.png",))
    (tmp_path / "truth").mkdir()
    Image.fromarray(disc().astype(np.uint8)).save(tmp_path / "truth" / "a.png")
    vit = {"model": "vit_tiny_patch16_224", "method": "attention", "stride": 8, "maps": True}
    outcome = segment(disc_options(images, tmp_path / "out", truth=str(tmp_path / "truth"), **vit))
    best, mean = (outcome.scores[f"head Jaccard, {word}"][0] for word in ("best (chosen by the truth)", "mean"))
    assert 0 < mean <= best < 1
    assert {f"maps/a.head{head}.png" for head in range(3)} <= files(tmp_path / "out")
    assert np.asarray(Image.open(tmp_path / "out" / "maps" / "a.mean.png")).shape == (11, 15)  # (128 - 16) / 8 + 1


def test_a_query_asks_another_patch(tmp_path: Path) -> None:
    images = make_discs(tmp_path / "in", ("a.png",))
    vit = {"model": "vit_tiny_patch16_224", "method": "attention", "maps": True}
    for name, query in (("one", "0.1,0.1"), ("other", "0.5,0.5")):
        segment(disc_options(images, tmp_path / name, query=query, **vit))
    one, other = ((tmp_path / name / "maps" / "a.head0.png").read_bytes() for name in ("one", "other"))
    assert one != other
    with pytest.raises(UsageError, match=r"--query '2,0' is not x,y"):
        segment(disc_options(images, tmp_path / "out", query="2,0", **vit))


def test_good_images_of_another_folder_are_the_reference(tmp_path: Path) -> None:
    good, parts = tmp_path / "good", tmp_path / "parts"
    for folder, count in ((good, 6), (parts, 2)):
        folder.mkdir()
        for seed in range(count):
            Image.fromarray(draw(np.zeros((96, 128), bool), seed + 10 * count)).save(folder / f"{seed}.png")
    marked = draw(disc(), 99)
    Image.fromarray(marked).save(parts / "0.png")
    outcome = segment(disc_options(parts, tmp_path / "out", reference=str(good)))
    assert (outcome.method.name, outcome.method.reason) == ("anomaly", "there are good images to compare with")
    assert iou(mask_of(tmp_path / "out", "0"), disc()) > 0.3
    assert not mask_of(tmp_path / "out", "1").any()


@pytest.mark.parametrize(
    ("suffix", "words"), [("png", "8 of 8 images in --reference"), ("bmp", "./0.png has the pixels of an image in")]
)
def test_a_reference_that_holds_the_tested_images_hides_no_defect(tmp_path: Path, suffix: str, words: str) -> None:
    parts, reference = tmp_path / "parts", tmp_path / "reference"
    parts.mkdir()
    reference.mkdir()
    for seed in range(8):
        image = Image.fromarray(draw(disc() if seed == 0 else np.zeros((96, 128), bool), seed))
        image.save(parts / f"{seed}.png")
        image.save(reference / f"{seed}.{suffix}")
    warnings: list[str] = []
    reporter = ProgressReporter()
    reporter.warn = warnings.append  # type: ignore[method-assign,assignment]
    segment(disc_options(parts, tmp_path / "out", reference=str(reference)), reporter)
    assert iou(mask_of(tmp_path / "out", "0"), disc()) > 0.3
    assert [words in warning for warning in warnings if "--reference" in warning] == [True]


def test_folder_names_say_which_images_are_good(tmp_path: Path) -> None:
    for seed in range(8):
        path = tmp_path / "in" / ("crack" if seed == 0 else "good") / f"{seed}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw(disc() if seed == 0 else np.zeros((96, 128), bool), seed)).save(path)
    outcome = segment(disc_options(tmp_path / "in", tmp_path / "out", method="anomaly"))
    assert sum(outcome.confusion.values()) == 8
    assert outcome.confusion["true_positive"] == 1
    assert outcome.scores["image AUROC"][0] == 1
    assert json.loads((tmp_path / "out" / "segment.json").read_text())["confusion"] == dict(outcome.confusion)


@pytest.mark.parametrize("method", ["pca", "kmeans"])
@pytest.mark.parametrize("side", [96, 16])  # of one patch, too
def test_blank_images_have_no_mask(tmp_path: Path, method: str, side: int) -> None:
    for number in range(3):
        Image.new("L", (side, side), 90).save(tmp_path / f"{number}.png")
    options = disc_options(tmp_path, tmp_path / "out", method=method, model="test_resnet", size=side)
    assert segment(options).empty_images == 3
