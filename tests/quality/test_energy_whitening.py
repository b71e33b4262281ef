import pytest
import torch
import torch.nn.functional as F

from dinocli.quality.energy_whitening import OUTSIDE, EnergyWhitening
from dinocli.quality.normalized_features import NormalizedFeatures
from dinocli.quality.whitening import FLOOR, MEAN_WEIGHT, fit_whitening


def rows(count: int = 6, width: int = 20) -> torch.Tensor:
    return F.normalize(torch.randn(count, width, generator=torch.Generator().manual_seed(0)), dim=1)


def slow(fitted_to: torch.Tensor) -> torch.Tensor:
    """Return the matrix (M / floor + 1)^(-1/2) of the whitening."""
    mean, centred = fitted_to.double().mean(0), (fitted_to - fitted_to.mean(0)).double()
    moments = centred.T @ centred / len(centred) + MEAN_WEIGHT * torch.outer(mean, mean)
    energy, axes = torch.linalg.eigh(moments / (FLOOR * centred.square().sum(1).mean()))
    matrix: torch.Tensor = (axes * (energy.clamp_min(0) + 1).rsqrt()) @ axes.T
    return matrix


@pytest.mark.parametrize("count", [6, 50])
def test_directions_are_divided_by_the_root_of_their_energy_and_the_floor(count: int) -> None:
    fitted = EnergyWhitening.fit(rows(count))
    expected = F.normalize(rows(count).double() @ slow(rows(count)), dim=1).float()
    torch.testing.assert_close(fitted.whiten(rows(count)), expected, rtol=0, atol=1e-5)
    assert fitted.scale_S.max() <= OUTSIDE * (1 + 1e-6)


def test_it_has_the_cosines_of_the_projection() -> None:
    """`--whiten` and `pooled+rare` whiten alike."""
    kept = NormalizedFeatures(rows().numpy())
    projected = torch.from_numpy(NormalizedFeatures(rows().numpy(), fit_whitening(kept)).take(slice(None)))
    white = EnergyWhitening.fit(rows()).whiten(rows())
    torch.testing.assert_close(white @ white.T, projected @ projected.T, rtol=0, atol=1e-5)


def test_the_mean_shrinks_and_stays() -> None:
    """Class means of few rows are noise where nothing is left of what all rows share."""
    alike = F.normalize(rows(200) + 0.5, dim=1)
    white = EnergyWhitening.fit(alike).whiten(alike)
    before, after, gone = (
        float(part.mean(0).square().sum())
        for part in (alike, white, EnergyWhitening.fit(alike, mean_weight=1e3).whiten(alike))
    )
    assert gone < 0.02 < 0.1 < after < 0.5 < before


def test_equal_rows_stay_finite_and_can_be_undone() -> None:
    same = rows(1).expand(4, -1)
    fitted = EnergyWhitening.fit(same)
    torch.testing.assert_close(fitted.undo(fitted.whiten(same)), same, rtol=0, atol=1e-4)


def test_a_fit_of_an_earlier_version_is_applied_as_it_is() -> None:
    axes = torch.eye(20)[:2]
    earlier = EnergyWhitening(axes, torch.tensor([1.0, 2.0]))
    white = F.normalize(rows() * torch.tensor([1.0, 2.0, *[0.03**-0.5] * 18]), dim=1)
    torch.testing.assert_close(earlier.whiten(rows()), white, rtol=0, atol=1e-6)


def test_directions_outside_the_sample_are_unchanged() -> None:
    outside = torch.linalg.svd(rows(), full_matrices=True).Vh[6:]
    torch.testing.assert_close(EnergyWhitening.fit(rows()).whiten(outside), outside, rtol=0, atol=1e-5)


def test_it_can_be_undone() -> None:
    new = F.normalize(rows(9) + 0.5, dim=1)
    fitted = EnergyWhitening.fit(rows())
    assert (fitted.whiten(new) - new).abs().max() > 0.05
    torch.testing.assert_close(fitted.undo(fitted.whiten(new)), new, rtol=0, atol=1e-5)


def test_rows_that_are_not_finite_do_not_count() -> None:
    broken = torch.cat([rows(), rows()[:1] * torch.nan])
    torch.testing.assert_close(EnergyWhitening.fit(broken).whiten(rows()), EnergyWhitening.fit(rows()).whiten(rows()))
