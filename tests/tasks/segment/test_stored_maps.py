"""Another threshold on stored distances, a detector for later images, and the answer about a part."""

import json
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dinocli.data.mask_reader import read_mask
from dinocli.errors import DataError, Interrupted, UsageError, WeightsError
from dinocli.progress import ProgressReporter
from dinocli.segmentation.annotation_formats import write_groups
from dinocli.segmentation.regions import ImageRecord, RegionRecord
from dinocli.tasks.inputs import ReadOptions
from dinocli.tasks.segment.detector import open_detector
from dinocli.tasks.segment.inspection import _arriving, inspect_images
from dinocli.tasks.segment.segment import segment
from dinocli.tasks.segment.segment_options import MaskOutputs, SegmentOptions
from tests.tasks.drive import Ears
from tests.tasks.segment.discs import StopsAfter

NET = {"model": "test_convnext", "weights": "none", "device": "cpu", "precision": "fp32"}


def _surface(seed: int, *, spot: bool) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(100, 120, (96, 96))
    if spot:
        pixels[40:64, 40:64] = 250 * (np.arange(24) // 4 % 2)  # stripes: to random weights, even grey is nothing odd
    return Image.fromarray(pixels.astype(np.uint8))


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen images in two parts, one of them with a spot; their masks and detector."""
    folder = tmp_path_factory.mktemp("anomaly")
    for number in range(16):
        path = folder / "in" / f"part{number % 2}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        _surface(number, spot=number == 4).save(path)
    segment(_options(folder, "masks", inputs=(str(folder / "in"),), save_detector=str(folder / "det"), **NET))
    return folder


def _options(folder: Path, out: str, **more: object) -> SegmentOptions:
    usual = {"method": "anomaly", "size": 96, "read": ReadOptions(workers=0)}
    if more.get("maps_from") or more.get("detector"):
        usual = {"read": ReadOptions(workers=0), "device": "cpu", "precision": "fp32"}
    return SegmentOptions(out=str(folder / out) if out else "", **{**usual, **more})  # type: ignore[arg-type]


def _masks(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted((folder / "masks").rglob("*.png"))}


def test_the_same_threshold_gives_the_same_masks(done: Path) -> None:
    result = segment(_options(done, "again", maps_from=str(done / "masks")))
    assert _masks(done / "again") == _masks(done / "masks")
    assert (done / "again" / "segments.csv").read_text() == (done / "masks" / "segments.csv").read_text()
    assert result.method.name == "anomaly"
    assert result.images == 16
    spots = [name for name, data in _masks(done / "masks").items() if read_mask(done / "masks" / name).labels_HW.any()]
    assert spots == ["masks/part0/4.png"]


def test_another_threshold_changes_masks_and_all_outputs_are_made(done: Path) -> None:
    low = {"method_options": {"threshold": "0.05"}, "min_area": 0}
    coco = str(done / "low.json")
    result = segment(
        _options(done, "low", maps_from=str(done / "masks"), outputs=MaskOutputs(coco=coco, overlay=True), **low)
    )
    straight = segment(_options(done, "straight", inputs=(str(done / "in"),), **NET, **low))
    assert _masks(done / "low") == _masks(done / "straight")
    assert _masks(done / "low") != _masks(done / "masks")
    assert result.regions == straight.regions == len(json.loads(Path(coco).read_text())["annotations"])
    assert len(list((done / "low" / "overlays").rglob("*.jpg"))) == 16
    again = segment(_options(done, "chain", maps_from=str(done / "low")))  # distances go on
    assert again.regions == segment(_options(done, "chain", maps_from=str(done / "masks"), force=True)).regions


def test_a_replaced_image_is_reported(done: Path) -> None:
    image, heard = done / "in" / "part1" / "5.png", Ears()
    before = image.stat().st_mtime
    os.utime(image, (time.time() + 60,) * 2)
    segment(_options(done, "replaced", maps_from=str(done / "masks")), heard)
    os.utime(image, (before, before))
    assert "1 image, such as ./part1/5.png, was modified after" in heard.warnings[0]
    segment(_options(done, "same", maps_from=str(done / "masks")), quiet := Ears())
    assert not quiet.warnings


def test_groups_of_objects_are_refused_also_where_auto_takes_tokencut(done: Path) -> None:
    alone = {"inputs": (str(done / "in"),), "read": ReadOptions(workers=0, include=("part0/4.png",))}
    with pytest.raises(UsageError, match="--groups belongs to --method anomaly, not to tokencut"):
        segment(_options(done, "objects", groups="folder", **{**alone, **NET, "method": "auto"}))


def test_an_image_above_the_threshold_without_a_region_is_named(done: Path) -> None:
    heard = Ears()
    result = segment(_options(done, "large", maps_from=str(done / "masks"), min_area=9000), heard)
    assert result.regions == 0
    assert "1 of 16 images have a patch above the threshold, but a region smaller than --min-area" in str(
        heard.warnings
    )


def test_options_of_the_first_command_are_refused(done: Path) -> None:
    with pytest.raises(UsageError, match="settles --sample, --seed"):
        segment(_options(done, "no", maps_from=str(done / "masks"), sample=3, seed=5))
    with pytest.raises(UsageError, match="settles --size, IMAGES"):
        segment(_options(done, "no", maps_from=str(done / "masks"), size=64, inputs=("x",)))
    with pytest.raises(UsageError, match="settles --weights, --size"):
        segment(_options(done, "no", detector=str(done / "det"), size=64, weights="x", inputs=(str(done / "in"),)))
    with pytest.raises(WeightsError, match=r"segment\.json cannot be read"):
        segment(_options(done, "no", maps_from=str(done / "nothing")))


def test_changed_images_and_damaged_distances_are_found(done: Path, tmp_path: Path) -> None:
    shutil.copytree(done / "masks", tmp_path / "masks")
    (tmp_path / "masks" / "distances" / "part0" / "2.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(WeightsError, match=r"2\.npy cannot be read"):
        segment(_options(tmp_path, "out", maps_from=str(tmp_path / "masks")))
    image = done / "in" / "part0" / "2.png"
    kept = tmp_path / "kept.png"
    shutil.copy2(image, kept)
    try:
        Image.new("L", (160, 96)).save(image)
        with pytest.raises(DataError, match="has changed since"):
            segment(_options(tmp_path, "new", maps_from=str(done / "masks")))
    finally:
        shutil.copy2(kept, image)


def test_a_detector_answers_about_new_images(done: Path, tmp_path: Path) -> None:
    (tmp_path / "new" / "part7").mkdir(parents=True)
    for name, spot in (("a.png", False), ("b.png", True)):
        _surface(77, spot=spot).save(tmp_path / "new" / "part7" / name)
    (tmp_path / "new" / "part7" / "c.png").write_bytes(b"no image")
    options = _options(tmp_path, "", detector=str(done / "det"), inputs=(str(tmp_path / "new"),), groups="folder")
    good, bad, broken = inspect_images(options, ProgressReporter(), None)
    assert (good["good"], bad["good"]) == (True, False)
    assert good["regions"] == []
    left, top, width, height = bad["regions"][0]["box"]
    assert left < 52 < left + width
    assert top < 52 < top + height
    assert bad["score"] > good["score"]
    assert bad["furthest"] > 1 > good["furthest"]
    assert (bad["group"], bad["group_good"], bad["group_score"]) == ("part7", False, bad["score"])
    assert "not an image" in broken["error"]
    (one,) = inspect_images(replace(options, inputs=(bad["image"],)), ProgressReporter(), None)
    assert (one["group"], one["group_score"]) == ("part7", bad["score"]), "of a single image, the group is its folder"
    result = segment(replace(options, out=str(tmp_path / "out"), read=ReadOptions(workers=0, max_bad="1")))
    assert (result.segmented, result.empty_images, result.bad) == (2, 1, 1)
    assert result.groups == {"groups": 1, "good": 0, "unknown": 0}
    row = (tmp_path / "out" / "groups.csv").read_text().splitlines()[1].split(",")
    assert (row[0], row[1], row[3], row[4]) == ("part7", "2", "0", "./part7/b.png")


@pytest.mark.parametrize(("features", "kinds"), [("coarse", 1), ("both", 2)])
def test_a_detector_of_coarse_features_looks_as_coarsely_at_new_images(
    done: Path, tmp_path: Path, features: str, kinds: int
) -> None:
    asked = {"method_options": {"features": features}, "size": 288, "save_detector": str(tmp_path / "det"), **NET}
    first = segment(_options(tmp_path, "first", inputs=(str(done / "in"),), **asked))
    again = segment(_options(tmp_path, "again", maps_from=str(tmp_path / "first")))
    later = segment(_options(tmp_path, "later", inputs=(str(done / "in"),), detector=str(tmp_path / "det")))
    assert first.segmented == later.segmented == 16
    assert {one.method.parameters["features"] for one in (first, again, later)} == {features}
    assert _masks(tmp_path / "again") == _masks(tmp_path / "first")
    (answer,) = list(
        inspect_images(
            _options(tmp_path, "", detector=str(tmp_path / "det"), inputs=(str(done / "in" / "part0" / "4.png"),)),
            ProgressReporter(),
            None,
        )
    )
    assert 0 <= answer["score"] <= 1
    assert np.load(tmp_path / "later" / "distances" / "part0" / "4.npy").shape == (kinds, 36, 36)


def test_paths_on_stdin_are_answered_as_they_come(done: Path, tmp_path: Path) -> None:
    paths = [str(done / "in" / "part0" / "4.png"), str(tmp_path / "new.png")]
    _surface(99, spot=False).save(paths[1])
    end, start = os.pipe()
    with os.fdopen(end, "rb") as stdin:
        coming = inspect_images(
            _options(done, "", detector=str(done / "det"), inputs=("-",)), ProgressReporter(), stdin
        )
        os.write(start, f"{paths[0]}\n".encode())
        first = next(coming)  # nobody has closed the pipe
        os.write(start, paths[1].encode())
        os.close(start)
        assert [(one["image"], one["good"]) for one in (first, *coming)] == [(paths[0], False), (paths[1], True)]


@pytest.mark.parametrize(
    ("content", "end", "paths"),
    [
        (b"a.png\r\n\r\n \nb\xff.png\r\nc.png\r", b"\n", ["a.png", "b\udcff.png", "c.png"]),  # the last one has no end
        (b"a.png\r\0 \0\0b\n.png\0c\r", b"\0", ["a.png\r", " ", "b\n.png", "c\r"]),  # names are taken verbatim
    ],
)
def test_arriving_paths_are_split(tmp_path: Path, content: bytes, end: bytes, paths: list[str]) -> None:
    (tmp_path / "list").write_bytes(content)
    with (tmp_path / "list").open("rb") as stdin:
        assert list(_arriving(stdin, end)) == paths


def test_stdin_and_a_folder_are_answered_together_with_groups_below_their_root(done: Path) -> None:
    part0, part1 = (done / "in" / part for part in ("part0", "part1"))
    (done / "list").write_text(f"{part0 / '4.png'}\n{part0 / '2.png'}\n")
    options = _options(done, "", detector=str(done / "det"), inputs=("-", str(part1)), groups="folder:0")
    with (done / "list").open("rb") as stdin:
        found = [*inspect_images(options, ProgressReporter(), stdin)]
    assert [Path(one["image"]).parent.name for one in found] == ["part0"] * 2 + ["part1"] * 8
    assert [one["group"] for one in found] == ["part0"] * 2 + ["part1"] * 8
    assert [one["group_good"] for one in found[:2]] == [True, False]


def test_a_detector_refines_as_it_was_saved_unless_told(done: Path, tmp_path: Path) -> None:
    shutil.copytree(done / "det", tmp_path / "det")
    path = tmp_path / "det" / "detector.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"refine": False}))
    opened = {
        (kind, refine): open_detector(_options(done, "", detector=str(place / "det"), inputs=("x",), refine=refine))[1]
        for kind, place in (("refined", done), ("plain", tmp_path))
        for refine in (None, True, False)
    }
    assert {key: options.refines for key, options in opened.items()} == {
        ("refined", None): True,
        ("refined", True): True,
        ("refined", False): False,
        ("plain", None): False,
        ("plain", True): True,
        ("plain", False): False,
    }


@pytest.mark.parametrize("way", ["folder", "paths on stdin", "masks"])
def test_images_of_another_range_than_a_detector_get_a_warning(done: Path, tmp_path: Path, way: str) -> None:
    """The advice works: a detector refuses --range."""
    Image.fromarray(np.array(_surface(5, spot=False)).astype(np.uint16) * 256).save(tmp_path / "deep.png")
    images = (str(tmp_path / "deep.png"),)
    options = _options(done, str(tmp_path / "masks"), detector=str(done / "det"), inputs=images)
    heard = Ears()
    if way == "masks":
        with pytest.raises(DataError, match="uint16"):
            segment(options, heard)
    elif way == "paths on stdin":
        (tmp_path / "list").write_text(f"{tmp_path / 'deep.png'}\n")
        with (tmp_path / "list").open("rb") as lines:
            list(inspect_images(replace(options, inputs=("-",)), heard, lines))
    else:
        list(inspect_images(options, heard, None))
    assert len(heard.warnings) == 1, heard.warnings
    assert heard.warnings[0].startswith("1 of 1 files are uint16, and the range of detector ")
    assert heard.warnings[0].endswith("/det again with it")


def test_a_detector_records_the_canvas_of_images_that_have_one(done: Path, tmp_path: Path) -> None:
    assert json.loads((done / "det" / "detector.json").read_text())["canvas"] == [96, 96]
    for name, size in (("a", (96, 96)), ("b", (96, 128))):
        Image.new("L", size).save(tmp_path / f"{name}.png")
    segment(_options(tmp_path, "out", inputs=(str(tmp_path),), save_detector=str(tmp_path / "det"), **NET))
    assert json.loads((tmp_path / "det" / "detector.json").read_text())["canvas"] is None


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_detector_keeps_its_precision(done: Path, tmp_path: Path, precision: str) -> None:
    saved = {"save_detector": str(tmp_path / "det"), "inputs": (str(done / "in"),), **NET, "precision": precision}
    segment(_options(tmp_path, "masks", **saved))
    for asked, settled in (("auto", precision), ("fp16", "fp16")):
        _, options = open_detector(SegmentOptions((), detector=str(tmp_path / "det"), precision=asked))
        assert options.precision == settled


def test_a_mixed_or_damaged_detector_is_refused(done: Path, tmp_path: Path) -> None:
    shutil.copytree(done / "det", tmp_path / "det")
    (tmp_path / "det" / "anomaly.safetensors").write_bytes(b"other")
    options = _options(tmp_path, "", detector=str(tmp_path / "det"), inputs=(str(done / "in"),))
    with pytest.raises(WeightsError, match=r"is not the file that detector\.json names"):
        next(inspect_images(options, ProgressReporter(), None))


def test_groups_take_the_worst_image(done: Path) -> None:
    result = segment(_options(done, "groups", maps_from=str(done / "masks"), groups="folder"))
    rows = [line.split(",") for line in (done / "groups" / "groups.csv").read_text().splitlines()[1:]]
    assert [(row[0], row[1], row[3]) for row in rows] == [("part0", "8", "0"), ("part1", "8", "1")]
    assert rows[0][4] == "./part0/4.png"
    assert result.groups == {"groups": 2, "good": 1, "unknown": 0}


def test_images_without_a_group_are_named(done: Path) -> None:
    (done / "groups.csv").write_text("path,part\n./part1/1.png,a\n./part1/3.png,a\n")
    heard = Ears()
    result = segment(_options(done, "some", maps_from=str(done / "masks"), groups=str(done / "groups.csv")), heard)
    assert result.groups == {"groups": 1, "good": 1, "unknown": 0}, "the defective image is in none"
    (warning,) = heard.warnings
    assert warning.startswith("14 of 16 images have no group in")


def test_a_defective_image_stands_for_its_group_whatever_the_scores(tmp_path: Path) -> None:
    """The score is a mean of the highest values; a small defect has a lower one than a worn, good image."""
    spot = RegionRecord(1, 4, (0, 0, 2, 2), 0.9)
    records = [
        ImageRecord(f"./part/{name}.png", f"masks/{name}.png", 8, 8, score, "", {}, regions)
        for name, score, regions in (("worn", 0.3, ()), ("faint", 0.2, (spot,)), ("clean", 0.1, ()))
    ]
    groups = {record.image: "part" for record in records} | {"./other.png": "other"}
    records.append(ImageRecord("./other.png", "masks/other.png", 8, 8, 0.4, "", {}, ()))
    assert write_groups(tmp_path / "groups.csv", groups, records) == {"groups": 2, "good": 1, "unknown": 0}
    rows = [line.split(",") for line in (tmp_path / "groups.csv").read_text().splitlines()[1:]]
    assert rows == [["part", "3", "0.2", "0", "./part/faint.png", "0"], ["other", "1", "0.4", "1", "./other.png", "0"]]


def test_a_group_with_an_unreadable_or_blank_image_is_not_known_to_be_good(done: Path, tmp_path: Path) -> None:
    """A defect decides; else the missing view could show one."""
    for group, names in {"a": "gd", "b": "gx", "c": "xx", "d": "gb", "e": "gg", "f": "dx"}.items():
        (tmp_path / "in" / group).mkdir(parents=True)
        for number, kind in enumerate(names):
            path = tmp_path / "in" / group / f"{number}.png"
            _surface(60 + number, spot=kind == "d").save(path)
            if kind == "x":
                path.write_bytes(b"broken")
            elif kind == "b":
                Image.new("L", (96, 96), 128).save(path)
    read = ReadOptions(workers=0, max_bad="9")
    options = _options(tmp_path, "out", detector=str(done / "det"), inputs=(str(tmp_path / "in"),), groups="folder")
    heard = Ears()
    result = segment(replace(options, read=read), heard)
    rows = [line.split(",") for line in (tmp_path / "out" / "groups.csv").read_text().splitlines()[1:]]
    expected = {"a": ("0", "0"), "b": ("", "1"), "c": ("", "2"), "d": ("", "1"), "e": ("1", "0"), "f": ("0", "1")}
    assert {row[0]: (row[3], row[5]) for row in rows} == expected
    assert result.groups == {"groups": 6, "good": 1, "unknown": 3}
    assert "1 of 8 images are blank, such as ./d/1.png: not judged" in heard.warnings
    last = {answer["group"]: answer for answer in inspect_images(replace(options, out=""), ProgressReporter(), None)}
    assert {group: last[group].get("group_good", "error") for group in "abcdef"} == {
        **{"a": False, "b": "error", "c": "error", "d": False, "e": True, "f": "error"}
    }
    backwards = replace(
        options, out="", inputs=(str(tmp_path / "in" / "b" / "1.png"), str(tmp_path / "in" / "b" / "0.png"))
    )
    assert [answer.get("group_good", "error") for answer in inspect_images(backwards, ProgressReporter(), None)] in (
        [True, "error"],
        ["error", None],
    )


def test_exact_copies_get_the_masks_of_the_first_and_are_no_evidence(done: Path, tmp_path: Path) -> None:
    """Nine copies of one defect are one defect; before, copies had distances of chance to each other."""
    shutil.copytree(done / "in", tmp_path / "in")
    for number in range(9):
        shutil.copy(tmp_path / "in" / "part0" / "4.png", tmp_path / "in" / "part0" / f"copy{number}.png")
    heard = Ears()
    segment(_options(tmp_path, "out", inputs=(str(tmp_path / "in"),), **NET), heard)
    assert any("exact copies of others: 9 images" in line for line in heard.lines)
    judged = Ears()
    segment(_options(tmp_path, "judged", inputs=(str(tmp_path / "in"),), detector=str(done / "det")), judged)
    assert not any("exact copies" in line for line in judged.lines), "a detector compares no images with each other"
    masks = {Path(name).name: data for name, data in _masks(tmp_path / "out").items()}
    assert all(masks[f"copy{number}.png"] == masks["4.png"] for number in range(9))
    assert read_mask(tmp_path / "out" / "masks" / "part0" / "4.png").labels_HW.any()
    shutil.rmtree(tmp_path / "in" / "part1")
    for number in range(0, 16, 2):
        (tmp_path / "in" / "part0" / f"{number}.png").unlink()
    with pytest.raises(DataError, match="one image has no others to be compared with"):
        segment(_options(tmp_path, "equal", inputs=(str(tmp_path / "in"),), **NET))


def test_a_blank_image_is_not_good(done: Path, tmp_path: Path) -> None:
    Image.new("L", (96, 96), 110).save(tmp_path / "a.png")
    options = _options(tmp_path, "", detector=str(done / "det"), inputs=(str(tmp_path / "a.png"),))
    (answer,) = inspect_images(options, ProgressReporter(), None)
    assert (answer["good"], answer["whole_image"], answer["regions"]) == (False, True, [])
    segment(replace(options, out=str(tmp_path / "out")))
    assert "blank: one colour everywhere" in (tmp_path / "out" / "segments.csv").read_text()


def test_the_first_images_of_a_stream_are_checked(done: Path, tmp_path: Path) -> None:
    for number in range(3):
        pixels = np.array(_surface(number, spot=False)).astype(np.uint16) * (256 if number else 1)
        Image.fromarray(pixels if number else pixels.astype(np.uint8)).save(tmp_path / f"{number}.png")
    (tmp_path / "list").write_text("".join(f"{tmp_path / f'{number}.png'}\n" for number in (0, 1, 2)))
    options, heard = _options(tmp_path, "", detector=str(done / "det"), inputs=("-",)), Ears()
    with (tmp_path / "list").open("rb") as lines:
        assert len(list(inspect_images(options, heard, lines))) == 3
    assert ["uint16" in warning for warning in heard.warnings] == [True, True]


def test_a_resumed_command_scores_all_images_of_good_folders(tmp_path: Path) -> None:
    for number in range(12):
        path = tmp_path / "in" / ("good" if number % 2 else "bad") / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        _surface(number, spot=number == 4).save(path)
    job = _options(tmp_path, "whole", inputs=(str(tmp_path / "in"),), **NET)
    whole = segment(job)
    assert sum(whole.confusion.values()) == 12
    parts = replace(job, out=str(tmp_path / "parts"), save_detector=str(tmp_path / "det"))
    with pytest.raises(Interrupted):
        segment(parts, StopsAfter(7))
    assert (tmp_path / "det").is_dir()
    with pytest.raises(UsageError, match="is unfinished: add --resume"):
        parts.check_detector()
    resumed = segment(replace(parts, resume=True))
    assert (resumed.confusion, resumed.scores) == (whole.confusion, whole.scores)
    shutil.rmtree(tmp_path / "det")
    with pytest.raises(UsageError, match=r"is complete, without --save-detector .*: add --force"):
        segment(replace(parts, resume=True))
