import numpy as np
import pytest

from dinocli.quality.grouping import group_by_centres, group_by_labels
from dinocli.quality.kmeans import unit_kmeans
from dinocli.quality.normalized_features import NormalizedFeatures
from tests.quality.groups import mixture


def test_labels_medoids_and_distances_by_hand() -> None:
    points = np.array([[0, 2], [3, 0], [4, 3], [0, 5], [0, 1]], np.float32)
    found = group_by_centres(NormalizedFeatures(points), np.array([[1, 0], [0, -1], [0, 1]], np.float32))
    assert found.label_N.tolist() == [0, 1, 1, 0, 0]
    assert found.sizes_K == [3, 2]
    assert found.medoids_K == [0, 1]
    assert found.distance_N == pytest.approx([0, 0, 0.2, 0, 0])
    assert found.margin_N == pytest.approx([1, 1, 0.2, 1, 1])


def test_groups_are_numbered_by_size_then_by_their_first_image() -> None:
    points, _ = mixture(3, 9)
    found = group_by_labels(NormalizedFeatures(points), np.array([4, 1, 1, 0, 4, 0, 4, -1, -1]))
    assert found.label_N.tolist() == [0, 1, 1, 2, 0, 2, 0, -1, -1]
    assert found.sizes_K == [3, 2, 2]


def test_the_medoid_is_the_one_nearest_to_all_others() -> None:
    points, _ = mixture(4, 200, noise=1.5)
    units = NormalizedFeatures(points).take(slice(None)).astype(np.float64)
    found = group_by_labels(NormalizedFeatures(points), np.arange(200) % 4)
    for group, medoid in enumerate(found.medoids_K):
        members = np.flatnonzero(found.label_N == group)
        assert medoid == members[(units[members] @ units[members].T).sum(axis=1).argmax()]


def test_the_margin_is_the_difference_of_the_distances() -> None:
    """Loose clusters have short means; margin and distance are measured to their directions."""
    points, _ = mixture(4, 300, noise=2.0)
    rows = NormalizedFeatures(points)
    units = rows.take(slice(None)).astype(np.float64)
    for found in (group_by_centres(rows, unit_kmeans(rows, 4).centres_KD), group_by_labels(rows, np.arange(300) % 4)):
        means = np.stack([units[found.label_N == group].mean(axis=0) for group in range(4)])
        distance = 1 - units @ (means / np.linalg.norm(means, axis=1, keepdims=True)).T
        own = distance[np.arange(300), found.label_N]
        distance[np.arange(300), found.label_N] = np.inf
        assert found.distance_N == pytest.approx(own, abs=2e-3)
        assert found.margin_N == pytest.approx(distance.min(axis=1) - own, abs=2e-3)


def test_k_means_margins_are_hardly_negative_and_others_can_be() -> None:
    points, _ = mixture(4, 300, noise=2.0)
    rows = NormalizedFeatures(points)
    assert group_by_centres(rows, unit_kmeans(rows, 4).centres_KD).margin_N.min() > -0.02
    assert group_by_labels(rows, np.arange(300) % 4).margin_N.min() < -0.02


def test_one_group_has_no_margin_and_no_group_nothing() -> None:
    points, _ = mixture(2, 10)
    alone = group_by_labels(NormalizedFeatures(points), np.zeros(10, np.intp))
    assert np.isnan(alone.margin_N).all()
    assert np.isfinite(alone.distance_N).all()
    none = group_by_labels(NormalizedFeatures(points), np.full(10, -1))
    assert none.sizes_K == none.medoids_K == []
    assert set(none.label_N.tolist()) == {-1}


def test_an_image_without_a_group_is_measured_against_the_nearest() -> None:
    points = np.array([[1, 0], [1, 0], [0, 1], [0, 1], [0.6, 0.8]], np.float32)
    found = group_by_labels(NormalizedFeatures(points), np.array([0, 0, 1, 1, -1]))
    assert found.label_N[4] == -1
    assert found.distance_N[4] == pytest.approx(0.2)
    assert found.margin_N[4] == pytest.approx(0.2)  # 0.4 to the other
    assert 4 not in found.medoids_K
