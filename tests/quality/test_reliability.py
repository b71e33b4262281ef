import numpy as np
import pytest

from dinocli.quality.reliability import reliability


def test_bins_by_hand() -> None:
    found = reliability(np.array([0.1, 0.55, 0.58, 1.0]), np.array([False, True, False, True]))
    assert found.counts_B.tolist() == [0, 1, 0, 0, 0, 2, 0, 0, 0, 1]
    assert found.confidence_B[[1, 5, 9]] == pytest.approx([0.1, (0.55 + 0.58) / 2, 1])
    assert found.accuracy_B[[1, 5, 9]] == pytest.approx([0, 1 / 2, 1])
    assert found.error == pytest.approx((0.1 + abs(0.55 + 0.58 - 1)) / 4)


def test_an_empty_bin_has_no_value_and_no_weight() -> None:
    found = reliability(np.array([0.95, 0.95]), np.array([True, True]))
    assert np.isnan(found.accuracy_B[:9]).all()
    assert found.error == pytest.approx(0.05)


def test_honest_confidence_has_a_small_error() -> None:
    draw = np.random.default_rng(0)
    confidence = draw.uniform(0.3, 1, 20_000)
    assert reliability(confidence, draw.uniform(size=20_000) < confidence).error < 0.02
    assert reliability(np.sqrt(confidence), draw.uniform(size=20_000) < confidence).error > 0.1
