import torch
import torch.nn.functional as F

from dinocli.quality.energy_whitening import EnergyWhitening
from dinocli.quality.normalized_features import FLOOR


def rows(count: int = 6, width: int = 20) -> torch.Tensor:
    return F.normalize(torch.randn(count, width, generator=torch.Generator().manual_seed(0)), dim=1)


def test_directions_are_divided_by_the_root_of_their_energy_and_the_floor() -> None:
    fitted = EnergyWhitening.fit(rows())
    energy, axes = torch.linalg.eigh((rows().T @ rows() / 6).double())
    slow = rows().double() @ (axes / (energy.clamp_min(0) + FLOOR).sqrt()) @ axes.T
    torch.testing.assert_close(fitted.whiten(rows()), F.normalize(slow, dim=1).float(), rtol=0, atol=1e-5)


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
