"""The loss against reference loops of the paper: G global views, V views, B images, K prototypes."""

import math

import pytest
import torch
from torch import Tensor

from dinocli.dino.loss import dino_loss, marginal_entropy, mean_entropy, teacher_probs

TEMP_S, TEMP_T = 0.1, 0.04


def scores(*shape: int, seed: int = 0) -> Tensor:
    """Return cosines, the output of a head with normalised prototypes."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def slow_probs(logits_GBK: Tensor, center_K: Tensor, temp: float) -> Tensor:
    probs = torch.zeros_like(logits_GBK)
    for g, view in enumerate(logits_GBK):
        for b, row in enumerate(view):
            powers = [math.exp((float(row[k]) - float(center_K[k])) / temp) for k in range(len(row))]
            probs[g, b] = torch.tensor([power / sum(powers) for power in powers])
    return probs


def slow_loss(student_VBK: Tensor, probs_GBK: Tensor, temp: float) -> Tensor:
    """Algorithm 1 of the paper: H(t_g, s_v) for every pair of different views, mean over pairs and images."""
    terms = []
    for g, targets_BK in enumerate(probs_GBK):
        for v, student_BK in enumerate(student_VBK):
            if v == g:
                continue
            for target_K, logits_K in zip(targets_BK, student_BK, strict=True):
                exponents = (logits_K / temp).exp()
                terms.append(-(target_K * (exponents / exponents.sum()).log()).sum())
    return torch.stack(terms).mean()


@pytest.mark.parametrize(("views", "globals_"), [(2, 2), (5, 2), (10, 2), (4, 1)])
def test_loss_and_gradient_equal_the_slow_loop(views: int, globals_: int) -> None:
    fast = scores(views, 3, 11).requires_grad_()
    slow = fast.detach().clone().requires_grad_()
    probs = teacher_probs(scores(globals_, 3, 11, seed=1), scores(11, seed=2) * 0.1, TEMP_T)
    loss, expected = dino_loss(fast, probs, TEMP_S), slow_loss(slow, probs, TEMP_S)
    loss.backward()  # type: ignore[no-untyped-call]
    expected.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == pytest.approx(expected.item(), abs=1e-6)
    assert fast.grad is not None
    assert slow.grad is not None
    torch.testing.assert_close(fast.grad, slow.grad, atol=1e-6, rtol=0)
    assert slow.grad.abs().max() > 1e-3


def test_targets_equal_the_slow_loop() -> None:
    logits, center = scores(2, 4, 9), scores(9, seed=3)
    torch.testing.assert_close(
        teacher_probs(logits, center, TEMP_T), slow_probs(logits, center, TEMP_T), atol=1e-6, rtol=0
    )


@pytest.mark.parametrize("count", [2, 64, 4096])
def test_uniform_logits_give_ln_k(count: int) -> None:
    probs = teacher_probs(torch.full((2, 3, count), 0.7), torch.zeros(count), TEMP_T)
    assert dino_loss(torch.zeros(4, 3, count), probs, TEMP_S).item() == pytest.approx(math.log(count), abs=1e-5)
    assert mean_entropy(probs).item() == pytest.approx(math.log(count), abs=1e-5)
    assert marginal_entropy(probs.sum(dim=(0, 1))).item() == pytest.approx(math.log(count), abs=1e-5)


def test_one_hot_targets_give_the_log_softmax_of_that_prototype() -> None:
    probs = torch.zeros(1, 1, 4)
    probs[0, 0, 2] = 1.0
    student = torch.tensor(
        [[[9.0, 9.0, 9.0, 9.0]], [[0.1, 0.0, 0.2, 0.0]]]
    )  # view 1 is the teacher's own, which is not compared
    expected = -math.log(math.e**2 / (math.e + 1 + math.e**2 + 1))
    assert dino_loss(student, probs, TEMP_S).item() == pytest.approx(expected, abs=1e-6)
    assert mean_entropy(probs).item() == 0.0


def test_one_hot_images_on_different_prototypes_share_no_marginal() -> None:
    probs = torch.eye(4)[None]
    assert mean_entropy(probs).item() == 0.0
    assert marginal_entropy(probs.sum(dim=(0, 1))).item() == pytest.approx(math.log(4))
    assert marginal_entropy(torch.tensor([7.0, 0.0])).item() == 0.0


def test_a_view_is_never_compared_with_itself() -> None:
    """With two views, each student view is compared with the other teacher view only."""
    student = scores(2, 3, 8)
    probs = teacher_probs(scores(2, 3, 8, seed=1), torch.zeros(8), TEMP_T)
    crossed = -(probs.flip(0) * (student / TEMP_S).log_softmax(-1)).sum(-1).mean()
    assert dino_loss(student, probs, TEMP_S).item() == pytest.approx(crossed.item(), abs=1e-6)


def test_no_pair_of_views_is_an_error() -> None:
    with pytest.raises(ValueError, match="1 student and 1 teacher views"):
        dino_loss(torch.zeros(1, 2, 4), torch.full((1, 2, 4), 0.25), TEMP_S)


def test_the_teacher_gets_no_gradient() -> None:
    logits = scores(2, 2, 6).requires_grad_()
    assert not teacher_probs(logits, torch.zeros(6), TEMP_T).requires_grad


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_logits_are_computed_on_in_float32(dtype: torch.dtype) -> None:
    student, teacher = scores(4, 2, 512).to(dtype), scores(2, 2, 512, seed=1).to(dtype)
    center = torch.zeros(512)
    probs = teacher_probs(teacher, center, TEMP_T)
    loss = dino_loss(student, probs, TEMP_S)
    assert probs.dtype == loss.dtype == torch.float32
    assert torch.equal(loss, dino_loss(student.float(), teacher_probs(teacher.float(), center, TEMP_T), TEMP_S))


def test_loss_minus_entropy_is_the_divergence() -> None:
    probs = teacher_probs(scores(2, 3, 8), torch.zeros(8), TEMP_T)
    student = probs.flip(0).log() * TEMP_S  # the target of each view is that of the other view
    assert (dino_loss(student, probs, TEMP_S) - mean_entropy(probs)).item() == pytest.approx(0.0, abs=1e-5)
    assert (dino_loss(scores(2, 3, 8, seed=5), probs, TEMP_S) - mean_entropy(probs)).item() > 0.1
