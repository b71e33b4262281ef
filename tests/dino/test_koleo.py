"""KoLeo against a reference loop, hand values, and cases where the plain formula fails."""

import math

import pytest
import torch
from torch import Tensor

from dinocli.dino.koleo import MIN_DISTANCE, koleo_loss


def slow(features_ND: Tensor, sources: list[int]) -> float:
    logs = []
    for i, one in enumerate(features_ND.double()):
        distances = [
            float((one / one.norm() - other / other.norm()).norm())
            for j, other in enumerate(features_ND.double())
            if sources[i] != sources[j]
        ]
        if distances:
            logs.append(-math.log(max(min(distances), MIN_DISTANCE)))
    return sum(logs) / len(logs) if logs else 0.0


@pytest.mark.parametrize("sources", [[0, 1, 2, 3, 4, 5], [0, 0, 1, 1, 2, 3], [7, 7, 7, 7, 7, 2]])
def test_it_equals_the_slow_loop(sources: list[int]) -> None:
    features = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
    assert koleo_loss(features, torch.tensor(sources)).item() == pytest.approx(slow(features, sources), rel=1e-5)


def test_opposite_points_give_minus_ln_2() -> None:
    features = torch.tensor([[3.0, 0.0], [-0.5, 0.0]])
    assert koleo_loss(features, torch.tensor([0, 1])).item() == pytest.approx(-math.log(2))


def test_exact_copies_give_finite_loss_and_no_gradient() -> None:
    features = torch.ones(3, 4, requires_grad=True)
    loss = koleo_loss(features, torch.tensor([0, 1, 2]))
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == pytest.approx(-math.log(MIN_DISTANCE))
    assert features.grad is not None
    assert not features.grad.any()


def test_one_image_has_no_loss_and_its_copies_are_no_neighbours() -> None:
    features = torch.randn(4, 8, requires_grad=True)
    loss = koleo_loss(features, torch.zeros(4))
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == 0.0
    assert features.grad is not None
    assert torch.isfinite(features.grad).all()


def test_a_step_along_the_gradient_spreads_the_features() -> None:
    features = torch.randn(16, 8, generator=torch.Generator().manual_seed(1)).add(2.0).requires_grad_()
    before = koleo_loss(features, torch.arange(16))
    before.backward()  # type: ignore[no-untyped-call]
    assert features.grad is not None
    after = koleo_loss(features.detach() - 0.1 * features.grad, torch.arange(16))
    assert after < before


def test_half_precision_is_computed_in_float32() -> None:
    features = torch.randn(6, 5).bfloat16()
    assert koleo_loss(features, torch.arange(6)).dtype == torch.float32
