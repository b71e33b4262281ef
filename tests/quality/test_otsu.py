import numpy as np
import pytest

from dinocli.quality.otsu import otsu, separation


def test_threshold_of_two_groups_is_in_the_middle_of_the_gap() -> None:
    values = np.array([[0.0, 1.0, 1.0], [9.0, 10.0, 10.0]])
    assert otsu(values) == pytest.approx(5, abs=0.1)


def test_is_the_best_of_all_thresholds() -> None:
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(0, 1, 500), rng.normal(4, 2, 200)])

    def between(threshold: float) -> float:
        low, high = values[values <= threshold], values[values > threshold]
        return float(len(low) * len(high) * (low.mean() - high.mean()) ** 2)

    best = max(np.sort(values)[1:-1], key=between)
    assert between(otsu(values)) > 0.999 * between(best)


def test_separation_of_known_distributions() -> None:
    rng = np.random.default_rng(0)
    assert separation(np.array([0.0, 0.0, 1.0])) == pytest.approx(1)
    assert separation(rng.normal(size=200_000)) == pytest.approx(2 / np.pi, abs=0.01)
    assert separation(rng.random(200_000)) == pytest.approx(0.75, abs=0.01)


def test_one_value_is_its_own_threshold() -> None:
    assert otsu(np.full(5, 3.0)) == 3
    assert separation(np.full(5, 3.0)) == 0
