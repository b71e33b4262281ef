import numpy as np
import pytest

from dinocli.quality.image_statistics import image_statistics
from dinocli.quality.normalized_features import NormalizedFeatures
from dinocli.quality.outlier_scores import appearance_distance, feature_distance, joined_outlier_score
from tests.quality.test_image_issues import ODD, photo


def test_distance_to_the_nearest_in_whitened_directions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compute the result by a reference loop, with blocks and samples smaller than the number of rows."""
    monkeypatch.setattr("dinocli.quality.normalized_features.BLOCK_ROWS", 16)
    random = np.random.default_rng(0)
    points = random.normal(size=(60, 12)) * np.linspace(3, 0.1, 12) + 5
    points[7] += 20 * np.eye(12)[11]
    units = points / np.linalg.norm(points, axis=1, keepdims=True)
    centred = units - units.mean(axis=0)
    white = centred @ np.linalg.svd(centred, full_matrices=False)[2][:8].T
    white /= white.std(axis=0)
    slow = [
        np.mean(sorted(((white[row] - other) ** 2).sum() for place, other in enumerate(white) if place != row)[:10])
        for row in range(60)
    ]
    found = feature_distance(NormalizedFeatures(points.astype(np.float32)))
    np.testing.assert_allclose(found, slow, rtol=1e-3)
    assert found.argmax() == 7


def test_unusual_images_are_far_from_usual_ones() -> None:
    pictures = [*(photo(seed) for seed in range(80)), *ODD.values()]
    distance = appearance_distance([image_statistics(picture) for picture in pictures])
    assert set(np.argsort(-distance)[:5].tolist()) == set(range(80, 85))


def test_both_distances_count() -> None:
    random = np.random.default_rng(0)
    one, other = np.exp(random.normal(size=(2, 100)))
    one[3], other[3] = 40, 40
    score = joined_outlier_score(one, other)
    assert score.argmax() == 3
    assert abs(np.median(score)) < 0.3
    np.testing.assert_allclose(joined_outlier_score(np.ones(4)), 0)


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_few_and_equal_rows(count: int) -> None:
    rows = NormalizedFeatures(np.ones((count, 4), np.float32))
    assert np.isfinite(joined_outlier_score(feature_distance(rows))).all()
    assert np.isfinite(appearance_distance([image_statistics(photo(seed)) for seed in range(count)])).all()
