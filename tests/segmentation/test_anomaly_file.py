from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from dinocli.errors import WeightsError
from dinocli.segmentation.anomaly_file import load_anomaly, save_anomaly
from dinocli.segmentation.anomaly_threshold import AUTO, parse_threshold
from dinocli.segmentation.distance_scale import DistanceScale
from dinocli.segmentation.method import PatchMaps
from dinocli.segmentation.peak_outlines import outlined

RANDOM = np.random.default_rng(0)
MAPS = [RANDOM.gamma(2.0, size=(1, 12, 12)).astype(np.float32) for _ in range(30)]


def scale_of(*, enhanced: bool = False, coarse: bool = False) -> DistanceScale:
    scale = DistanceScale.of(MAPS, good=False, coarse=coarse)
    return DistanceScale(**vars(scale) | {"enhanced": enhanced})


def judged(scale: DistanceScale) -> PatchMaps:
    return scale.judge(MAPS[0], AUTO)


@pytest.mark.parametrize("flags", [{}, {"enhanced": True}, {"coarse": True}, {"enhanced": True, "coarse": True}])
def test_a_scale_judges_the_same_after_it_was_stored(tmp_path: Path, flags: dict[str, bool]) -> None:
    scale = scale_of(**flags)
    save_anomaly(tmp_path / "anomaly.safetensors", scale)
    before, after = judged(scale), judged(load_anomaly(tmp_path / "anomaly.safetensors").scale)
    assert np.array_equal(before.soft_Khw, after.soft_Khw)
    assert (before.score, before.metrics) == (after.score, after.metrics)


def test_a_file_of_an_earlier_version_is_read_as_it_was_meant(tmp_path: Path) -> None:
    path = tmp_path / "anomaly.safetensors"
    save_anomaly(path, scale_of())
    tensors = load_file(path)
    save_file({name: tensors[name] for name in tensors.keys() - {"enhanced maxima", "enhanced", "coarse"}}, path)
    assert np.array_equal(judged(load_anomaly(path).scale).soft_Khw, judged(scale_of()).soft_Khw)


def test_a_damaged_flag_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "anomaly.safetensors"
    save_anomaly(path, scale_of())
    save_file(load_file(path) | {"enhanced": np.zeros(2, np.uint8)}, path)
    with pytest.raises(WeightsError, match="segment the images again"):
        load_anomaly(path)


def test_the_light_of_an_image_counts_in_the_score_of_fine_features_alone() -> None:
    scores = [
        [scale.judge(MAPS[0] + light, AUTO).score for light in (0, 3)] for scale in (scale_of(), scale_of(coarse=True))
    ]
    assert scores[0][1] > scores[0][0]
    assert scores[1][1] == pytest.approx(scores[1][0], abs=1e-5)


PAIRS = [np.concatenate([map_1hw, 0.1 * map_1hw + 3]) for map_1hw in MAPS]


def test_another_scene_than_the_good_ones_is_marked_as_a_whole(tmp_path: Path) -> None:
    """A blank image is typical by its centred patches; its coarse ones are far from all good images."""
    scale = DistanceScale.of(PAIRS, good=True)
    usual = max(float(np.median(maps_Fhw[1])) for maps_Fhw in PAIRS)
    assert scale.scene_limit == pytest.approx(2 * usual)
    save_anomaly(tmp_path / "anomaly.safetensors", scale)
    stored = load_anomaly(tmp_path / "anomaly.safetensors").scale
    for factor, marked in ((0.9, False), (1.9, False), (2.1, True), (5, True)):
        maps_Fhw = np.stack([np.full((12, 12), MAPS[0].min()), np.full((12, 12), factor * usual)]).astype(np.float32)
        for threshold in ("auto", "0.9", "quantile:1"):
            maps = stored.judge(maps_Fhw, parse_threshold(threshold))
            assert bool(maps.labels().all()) == marked == (maps.metrics.get("whole_image") == 1), (factor, threshold)
            assert (maps.score == 1) == marked == (maps.metrics["furthest"] > 1) == (not maps.empty_reason)


def test_mixed_images_and_one_kind_of_features_have_no_scene_limit() -> None:
    assert DistanceScale.of(PAIRS, good=False).scene_limit == np.inf
    assert DistanceScale.of(MAPS, good=True).scene_limit == np.inf


def test_a_threshold_of_zero_is_a_threshold(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one kind of features, where some images have no distance above their median; None is for too few images."""
    asked: list[list[float]] = []

    def spy(far_hw: Any, line: float, far_Fhw: Any, lines_F: list[float]) -> Any:
        asked.append(lines_F)
        return outlined(far_hw, line, far_Fhw, lines_F)

    monkeypatch.setattr("dinocli.segmentation.distance_scale.outlined", spy)
    scale = DistanceScale.of(PAIRS, good=False)
    maxima_FS = scale.maxima_FS.copy()
    maxima_FS[:, :2] = 0
    maps = replace(scale, maxima_FS=maxima_FS).judge(PAIRS[0], parse_threshold("quantile:0.01"))
    assert asked == [[1e-9, 1e-9]]
    assert np.isfinite(maps.soft_Khw).all()
    few = DistanceScale.of(PAIRS[:3], good=False)
    few.judge(PAIRS[0], AUTO)
    assert asked[1] == [np.inf, np.inf]
