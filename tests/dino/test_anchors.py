"""The anchor losses against reference loops."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dinocli.dino.anchors import feature_distance, gram_distance


def slow_gram(student: Tensor, start: Tensor) -> float:
    total, pairs = 0.0, 0
    for one, other in zip(student.double(), start.double(), strict=True):
        ours, theirs = one.flatten(1).T, other.flatten(1).T
        for i in range(len(ours)):
            for j in range(len(ours)):
                now = float(F.cosine_similarity(ours[i], ours[j], dim=0))
                then = float(F.cosine_similarity(theirs[i], theirs[j], dim=0))
                total, pairs = total + (now - then) ** 2, pairs + 1
    return total / pairs


def test_gram_equals_the_slow_loop() -> None:
    draw = torch.Generator().manual_seed(0)
    student, start = (torch.randn(3, 6, 2, 4, generator=draw) for _ in range(2))
    assert gram_distance(student, start).item() == pytest.approx(slow_gram(student, start), rel=1e-5)


def test_gram_is_invariant_to_rotation_and_features_are_not() -> None:
    """The norm does not matter either, only the similarities between patches."""
    patches = torch.randn(2, 6, 3, 3, generator=torch.Generator().manual_seed(0))
    turn, _ = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(1)))
    turned = torch.einsum("ed,ndhw->nehw", turn, patches) * 3
    assert gram_distance(turned, patches).item() == pytest.approx(0, abs=1e-10)
    pooled = patches.mean((2, 3))
    assert feature_distance(pooled @ turn.T, pooled) > 0.1


def test_feature_distance_by_hand() -> None:
    east, north = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 5.0]])
    assert feature_distance(east, east * 7).item() == pytest.approx(0)
    assert feature_distance(east, north).item() == pytest.approx(1)
    assert feature_distance(east, -east).item() == pytest.approx(2)
    assert feature_distance(torch.cat([east, east]), torch.cat([east, north])).item() == pytest.approx(0.5)
