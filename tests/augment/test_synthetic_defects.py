import pytest
import torch
from torch import Tensor

from dinocli.augment.synthetic_defects import KINDS, draw_defects, with_defects

COUNT, SIDE = 12, 96


def images() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    light_N111 = torch.linspace(0.3, 0.6, COUNT)[:, None, None, None]
    return light_N111 + 0.1 * torch.rand(COUNT, 3, SIDE, SIDE, generator=generator)


@pytest.mark.parametrize("kind", range(len(KINDS)))
def test_a_defect_changes_a_small_part_and_not_a_bit_elsewhere(kind: int) -> None:
    before, (_, drawn) = images(), draw_defects(COUNT, 0)
    after = with_defects(before, torch.full((COUNT,), kind), drawn)
    changed_N = (after != before).any(dim=1).float().mean(dim=(1, 2))
    assert (changed_N > 0).all()
    assert changed_N.max() < 0.12
    assert after.min() >= 0
    assert after.max() <= 1


def test_a_large_faint_defect_covers_more_and_changes_less() -> None:
    before, (kind, drawn) = images(), draw_defects(COUNT, 0)
    small, large = (with_defects(before, kind, drawn, **more) - before for more in ({}, {"scale": 2, "opacity": 0.25}))
    area_N = [(one != 0).any(dim=1).float().sum(dim=(1, 2)) for one in (small, large)]
    assert (area_N[1] > 1.5 * area_N[0]).all()
    assert large.abs().max() < 0.5 * small.abs().max()


def test_kinds_differ_and_are_equally_frequent() -> None:
    kind, drawn = draw_defects(COUNT, 0)
    assert torch.bincount(kind).tolist() == [COUNT // len(KINDS)] * len(KINDS)
    made = [with_defects(images(), torch.full((COUNT,), one), drawn) for one in range(len(KINDS))]
    for one in range(len(KINDS)):
        for other in range(one):
            assert not torch.equal(made[one], made[other]), (KINDS[one], KINDS[other])


def test_a_defect_follows_the_contrast_of_its_image() -> None:
    """A dark exposure gets the same defect as a bright one, relative to its contrast."""
    before, (kind, drawn) = images(), draw_defects(COUNT, 3)
    dark = with_defects(0.5 * before, kind, drawn)
    torch.testing.assert_close(dark, 0.5 * with_defects(before, kind, drawn), atol=2e-3, rtol=0)


def test_draws_are_a_function_of_the_seed() -> None:
    first, again, other = (draw_defects(COUNT, seed)[1] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
