import numpy as np
import pytest
from numpy.typing import NDArray

from dinocli.quality.drift import _mmd, drift


def batch(count: int, seed: int, shift: float = 0.0) -> NDArray[np.float32]:
    random = np.random.default_rng(seed)
    points = random.normal(size=(count, 24)) * np.linspace(2, 0.2, 24) + 3
    points[:, 5] += shift
    return points.astype(np.float32)


def test_a_shifted_batch_differs_and_its_shifted_images_come_first() -> None:
    new = np.concatenate([batch(40, 1), batch(40, 2, shift=6)])
    found = drift(batch(120, 0), new)
    assert found.differs
    assert found.p < 0.01
    assert found.accuracy > 0.6
    first = np.argsort(-found.score_M)[:20]
    assert (first >= 40).mean() > 0.9


def test_p_values_of_equal_batches_are_spread_evenly() -> None:
    """Of random halves about one in twenty is called different, always fewer than one in four."""
    found = [drift(batch(60, 2 * seed), batch(60, 2 * seed + 1), seed=seed) for seed in range(20)]
    assert sum(one.differs for one in found) <= 4
    assert 0.25 < np.mean([one.accuracy_p for one in found]) < 0.75
    assert 0.25 < np.mean([one.mmd_p for one in found]) < 0.75


def test_the_discrepancy_is_that_of_the_slow_loop() -> None:
    random = np.random.default_rng(0)
    points, new = random.normal(size=(11, 3)), np.arange(11) >= 6
    squared = ((points[:, None] - points[None]) ** 2).sum(axis=2)
    kernel = np.exp(-squared / np.median(squared))
    inside = np.mean([kernel[i, j] for i in range(11) for j in range(11) if i != j and new[i] and new[j]])
    outside = np.mean([kernel[i, j] for i in range(11) for j in range(11) if i != j and not new[i] and not new[j]])
    across = np.mean([kernel[i, j] for i in range(11) for j in range(11) if new[i] and not new[j]])
    assert _mmd(points, new[None])[0] == pytest.approx(inside + outside - 2 * across)


@pytest.mark.parametrize("count", [2, 3, 1500])
def test_few_and_many_images(count: int) -> None:
    found = drift(batch(count, 0), batch(5, 1))
    assert 0 < found.p <= 1
    assert found.compared == (min(count, 1000), 5)
    assert len(found.score_M) == 5
