"""Fine or coarse features by synthetic defects."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dinocli.progress import ProgressReporter
from dinocli.segmentation import feature_choice
from dinocli.segmentation.anomaly import Anomaly
from dinocli.segmentation.feature_choice import features_to_try
from dinocli.segmentation.sensitivity import Sensitivity
from dinocli.tasks.inputs import ReadOptions
from dinocli.tasks.segment.segment import segment
from dinocli.tasks.segment.segment_options import SegmentOptions, SegmentResult
from tests.tasks.drive import Ears


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    random = np.random.default_rng(0)
    for number in range(4):
        Image.fromarray(random.integers(100, 120, (48, 48), np.uint8)).save(folder / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def many(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve images, enough for the distribution of their maxima."""
    folder = tmp_path_factory.mktemp("many")
    random = np.random.default_rng(3)
    for number in range(12):
        pixels = random.integers(100, 120, (48, 48), np.uint8)
        pixels[20:28, 4:44] += np.uint8(20 * (number == 5))
        Image.fromarray(pixels).save(folder / f"{number:02}.png")
    return folder


def _run(images: Path, out: Path, reporter: ProgressReporter, size: int = 288, **more: object) -> SegmentResult:
    options = SegmentOptions(
        (str(images),),
        out=str(out),
        method="anomaly",
        model="test_convnext",
        weights="none",
        size=size,
        device="cpu",
        precision="fp32",
        read=ReadOptions(workers=0),
        **more,  # type: ignore[arg-type]
    )
    return segment(options, reporter)


@pytest.mark.parametrize(
    ("fine", "coarse", "chosen", "warned"),
    [(8, 16, "fine", False), (7, 9, "coarse", False), (1, 3, "coarse", True), (3, 4, "fine", True)],
)
def test_coarse_features_are_taken_where_fine_ones_find_few(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fine: int, coarse: int, chosen: str, *, warned: bool
) -> None:
    found = iter([fine] if fine == 8 else [fine, fine, coarse])  # again with more images, if there are
    monkeypatch.setattr(feature_choice, "sensitivity", lambda *_: Sensitivity(next(found), 16))
    reporter = Ears()
    result = _run(images, tmp_path / "out", reporter)
    facts = json.loads((tmp_path / "out" / "segment.json").read_text())["method"]["parameters"]
    assert facts == dict(result.method.parameters)
    assert (facts["features"], facts["synthetic_defects"]) == (chosen, 16)
    assert facts["found_by_fine_features"] == fine
    assert facts.get("found_by_coarse_features") == (None if fine == 8 else coarse)
    count = coarse if chosen == "coarse" else fine
    (line,) = [line for line in reporter.lines if line.startswith(f"{chosen} features find {count} of 16 synthetic")]
    assert line.endswith("; without --reference, a defect that most images have is normal")
    said = [line for line in reporter.warnings if line.startswith(f"{count} of 16 synthetic defects")]
    assert len(said) == warned
    assert ("expect misses" in (tmp_path / "out" / "report.html").read_text()) == warned


@pytest.mark.parametrize(
    ("counts", "chosen"),
    [
        ({"fine": 12}, "fine"),
        ({"fine": 4, "enhanced fine": 12}, "enhanced fine"),
        ({"fine": 4, "enhanced fine": 6, "coarse": 6, "enhanced coarse": 6}, "fine"),
        ({"fine": 4, "enhanced fine": 7, "coarse": 9, "enhanced coarse": 10}, "enhanced coarse"),
    ],
)
def test_an_alternative_is_taken_that_detects_a_tenth_more_than_what_was_chosen_before(
    many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counts: dict[str, int], chosen: str
) -> None:
    found = iter([counts["fine"], *(counts.values() if len(counts) > 1 else ())])
    monkeypatch.setattr(feature_choice, "sensitivity", lambda *_: Sensitivity(next(found), 24))
    reporter = Ears()
    facts = _run(many, tmp_path / "out", reporter).method.parameters
    kept = {name: facts[f"found_by_{name.replace(' ', '_')}_features"] for name in counts}
    assert (facts["features"], kept) == (chosen, counts)
    assert str(facts["threshold_rule"]).endswith(", cluster-enhanced") == chosen.startswith("enhanced")
    (line,) = [line for line in reporter.lines if f"{chosen} features find {counts[chosen]} of 24 synthetic" in line]
    assert all(f"{name} ones {count}" in line for name, count in counts.items() if name != chosen)


