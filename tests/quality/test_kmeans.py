import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from dinocli.quality import kmeans, normalized_features
from dinocli.quality.kmeans import nearest, unit_kmeans
from dinocli.quality.normalized_features import NormalizedFeatures, single_threaded
from tests.quality.groups import mixture


def test_known_groups_are_found_whatever_the_lengths() -> None:
    points, truth = mixture(7, 600, noise=0.5)
    fit = unit_kmeans(NormalizedFeatures(points), 7)
    labels = nearest(NormalizedFeatures(points).take(slice(None)), fit.centres_KD)
    assert adjusted_rand_score(truth, labels) == 1


def test_the_result_is_a_fixed_point_with_correct_similarities() -> None:
    points, _ = mixture(5, 400, noise=2.0)
    units = NormalizedFeatures(points).take(slice(None)).astype(np.float64)
    fit = unit_kmeans(NormalizedFeatures(points), 5, seed=3)
    distance = np.square(units[:, None] - fit.centres_KD.astype(np.float64)).sum(axis=2)
    assert fit.closeness == pytest.approx(0.5 - distance.min(axis=1).mean() / 2, abs=1e-4)
    for group, centre in enumerate(fit.centres_KD):
        np.testing.assert_allclose(units[distance.argmin(axis=1) == group].mean(axis=0), centre, atol=1e-3)


def test_more_starts_are_never_worse() -> None:
    points, _ = mixture(12, 500, noise=1.5)
    one, many = (unit_kmeans(NormalizedFeatures(points), 12, starts=starts, breath=0).closeness for starts in (1, 10))
    assert many >= one
    seeds = {
        round(unit_kmeans(NormalizedFeatures(points), 12, starts=1, seed=seed, breath=0).closeness, 6)
        for seed in range(8)
    }
    assert len(seeds) > 1  # the initialisations differ


def test_breathing_improves_bad_initialisations() -> None:
    points, truth = mixture(60, 3000, noise=0.8)
    plain, breathing = (unit_kmeans(NormalizedFeatures(points), 60, starts=1, breath=breath) for breath in (0, 5))
    scores = []
    for fit in (plain, breathing):
        scores.append(adjusted_rand_score(truth, nearest(NormalizedFeatures(points).take(slice(None)), fit.centres_KD)))
    assert scores[0] < 0.97 < scores[1]
    assert breathing.closeness > plain.closeness
    assert breathing.centres_KD.shape == (60, 32)


def test_centres_do_not_depend_on_threads_but_on_the_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(normalized_features, "BLOCK_ROWS", 64)
    points, _ = mixture(6, 250, noise=2.5)
    with single_threaded():
        one, two, again = (unit_kmeans(NormalizedFeatures(points, threads=threads), 6) for threads in (1, 2, 2))
    np.testing.assert_array_equal(one.centres_KD, two.centres_KD)
    np.testing.assert_array_equal(two.centres_KD, again.centres_KD)
    other = unit_kmeans(NormalizedFeatures(points), 6, seed=1)
    assert not np.array_equal(other.centres_KD, one.centres_KD)


def test_a_sample_initialises_and_all_rows_are_used_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    points, truth = mixture(4, 3000, noise=0.8)
    whole = unit_kmeans(NormalizedFeatures(points), 4)
    monkeypatch.setattr(kmeans, "SAMPLE_ROWS", 100)
    monkeypatch.setattr(kmeans, "SAMPLE_ROWS_EACH", 25)
    sampled = unit_kmeans(NormalizedFeatures(points), 4)
    labels = nearest(NormalizedFeatures(points).take(slice(None)), sampled.centres_KD)
    assert adjusted_rand_score(truth, labels) == 1
    assert sampled.closeness == pytest.approx(whole.closeness, abs=1e-5)


def test_fewer_different_rows_than_clusters() -> None:
    points = np.repeat(np.eye(3, dtype=np.float32), 5, axis=0)
    fit = unit_kmeans(NormalizedFeatures(points), 3)
    assert fit.closeness == pytest.approx(0.5)
    assert sorted(nearest(np.eye(3, dtype=np.float32), fit.centres_KD)) == [0, 1, 2]


def test_an_empty_cluster_takes_a_far_row() -> None:
    points = np.array([[1, 0], [1, 0.1], [0, 1], [-1, 0]], np.float32)
    start = np.array([[1, 0], [0.6, 0.8], [0.6, -0.8]], np.float32)  # the last centre is nearest to no row
    fit = kmeans._lloyd(NormalizedFeatures(points), start, 10)
    assert len(set(nearest(NormalizedFeatures(points).take(slice(None)), fit.centres_KD))) == 3


def test_rows_of_zeros_are_handled() -> None:
    points, _ = mixture(3, 50)
    points[::5] = 0
    assert np.isfinite(unit_kmeans(NormalizedFeatures(points), 3).centres_KD).all()


@pytest.mark.parametrize("k", [2, 3, 4])
def test_equal_rows_of_no_more_than_k_are_clustered(k: int) -> None:
    fit = unit_kmeans(NormalizedFeatures(np.ones((k, 5), np.float32)), k)  # breathing adds centres, beyond the rows
    assert np.isfinite(fit.centres_KD).all()
    assert fit.closeness == pytest.approx(0.5)
