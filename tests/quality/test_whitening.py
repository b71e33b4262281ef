import numpy as np
import pytest

from dinocli.errors import DataError
from dinocli.quality.knn import accuracy, knn_votes
from dinocli.quality.normalized_features import NormalizedFeatures
from dinocli.quality.whitening import fit_projection, fit_whitening
from tests.quality.groups import cloud


def test_a_projection_keeps_the_largest_variance() -> None:
    points = NormalizedFeatures(cloud(500))
    plain = fit_projection(points, 5)(points.take(slice(None)))
    spectrum = np.linalg.eigvalsh(np.cov(points.take(slice(None)).T, ddof=0))[::-1]
    np.testing.assert_allclose(plain.var(axis=0), spectrum[:5], rtol=1e-4)
    np.testing.assert_allclose(
        np.linalg.norm(NormalizedFeatures(points.features_ND, fit_projection(points, 5)).take(slice(9)), axis=1),
        1,
        atol=1e-5,
    )


@pytest.mark.parametrize("count", [500, 12])
def test_whitening_divides_by_the_energy_and_a_floor(count: int) -> None:
    points = NormalizedFeatures(cloud(count) + 2)
    units = points.take(slice(None)).astype(np.float64)
    mean, variance = units.mean(axis=0), units.var(axis=0).sum()
    moments = np.cov(units.T, ddof=0) + np.outer(mean, mean) / 2
    energy = np.linalg.eigvalsh(moments)[::-1]
    energy = energy[energy > 1e-6 * energy[0]]
    assert energy[0] > 2 * energy[1], "the mean is a direction, and most of it all"
    axes = fit_whitening(points).axes_DP.astype(np.float64)
    np.testing.assert_allclose(
        np.diag(axes.T @ moments @ axes), energy / (1 + energy / (0.06 * variance)), rtol=1e-3, atol=1e-6
    )
    assert fit_whitening(points, 3).axes_DP.shape == (units.shape[1], 3)


def test_whitening_reduces_common_directions() -> None:
    """Return ten classes that differ in small directions, with a large common and a large uninformative one."""
    rng = np.random.default_rng(0)
    label = np.arange(400) % 10
    points = np.concatenate(
        [
            np.full((400, 1), 10.0),
            3 * rng.normal(size=(400, 1)),
            np.eye(10)[label] + 0.35 * rng.normal(size=(400, 10)),
        ],
        axis=1,
    ).astype(np.float32)
    plain, white = NormalizedFeatures(points), NormalizedFeatures(points, fit_whitening(NormalizedFeatures(points)))
    before, after = (
        accuracy(label, knn_votes(rows.take(slice(None)), label, k=20).predicted_Q) for rows in (plain, white)
    )
    assert after > before + 0.05


def test_directions_of_rounding_are_dropped() -> None:
    flat = np.zeros((60, 8), np.float32)
    flat[:, :3] = np.random.default_rng(0).normal(size=(60, 3))
    assert fit_projection(NormalizedFeatures(flat), 8).axes_DP.shape == (8, 3)
    assert fit_whitening(NormalizedFeatures(flat)).axes_DP.shape == (8, 3)
    assert fit_projection(NormalizedFeatures(np.ones((9, 4), np.float32)), 3).axes_DP.shape == (4, 1)


def test_rows_that_are_not_finite_are_no_part_of_a_whitening() -> None:
    points = cloud(60)
    broken = np.concatenate([points, np.full((2, points.shape[1]), np.nan, np.float32)])
    np.testing.assert_array_equal(
        fit_whitening(NormalizedFeatures(broken)).axes_DP,
        fit_whitening(NormalizedFeatures(broken), among_M=np.arange(60)).axes_DP,
    )
    with pytest.raises(DataError, match="no row is finite"):
        fit_whitening(NormalizedFeatures(broken[60:]))