@pytest.mark.parametrize(("fine", "tested"), [(12, [12]), (11, [12, 14, 14, 14, 14])])
def test_more_images_are_used_where_there_is_a_choice_to_make(
    many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fine: int, tested: list[int]
) -> None:
    folder = tmp_path / "images"
    shutil.copytree(many, folder)
    for number in range(2):
        Image.open(many / f"{number:02}.png").rotate(180).save(folder / f"again{number}.png")
    counted: list[int] = []

    def found(_: object, maps: Sequence[object], images: Sequence[object]) -> Sensitivity:
        counted.append(len(images))
        assert len(maps) == len(images)
        return Sensitivity(fine, 2 * len(images))

    monkeypatch.setattr(feature_choice, "sensitivity", found)
    facts = _run(folder, tmp_path / "out", Ears()).method.parameters
    assert counted == tested
    assert facts["synthetic_defects"] == 2 * tested[-1]


def test_enhanced_masks_are_the_same_from_stored_distances_and_from_a_detector(
    many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = iter([0, 0, 24])
    monkeypatch.setattr(feature_choice, "sensitivity", lambda *_: Sensitivity(next(found), 24))
    out, again, other = (tmp_path / name for name in ("out", "again", "other"))
    _run(many, out, Ears(), save_detector=str(tmp_path / "detector"))
    segment(SegmentOptions((), maps_from=str(out), out=str(again), method="anomaly", device="cpu"), Ears())
    detector = str(tmp_path / "detector")
    segment(SegmentOptions((str(many),), detector=detector, out=str(other), method="anomaly", device="cpu"), Ears())
    first, second = ([file.read_bytes() for file in sorted((to / "masks").rglob("*.png"))] for to in (out, again))
    assert len(first) == 12
    assert first == second
    judged = json.loads((other / "segment.json").read_text())["method"]["parameters"]
    assert judged["features"] == "enhanced fine"
    assert str(judged["threshold_rule"]).endswith(", cluster-enhanced")


def test_good_images_calibrate_both_features(images: Path, tmp_path: Path) -> None:
    good = tmp_path / "good"
    good.mkdir()
    random = np.random.default_rng(1)
    for number in range(8):
        Image.fromarray(random.integers(100, 120, (48, 48), np.uint8)).save(good / f"{number}.png")
    reporter = Ears()
    result = _run(images, tmp_path / "out", reporter, reference=str(good))
    assert not any("is normal" in line for line in reporter.lines)
    facts = json.loads((tmp_path / "out" / "segment.json").read_text())["method"]["parameters"]
    assert facts == dict(result.method.parameters)
    assert (facts["features"], facts["threshold_rule"]) == ("both", "held-out maxima of good images")
    few = features_to_try(Anomaly(reference=True), has_coarse=True, images=7)
    assert few == ("fine", "coarse"), "seven images are too few for held-out distances"


def test_requested_features_are_used_and_their_detections_reported(images: Path, tmp_path: Path) -> None:
    heard = Ears()
    first, again, auto = (
        _run(images, tmp_path / name, heard, 96 if name == "auto" else 288, method_options=options)
        for name, options in (("one", {"features": "coarse"}), ("two", {"features": "coarse"}), ("auto", {}))
    )
    assert first.method.parameters == again.method.parameters
    assert first.method.parameters["features"] == "coarse"
    assert 0 <= float(first.method.parameters["found_by_coarse_features"]) <= 16
    assert "found_by_fine_features" not in first.method.parameters
    assert auto.method.parameters["features"] == "fine", "the images are too small for coarse ones"
    said = "fine features only: coarse ones, for large defects, need --size 288 or more and no --tile"
    assert heard.lines.count(said) == 1
