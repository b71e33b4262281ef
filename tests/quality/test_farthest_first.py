import numpy as np
import pytest

from dinocli.quality import farthest_first as module
from dinocli.quality.farthest_first import diverse
from dinocli.quality.normalized_features import NormalizedFeatures
from tests.quality.groups import cloud, mixture


def test_the_farthest_comes_next() -> None:
    points = np.array([[1, 0], [1, 0.01], [0.98, 0.2], [0, 1], [-1, 0.3], [1, 0]], np.float32)
    assert diverse(NormalizedFeatures(points), 3, closest=0.999) == [2, 4, 3]
    slow = [2]
    units = NormalizedFeatures(points).take(slice(None))
    while len(slow) < 4:
        slow.append(int((units @ units[slow].T).max(axis=1).argmin()))
    assert diverse(NormalizedFeatures(points), 4, closest=0.999) == slow


def test_duplicates_are_chosen_once() -> None:
    points, _ = mixture(10, 10, noise=0)
    points = NormalizedFeatures(np.concatenate([points] * 4)).take(slice(None))
    kinds = len(np.unique(points.round(4), axis=0))
    chosen = diverse(NormalizedFeatures(points), 40, closest=0.9999)
    assert len(chosen) == kinds
    cosine = points[chosen] @ points[chosen].T - 2 * np.eye(len(chosen))
    assert cosine.max() < 0.9999


def test_a_prefix_is_a_choice_and_large_sets_are_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    points = NormalizedFeatures(cloud(300))
    assert diverse(points, 20, closest=1.0)[:7] == diverse(points, 7, closest=1.0)
    monkeypatch.setattr(module, "SELECT_ROWS", 100)
    one, other = (diverse(points, 20, closest=1.0, seed=seed) for seed in (0, 1))
    assert len(set(one)) == 20
    assert set(one) <= set(points.sample(100, 0).tolist())
    assert one != other


@pytest.mark.parametrize("count", [1, 5])
def test_never_more_than_there_are(count: int) -> None:
    assert len(diverse(NormalizedFeatures(cloud(count)), 9, closest=1.1)) == count
