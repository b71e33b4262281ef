import numpy as np
import pytest

from dinocli.quality.image_statistics import image_statistics
from dinocli.quality.normalized_features import NormalizedFeatures
from dinocli.quality.outlier_scores import appearance_distance, joined_outlier_score, neighbour_distance
from tests.quality.test_image_issues import ODD, photo


def test_distance_to_the_nearest_features(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compute the result by a reference loop, with blocks and samples smaller than the number of rows."""
    monkeypatch.setattr("dinocli.quality.normalized_features.BLOCK_ROWS", 16)
    random = np.random.default_rng(0)
    points = random.normal(size=(60, 12)) * np.linspace(3, 0.1, 12) + 5
    points[7] += 20 * np.eye(12)[11]
    units = points / np.linalg.norm(points, axis=1, keepdims=True)
    slow = [
        np.mean(sorted(((units[row] - other) ** 2).sum() for place, other in enumerate(units) if place != row)[:10])
        for row in range(60)
    ]
    found = neighbour_distance(NormalizedFeatures(points.astype(np.float32)))
    np.testing.assert_allclose(found, slow, rtol=1e-3)
    assert found.argmax() == 7


def test_few_images_of_another_domain_are_odd() -> None:
    """Their direction is not one of the leading ones, which tell 20 kinds of usual images apart."""
    kind_N = np.arange(300) % 20
    kind_N[:5] = 30
    points = 3 * np.eye(64)[kind_N] + np.random.default_rng(0).normal(0, 0.3, (300, 64))
    found = neighbour_distance(NormalizedFeatures(points.astype(np.float32)))
    assert set(np.argsort(-found)[:5].tolist()) == set(range(5))


def test_unusual_images_are_far_from_usual_ones() -> None:
    pictures = [*(photo(seed) for seed in range(80)), *ODD.values()]
    distance = appearance_distance([image_statistics(picture) for picture in pictures])
    assert set(np.argsort(-distance)[:5].tolist()) == set(range(80, 85))


def test_both_distances_count_features_twice_as_much() -> None:
    random = np.random.default_rng(0)
    one, other = np.exp(random.normal(size=(2, 100)))
    one[3], other[3] = 40, 40
    score = joined_outlier_score(one, other)
    assert score.argmax() == 3
    assert abs(np.median(score)) < 0.3
    np.testing.assert_allclose(joined_outlier_score(np.ones(4)), 0)
    spread = np.exp([-1.0, 0, 0, 1])
    alone = joined_outlier_score(spread)
    np.testing.assert_allclose(joined_outlier_score(spread, np.ones(4)), 2 / 3 * alone, rtol=1e-6)


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_few_and_equal_rows(count: int) -> None:
    rows = NormalizedFeatures(np.ones((count, 4), np.float32))
    assert np.isfinite(joined_outlier_score(neighbour_distance(rows))).all()
    assert np.isfinite(appearance_distance([image_statistics(photo(seed)) for seed in range(count)])).all()


@pytest.mark.parametrize(("count", "copies"), [(40, 3), (90, 1), (90, 5), (90, 60)])
def test_equal_images_have_equal_scores(monkeypatch: pytest.MonkeyPatch, count: int, copies: int) -> None:
    """Also where neighbours are a sample, of which one of the images is a part and the other is not."""
    monkeypatch.setattr("dinocli.quality.normalized_features.BLOCK_ROWS", 16)
    monkeypatch.setattr("dinocli.quality.outlier_scores.NEIGHBOUR_ROWS", 30)
    points = np.random.default_rng(0).normal(size=(count, 24)).astype(np.float32)
    statistics = [image_statistics(photo(seed)) for seed in range(count)]
    order = np.random.default_rng(1).permutation(count + copies)
    points = np.concatenate([points, points[[7] * copies]])[order]
    statistics = [[*statistics, *[statistics[7]] * copies][row] for row in order]
    equal = (order == 7) | (order >= count)
    for distance in (neighbour_distance(NormalizedFeatures(points)), appearance_distance(statistics)):
        assert np.unique(distance[equal].round(9)).size == 1
        assert np.unique(distance.round(9)).size > 1


@pytest.mark.parametrize("count", [12, 70])
def test_scores_of_equal_images_are_zero(count: int) -> None:
    points = np.tile(np.random.default_rng(0).normal(size=300).astype(np.float32), (count, 1))
    distances = (
        neighbour_distance(NormalizedFeatures(points)),
        appearance_distance([image_statistics(photo(0))] * count),
    )
    assert joined_outlier_score(*distances).tolist() == [0] * count
