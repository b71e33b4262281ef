"""Additional losses are weighted, change nothing else, and are not computed when off."""

import copy

import pytest
import torch

from dinocli.dino.anchors import feature_distance, gram_distance
from dinocli.dino.distillation import patch_distance
from dinocli.dino.koleo import koleo_loss
from dinocli.engine.objective import AnchorOutput, Objective
from dinocli.engine.step import train_step
from dinocli.engine.step_schedule import StepSchedule
from dinocli.models.head import NetworkOutput
from tests.engine.learners import batch_of, tiny_learner, tiny_recipe

NAMES = ("koleo", "gram_anchor", "feature_anchor", "teacher_feature", "teacher_patches")
ANCHORS = NAMES[1:3]
NOW = StepSchedule(tiny_recipe()).at(0)


def seen() -> tuple[NetworkOutput, NetworkOutput, AnchorOutput]:
    draw = torch.Generator().manual_seed(0)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=draw)

    student = NetworkOutput(random(3, 4, 16), random(12, 6), random(12, 5, 2, 2), random(12, 7), random(8, 9, 2, 2))
    teacher = NetworkOutput(random(2, 4, 16), random(8, 7), None, random(8, 7), random(8, 9, 4, 3))
    return student, teacher, AnchorOutput(random(8, 6), random(8, 5, 2, 2))


@pytest.mark.parametrize("name", NAMES)
def test_a_weight_adds_its_loss_on_global_views_and_nothing_else(name: str) -> None:
    student, teacher, anchor = seen()
    assert student.patches_NDhw is not None
    assert anchor.features_ND is not None
    assert anchor.patches_NDhw is not None
    assert student.projected_NThw is not None
    assert teacher.projected_NThw is not None
    sources = [4, 4, 9, 1]
    views = [koleo_loss(student.features_ND[rows], torch.tensor(sources)) for rows in (slice(0, 4), slice(4, 8))]
    expected = {
        "koleo": (views[0] + views[1]) / 2,
        "gram_anchor": gram_distance(student.patches_NDhw[:8], anchor.patches_NDhw),
        "feature_anchor": feature_distance(student.features_ND[:8], anchor.features_ND),
        "teacher_feature": feature_distance(student.bottleneck_NC[:8], teacher.bottleneck_NC),
        "teacher_patches": patch_distance(student.projected_NThw, teacher.projected_NThw),
    }[name]
    start = tiny_learner().student.backbone
    plain, parts = Objective(dict.fromkeys(NAMES, 0.0), start)(student, teacher, anchor, torch.zeros(16), sources, NOW)
    weighed = Objective({**dict.fromkeys(NAMES, 0.0), name: 0.25}, start)
    loss, more = weighed(student, teacher, anchor, torch.zeros(16), sources, NOW)
    assert loss.item() == pytest.approx((plain + 0.25 * expected).item(), rel=1e-6)
    assert torch.equal(more.loss, parts.loss), "DINO's loss is reported alone"
    assert more.extras_E.tolist() == pytest.approx([expected.item()])
    assert parts.extras_E.shape == (0,)


def test_off_uses_no_copy_of_the_start() -> None:
    learner = tiny_learner()
    assert learner.objective.start is None
    assert learner.objective.anchor_output(torch.zeros(2, 3, 32, 32)) == AnchorOutput(None, None)
    assert not learner.objective.wants_patches
    assert len(train_step(learner, batch_of(4), 0)) == 5


@pytest.mark.parametrize("name", ANCHORS)
def test_an_anchor_is_zero_at_the_start_and_limits_drift(name: str) -> None:
    drifts = []
    for weight in (1e-6, 30.0):
        hot = ("optim.lr=3e-3", "views.global_size=64")  # 2 x 2 patches: one alone is like itself
        learner = tiny_learner(f"loss.{name}={weight}", *hot)
        values = [float(train_step(learner, batch_of(4, seed=step), step)[5]) for step in range(6)]
        assert values[0] == pytest.approx(0, abs=1e-5)
        drifts.append(values[-1])
    assert drifts[0] > 1e-4
    assert drifts[1] < 0.8 * drifts[0]


def test_the_anchor_never_moves() -> None:
    learner = tiny_learner("loss.gram_anchor=1", "loss.feature_anchor=1", "loss.koleo=0.1", "optim.lr=1e-2")
    assert learner.objective.start is not None
    before = copy.deepcopy(learner.objective.start.state_dict())
    stats = [train_step(learner, batch_of(4, 2, seed=step), step) for step in range(3)]
    assert all(torch.equal(before[key], value) for key, value in learner.objective.start.state_dict().items())
    assert len(stats[-1]) == 8
    assert all(torch.isfinite(stat).all() for stat in stats)


def test_anchors_do_not_depend_on_slices() -> None:
    values = []
    for slices in (1, 2):
        learner = tiny_learner("loss.gram_anchor=1", "loss.feature_anchor=1", f"optim.grad_accum_steps={slices}")
        values.append([train_step(learner, batch_of(4, slices, seed=s), s) for s in range(3)][-1])
    torch.testing.assert_close(values[0], values[1], atol=1e-4, rtol=1e-4)
