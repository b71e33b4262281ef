import pytest
import torch

from dinocli.dino.center import batch_sum, updated_center
from dinocli.dino.loss import dino_loss, teacher_probs


def logits(views: int, images: int, count: int) -> torch.Tensor:
    return torch.randn(views, images, count, generator=torch.Generator().manual_seed(0))


def test_center_equals_the_slow_loop() -> None:
    teacher, center, momentum = logits(2, 5, 7), torch.linspace(-1, 1, 7), 0.9
    expected = [
        momentum * float(center[k])
        + (1 - momentum) * sum(float(teacher[g, b, k]) for g in range(2) for b in range(5)) / 10
        for k in range(7)
    ]
    torch.testing.assert_close(
        updated_center(center, batch_sum(teacher), 10, momentum), torch.tensor(expected), atol=1e-6, rtol=0
    )


def test_center_over_several_steps_is_a_geometric_sum() -> None:
    center = torch.zeros(3)
    for _ in range(4):
        center = updated_center(center, torch.full((3,), 20.0), 10, 0.5)
    torch.testing.assert_close(center, torch.full((3,), 2 * (1 - 0.5**4)))


@pytest.mark.parametrize(("momentum", "moved"), [(1.0, 0.0), (0.9, 0.2), (0.0, 2.0)])
def test_momentum_is_the_share_that_stays(momentum: float, moved: float) -> None:
    center = updated_center(torch.zeros(1), torch.tensor([8.0]), 4, momentum)
    assert center.item() == pytest.approx(moved, abs=1e-6)


def test_sums_of_slices_add_up() -> None:
    teacher = logits(2, 6, 7)
    slices = [batch_sum(teacher[:, place : place + 2]) for place in (0, 2, 4)]
    torch.testing.assert_close(slices[0] + slices[1] + slices[2], batch_sum(teacher), atol=1e-6, rtol=0)


def test_the_loss_does_not_change_the_center() -> None:
    center = torch.linspace(-1, 1, 7)
    before = center.clone()
    probs = teacher_probs(logits(2, 3, 7), center, 0.04)
    dino_loss(logits(4, 3, 7).requires_grad_(), probs, 0.1).backward()  # type: ignore[no-untyped-call]
    assert torch.equal(center, before)


def test_batch_sum_is_float32_without_gradient() -> None:
    teacher = logits(2, 300, 3).to(torch.bfloat16).requires_grad_()
    total = batch_sum(teacher)
    assert total.dtype == torch.float32
    assert not total.requires_grad
    torch.testing.assert_close(total, teacher.detach().double().sum(dim=(0, 1)).float(), atol=1e-3, rtol=0)
