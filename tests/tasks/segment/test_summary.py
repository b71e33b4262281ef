from dataclasses import replace

import numpy as np
import pytest

from dinocli.segmentation.anomaly_threshold import Threshold, parse_threshold
from dinocli.segmentation.distance_scale import DistanceScale
from dinocli.segmentation.method_choice import METHODS
from dinocli.tasks.segment.summary import OTHERS, no_anomaly, nothing_found


@pytest.mark.parametrize(
    ("method", "empty", "said"), [("tokencut", 6, True), ("tokencut", 5, False), ("anomaly", 10, False)]
)
def test_a_method_that_finds_nothing_names_another(method: str, empty: int, said: bool) -> None:
    assert bool(nothing_found(method, empty, 10)) == said


@pytest.mark.parametrize("method", OTHERS)
def test_the_one_that_fits_is_another_method(method: str) -> None:
    words = set(nothing_found(method, 10, 10).replace(",", " ").split())
    assert words & set(METHODS) - {method}
    assert method in METHODS


def test_a_folder_without_an_anomaly_says_what_was_tested() -> None:
    tested: dict[str, float | str] = {"features": "both", "synthetic_defects": 24, "found_by_both_features": 18}
    line = no_anomaly(tested, 0.934, 48)
    assert line.startswith("nothing marked in 48 images: the furthest patch is at 0.93 of the threshold, which is ")
    assert "--threshold 0.5; 18 of 24 synthetic" in line
    assert "synthetic" not in no_anomaly({"features": "both"}, 0.9, 3), "a detector is not tested again"


@pytest.mark.parametrize("enhanced", [False, True])
@pytest.mark.parametrize("text", ["auto", "0.8", "0.3", "quantile:1"])
def test_the_value_that_is_named_marks_more_and_the_next_higher_one_does_not(text: str, *, enhanced: bool) -> None:
    rng = np.random.default_rng(1)
    maps = [rng.gamma(2.0, size=(1, 12, 12)).astype(np.float32) for _ in range(40)]
    scale = replace(DistanceScale.of(maps[:30], good=False), enhanced=enhanced)
    threshold = parse_threshold(text)
    judged = [scale.judge(map_1hw, threshold) for map_1hw in maps]
    empty = [one for one in judged if one.empty_reason]
    assert all((one.metrics["furthest"] > 1) != bool(one.empty_reason) for one in judged)
    furthest = max(empty, key=lambda one: one.metrics["furthest"])
    assert furthest.distances_Fhw is not None
    line = no_anomaly(scale.parameters(threshold), furthest.metrics["furthest"], len(maps))
    value = float(line.removesuffix(" marks more").rpartition(" ")[2])
    marked, missed = (
        scale.judge(furthest.distances_Fhw, Threshold("value", value + more)).labels().any() for more in (-0.001, 0.011)
    )
    assert marked
    assert not missed


def test_a_value_cuts_the_soft_map_of_every_threshold_alike() -> None:
    rng = np.random.default_rng(2)
    maps = [rng.gamma(2.0, size=(1, 12, 12)).astype(np.float32) for _ in range(30)]
    scale = DistanceScale.of(maps, good=False)
    auto, quantile, low = (scale.judge(maps[0], parse_threshold(text)) for text in ("auto", "quantile:0.2", "0.2"))
    assert np.array_equal(auto.saliency(), quantile.saliency())
    assert auto.score == quantile.score
    assert np.array_equal(low.labels() > 0, quantile.saliency() > 0.2)
    line = scale.parameters(parse_threshold("quantile:0.2"))["threshold"]
    assert quantile.saliency_threshold == pytest.approx(line, abs=1e-4)
