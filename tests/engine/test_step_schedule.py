from dataclasses import astuple

import pytest

from dinocli.config.auto import resolve
from dinocli.config.load import load_recipe
from dinocli.config.run_facts import RunFacts
from dinocli.engine.step_schedule import StepSchedule, StepValues

LENGTHS = [1, 2, 3, 10, 1000]


def plan(*settings: str, pretrained: bool = True) -> StepSchedule:
    return StepSchedule(resolve(load_recipe(settings=settings), RunFacts(300, pretrained)))


def every(of: StepSchedule) -> list[StepValues]:
    return [of.at(step) for step in range(of.steps)]


@pytest.mark.parametrize("steps", LENGTHS)
@pytest.mark.parametrize("pretrained", [True, False])
def test_every_warm_up_is_shorter_than_the_run(steps: int, pretrained: bool) -> None:
    made = plan(f"run.steps={steps}", pretrained=pretrained)
    for length in (made.head_warmup, made.lr_warmup, made.temp_warmup, made.last_layer_freeze):
        assert 0 <= length < steps
    assert made.at(steps - 1).prototypes_learn
    assert made.at(steps - 1).backbone_learns
    assert max(now.lr for now in every(made)) > 0
    assert all(now.head_lr > 0 for now in every(made))


@pytest.mark.parametrize("steps", LENGTHS)
@pytest.mark.parametrize("key", ["freeze_last_layer", "lr_warmup", "head_warmup"])
def test_a_share_of_one_leaves_a_step(steps: int, key: str) -> None:
    made = plan(f"run.steps={steps}", f"optim.{key}=1.0", "dino.teacher_temp_warmup=1.0")
    assert max(made.head_warmup, made.lr_warmup, made.temp_warmup, made.last_layer_freeze) == steps - 1
    assert made.at(steps - 1).prototypes_learn
    assert made.at(steps - 1).backbone_learns


def test_every_schedule_has_its_hand_values() -> None:
    made = plan(
        "run.steps=100",
        "optim.lr=1.0",
        "optim.head_lr=2.0",
        "optim.min_lr=0.0",
        "optim.head_warmup=0.2",
        "optim.lr_warmup=0.1",
        "optim.weight_decay_end=0.4",
        "optim.freeze_last_layer=0.05",
        "dino.warmup_teacher_temp=0.02",
        "dino.teacher_temp=0.06",
        "dino.teacher_temp_warmup=0.5",
        "dino.teacher_momentum=0.5",
    )
    first = StepValues(0.0, 0.2, 0.04, 0.1, 0.02, 0.5, backbone_learns=False, prototypes_learn=False)
    assert astuple(made.at(0)) == pytest.approx(astuple(first))
    assert (made.at(4).prototypes_learn, made.at(5).prototypes_learn) == (False, True)
    assert (made.at(19).lr, made.at(20).lr, made.at(29).lr) == pytest.approx((0.0, 0.1, 1.0))
    assert (made.at(19).backbone_learns, made.at(20).backbone_learns) == (False, True)
    middle = made.at(50)
    assert (middle.weight_decay, middle.teacher_temp, middle.momentum) == pytest.approx((0.22, 0.06, 0.75))
    assert made.at(65).lr == pytest.approx(0.5), "half of the way from 30 to 100"


@pytest.mark.parametrize("steps", [10, 1000])
def test_values_stay_in_their_bounds(steps: int) -> None:
    for now in every(plan(f"run.steps={steps}", "optim.lr=0.1", "optim.head_lr=0.2", "dino.teacher_momentum=0.99")):
        assert 0 <= now.lr <= 0.1
        assert 0 < now.head_lr <= 0.2
        assert 0.99 <= now.momentum < 1.0, "at 1 the teacher would learn nothing"
        assert (now.lr > 0) == now.backbone_learns


def test_a_peak_below_the_last_learning_rate_stays() -> None:
    values = every(plan("run.steps=10", "optim.lr=0", "optim.head_lr=1e-7", "optim.lr_warmup=0"))
    assert {now.lr for now in values} == {0.0}
    assert [now.head_lr for now in values] == pytest.approx([1e-7] * 10)
