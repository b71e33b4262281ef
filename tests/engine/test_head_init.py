"""A fitted head separates images at once, unlike a random one; nothing else changes."""

from collections.abc import Generator, Sequence

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dinocli.data.loader import Batch, Loader
from dinocli.engine.head_init import fit_bottleneck, fit_prototypes, init_head
from dinocli.models.head import DinoHead
from dinocli.progress import ProgressReporter
from tests.engine.learners import batch_of, tiny_learner


class Folder(Loader):
    """A loader of random images."""

    def __init__(self, images: int) -> None:
        self.store = range(images)  # type: ignore[assignment]

    def batches(self, images: Sequence[int], batch_size: int) -> Generator[Batch, None, None]:
        assert len(images) <= batch_size
        yield batch_of(len(images))[0]


def cone(count: int = 200, width: int = 32) -> Tensor:
    """Return features like those of a folder of one kind: a large common mean and small differences."""
    random = torch.Generator().manual_seed(0)
    scales = torch.linspace(1, 0.05, width)
    return 10 + torch.randn(count, width, generator=random) * scales


def head(prototypes: int = 64) -> DinoHead:
    torch.manual_seed(0)
    return DinoHead(32, out_dim=prototypes, hidden_dim=48, bottleneck_dim=16, batch_norm=False, norm_last_layer=True)


def last(fitted: DinoHead) -> nn.Linear:
    layer = fitted.mlp[-1]
    assert isinstance(layer, nn.Linear)
    return layer


def hidden(fitted: DinoHead, features: Tensor) -> Tensor:
    with torch.no_grad():
        return fitted.mlp[:-1](features)  # type: ignore[no-any-return]


@torch.no_grad()
def test_a_bottleneck_wider_than_its_inputs_is_fitted_partly() -> None:
    wide = DinoHead(32, out_dim=64, hidden_dim=12, bottleneck_dim=16, batch_norm=False, norm_last_layer=True)
    before = last(wide).weight[12:].clone()
    fit_bottleneck(wide, hidden(wide, cone()))
    assert torch.equal(last(wide).weight[12:], before)
    assert wide.mlp(cone()).mean(dim=0).abs().max() < 1e-4


@torch.no_grad()
def test_the_bottleneck_is_centred_and_spreads_into_all_directions() -> None:
    fitted, features = head(), cone()
    before = F.normalize(fitted.mlp(features), dim=-1)
    fit_bottleneck(fitted, hidden(fitted, features))
    after = fitted.mlp(features)
    assert (before @ before.T).mean() > 0.9, "a random head sees one point"
    torch.testing.assert_close(after.mean(dim=0), torch.zeros(16), atol=1e-5, rtol=0)
    units = F.normalize(after, dim=-1)
    assert (units @ units.T).mean().abs() < 0.02
    spread = after.std(dim=0)
    assert spread.min() > 0.25 * spread.max()
    assert last(fitted).weight.std() == pytest.approx(0.02, rel=1e-3)


@torch.no_grad()
def test_few_views_leave_the_rest_of_the_bottleneck_random() -> None:
    fitted, features = head(), cone(5)
    before = last(fitted).weight.clone()
    fit_bottleneck(fitted, hidden(fitted, features))
    changed = (last(fitted).weight != before).all(dim=1)
    assert changed.tolist() == [True] * 4 + [False] * 12
    assert fitted(features).isfinite().all()


@torch.no_grad()
def test_prototypes_are_views_and_points_between_two() -> None:
    fitted = head(prototypes=30)
    views = F.normalize(torch.randn(20, 16, generator=torch.Generator().manual_seed(1)), dim=-1)
    fit_prototypes(fitted, views, seed=0)
    units = F.normalize(fitted.prototypes.direction, dim=-1)
    nearest = (units @ views.T).max(dim=1).values
    torch.testing.assert_close(nearest[:20], torch.ones(20))
    assert (nearest[20:] > 0.5).all()
    torch.testing.assert_close(fitted.prototypes.direction.norm(dim=1), torch.full((30,), 3**-0.5))
    again = head(prototypes=30)
    fit_prototypes(again, views, seed=0)
    assert torch.equal(again.prototypes.direction, fitted.prototypes.direction)
    fit_prototypes(again, views, seed=1)
    assert not torch.equal(again.prototypes.direction, fitted.prototypes.direction)


def test_both_heads_are_fitted_alike_and_the_backbone_stays() -> None:
    learner, loader = tiny_learner(), Folder(6)
    before = [tensor.clone() for tensor in learner.student.backbone.state_dict().values()]
    old = learner.teacher.head.prototypes.direction.clone()
    init_head(learner, loader, ProgressReporter())
    student, teacher = learner.student.head.state_dict(), learner.teacher.head.state_dict()
    assert all(torch.equal(student[key], teacher[key]) for key in teacher)
    assert not torch.equal(teacher["prototypes.direction"], old)
    after = learner.student.backbone.state_dict().values()
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
    assert learner.teacher.head.prototypes.direction.requires_grad is False
