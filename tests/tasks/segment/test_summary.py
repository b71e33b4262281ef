import pytest

from dinocli.segmentation.method_choice import METHODS
from dinocli.tasks.segment.summary import OTHERS, nothing_found


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
