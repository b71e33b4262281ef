import pytest

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
    assert line.startswith("nothing marked in 48 images: the furthest patch is at 0.93 of --threshold auto; 18 of 24 ")
    assert "--threshold below 0.5" in line
    assert "synthetic" not in no_anomaly({"features": "both"}, 0.9, 3), "a detector is not tested again"
