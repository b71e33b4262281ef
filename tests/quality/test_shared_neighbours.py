"""Shared neighbours against a reference loop, and edge cases."""

import numpy as np
import pytest
from numpy.typing import NDArray

from dinocli.quality.shared_neighbours import shared_neighbours


def normal(count: int, width: int, seed: int = 0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(size=(count, width))


def slow_neighbours(features: NDArray[np.float64], image: int, k: int) -> set[int]:
    units = features / np.linalg.norm(features, axis=1, keepdims=True)
    others = [row for row in range(len(units)) if row != image]
    return set(sorted(others, key=lambda row: -float(units[row] @ units[image]))[:k])


def test_each_image_has_the_share_of_a_slow_loop() -> None:
    one, other = normal(40, 6), normal(40, 3) + normal(40, 6)[:, :3]
    slow = [len(slow_neighbours(one, image, 10) & slow_neighbours(other, image, 10)) / 10 for image in range(40)]
    assert shared_neighbours(one, other).tolist() == pytest.approx(slow)
    assert 0 < np.mean(slow) < 1


def test_the_scale_does_not_count_and_chance_shares_its_part() -> None:
    features = normal(500, 16)
    assert (shared_neighbours(features, 4 * features) == 1).all()
    assert shared_neighbours(features, normal(500, 16, seed=1)).mean() == pytest.approx(10 / 499, abs=0.01)
    assert (shared_neighbours(features[:4], features[:4]) == 1).all(), "k is cut to 3"
    assert shared_neighbours(features[:1], features[:1]).tolist() == [1.0]
    with pytest.raises(ValueError, match="5 and 4"):
        shared_neighbours(features[:5], features[:4])
