import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from dinocli.errors import UsageError
from dinocli.quality.hdbscan import agglomerative, hdbscan
from dinocli.quality.normalized_features import NormalizedFeatures
from tests.quality.groups import cloud, mixture


def test_both_find_known_groups() -> None:
    points, truth = mixture(4, 240, noise=0.3, width=8)
    assert adjusted_rand_score(truth, agglomerative(NormalizedFeatures(points), 4)) == 1
    assert adjusted_rand_score(truth, hdbscan(NormalizedFeatures(points), min_size=10)) > 0.95


def test_min_size_is_the_smallest_group() -> None:
    points, _ = mixture(6, 200, noise=0.3, width=8)
    for least in (5, 25):
        labels = hdbscan(NormalizedFeatures(points), min_size=least)
        sizes = np.bincount(labels[labels >= 0])
        assert sizes.min() >= least
    assert len(set(hdbscan(NormalizedFeatures(points), min_size=5))) > len(
        set(hdbscan(NormalizedFeatures(points), min_size=25))
    )


def test_a_large_set_is_clustered_by_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    points, truth = mixture(4, 2000, noise=0.2, width=8)
    monkeypatch.setattr("dinocli.quality.hdbscan.HDBSCAN_ROWS", 300)
    labels = hdbscan(NormalizedFeatures(points), min_size=100)
    assert len(labels) == 2000
    assert adjusted_rand_score(truth, labels) > 0.95


def test_a_cloud_is_mostly_noise() -> None:
    assert (hdbscan(NormalizedFeatures(cloud(300)), min_size=20) == -1).mean() > 0.3


def test_agglomerative_refuses_what_would_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dinocli.quality.hdbscan.AGGLOMERATIVE_ROWS", 50)
    with pytest.raises(UsageError, match="at most 50 images, not 51; use --method kmeans"):
        agglomerative(NormalizedFeatures(cloud(51)), 3)


def test_one_image_is_no_cluster_of_hdbscan_and_one_of_agglomerative() -> None:
    one = NormalizedFeatures(np.ones((1, 8), np.float32))
    assert hdbscan(one, min_size=5).tolist() == [-1]
    assert agglomerative(one, 1).tolist() == [0]
