import math

import pytest

from dinocli.config.recipe import Recipe
from dinocli.tasks.train.budget import Budget, looks_to_get_ready, looks_to_measure, seconds_to_train, within
from tests.engine.learners import tiny_recipe

MIXES = [0.25, 0.5, 0.75, 1.0]
STEPS = (1.0, 2.0)
"""Seconds of a step of the head alone, and of everything."""


def recipe(*settings: str) -> Recipe:
    return tiny_recipe("guard.every=0.1", "run.steps=1000", *settings)


@pytest.mark.parametrize(
    ("seconds", "warmup", "steps"),
    [
        (115.0, 0.0, 50),  # 10 looks of 1 s, 3 at mixes, 2 of the verdict leave 100 s, 2 s each
        (115.0, 0.5, 66),  # half of them at 1 s
        (5000.0, 0.0, 1000),  # more than enough
    ],
)
def test_a_budget_is_looks_and_steps_of_both_kinds(seconds: float, warmup: float, steps: int) -> None:
    assert within(seconds, recipe(f"optim.head_warmup={warmup}"), STEPS, 1.0) == Budget(steps, 0.1, MIXES)
    early = recipe(f"optim.head_warmup={warmup}", "optim.head_warmup_loss=0.9")
    assert within(115.0, early, STEPS, 1.0).steps == 50, "a warm-up that may end at once saves nothing"


def test_slow_looks_leave_two_thirds_of_a_short_time_to_training() -> None:
    cold = recipe("optim.head_warmup=0")
    assert within(100.0, cold, STEPS, 2.7) == Budget(33, 0.1, [1.0]), "12 looks are 32 s: mixes are left out"
    short = within(100.0, cold, STEPS, 10.0)
    assert short == Budget(35, 1.0, [1.0]), "one look and the verdict are 30 s"
    assert short.looks == 3
    assert within(100.0, cold, STEPS, 6.0) == Budget(35, 1 / 3, [1.0]), "three looks and the verdict are 30 s"
    assert within(100.0, cold, STEPS, 30.0) == Budget(5, 1.0, [1.0]), "one look at the end, and the verdict"
    assert within(10.0, cold, STEPS, 30.0) == Budget(1, 1.0, [1.0]), "a budget that is gone already takes one step"


def test_slow_looks_are_kept_where_the_time_lasts_for_all_steps() -> None:
    few = tiny_recipe("guard.every=0.1", "run.steps=10", "optim.head_warmup=0")
    assert within(200.0, few, STEPS, 10.0) == Budget(10, 0.1, MIXES)


def test_looks_after_the_last_step_are_kept_free() -> None:
    assert seconds_to_train(10.0, 60.0, MIXES, 5.0) == 600 - 60 - 6 * 5
    assert seconds_to_train(10.0, 60.0, [1.0], 5.0) == 600 - 60 - 3 * 5
    assert seconds_to_train(0.0, 60.0, MIXES, 5.0) == math.inf


def test_what_comes_before_the_first_step_is_counted_in_looks() -> None:
    settings = ("head.out_dim=600", "views.global_size=112")
    asked = {
        (norms, head): recipe(f"model.batch_norm={norms}", f"head.start={head}", *settings)
        for norms in ("adapted", "frozen")
        for head in ("fitted", "random")
    }
    assert looks_to_get_ready(asked["frozen", "random"], 5000, 224, 300) == 0
    assert looks_to_get_ready(asked["frozen", "fitted"], 5000, 224, 300) == 0.5, "150 images' worth of 300"
    assert looks_to_get_ready(asked["adapted", "random"], 500, 224, 300) == 1 + 5
    assert looks_to_get_ready(asked["adapted", "fitted"], 5000, 224, 300) == 1 + 3 * 1024 / 300 + 0.5


def test_labels_are_measured_twice() -> None:
    assert looks_to_measure(0, 300) == 0
    assert looks_to_measure(2_700, 900) == 6, "start and adapted weights"
