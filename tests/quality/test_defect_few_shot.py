import numpy as np
import pytest
from numpy.typing import NDArray

from dinocli.quality.defect_few_shot import defect_few_shot, mean_accuracy

Features = NDArray[np.float32]


def features(strength: float, count: int = 80, width: int = 16) -> tuple[Features, Features, NDArray[np.intp]]:
    """Images that share a direction; the same with one of two defects, directions of some strength, and noise."""
    random = np.random.default_rng(0)
    clean = (random.standard_normal((count, width)) + 8 * np.eye(1, width, 5)).astype(np.float32)
    kind = np.arange(count) % 2
    noise = random.standard_normal((count, width))
    return clean, (clean + strength * 4 * np.eye(2, width)[kind] + 0.3 * noise).astype(np.float32), kind


def test_a_strong_defect_is_found_and_none_is_guessed() -> None:
    assert mean_accuracy(defect_few_shot(*features(3.0))) > 0.95
    assert mean_accuracy(defect_few_shot(*features(0.0))) == pytest.approx(0.5, abs=0.05)
    middle = mean_accuracy(defect_few_shot(*features(0.5)))
    assert 0.6 < middle < 0.95


def test_each_kind_is_learnt_by_itself() -> None:
    """Two kinds of opposite direction cancel in one mean, and not in two."""
    clean, flawed, kind = features(0.0)
    flawed[:, 0] += np.where(kind, 12, -12)
    assert mean_accuracy(defect_few_shot(clean, flawed, kind)) > 0.95


def test_there_is_a_value_for_each_image_and_none_for_a_kind_of_one() -> None:
    clean, flawed, kind = features(1.0, count=21)
    kind[7] = 9
    share = defect_few_shot(clean, flawed, kind)
    assert share.shape == (21,)
    assert np.flatnonzero(np.isnan(share)).tolist() == [7]
    assert ((share[np.isfinite(share)] >= 0) & (share[np.isfinite(share)] <= 1)).all()
    assert np.isnan(mean_accuracy(np.full(3, np.nan)))
