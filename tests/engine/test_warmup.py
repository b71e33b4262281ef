"""The warm-up of the head ends when the loss has fallen, however often losses are read."""

import math

import pytest

from dinocli.engine.step_schedule import StepSchedule
from dinocli.engine.warmup import HeadWarmup
from tests.engine.learners import tiny_recipe

LN_K = math.log(64)


def warmup(share: float = 0.9, latest: float = 0.5) -> HeadWarmup:
    plan = StepSchedule(tiny_recipe("run.steps=100", f"optim.head_warmup={latest}"))
    return HeadWarmup(plan, 64, share)


def losses(fall_at: int) -> list[tuple[int, float]]:
    return [(done, LN_K if done < fall_at else 0.5 * LN_K) for done in range(1, 101)]


@pytest.mark.parametrize(("fall_at", "switch"), [(1, 10), (8, 10), (9, 20), (18, 20), (19, 30), (48, 50), (90, 50)])
def test_the_warm_up_ends_after_ten_steps_below_the_limit(fall_at: int, switch: int) -> None:
    watch = warmup()
    watch.update(losses(fall_at))
    assert watch.schedule.head_warmup == switch
    assert not watch.schedule.at(switch - 1).backbone_learns
    assert watch.schedule.at(switch - 1).lr == 0
    assert watch.schedule.at(switch).backbone_learns
    assert watch.schedule.at(switch).lr > 0


@pytest.mark.parametrize("portion", [1, 3, 7, 100])
def test_portions_and_resuming_change_nothing(portion: int) -> None:
    heard = losses(19)
    watch = warmup()
    for first in range(0, 100, portion):
        resumed = warmup()
        resumed.restore(watch.state())
        resumed.update(heard[first : first + portion])
        watch = resumed
    assert watch.schedule.head_warmup == 30


def test_it_asks_for_losses_every_ten_steps_of_the_warm_up() -> None:
    watch = warmup()
    assert [done for done in range(1, 101) if watch.due(done)] == [10, 20, 30, 40]


def test_a_share_of_0_never_ends_a_warm_up() -> None:
    watch = warmup(share=0.0)
    assert not any(watch.due(done) for done in range(101))
    watch.update(losses(1))
    assert watch.schedule.head_warmup == 50


def test_non_finite_losses_do_not_end_the_warm_up() -> None:
    watch = warmup()
    watch.update([(done, float("nan")) for done in range(1, 41)])
    assert watch.schedule.head_warmup == 50
