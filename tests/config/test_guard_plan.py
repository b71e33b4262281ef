"""Reduction of probes to a share of the run: its order, and its minimum of start and adapted weights."""

import pytest

from dinocli.config.auto import resolve
from dinocli.config.guard_plan import (
    MIN_PROBE_IMAGES,
    VERDICT_IMAGE_COST,
    fit_guard,
    probe_count,
    probe_every,
    probe_work,
    step_work,
)
from dinocli.config.load import load_recipe, with_values
from dinocli.config.recipe import Recipe
from dinocli.config.run_facts import RunFacts

CELLS, SIDE = 263, 224
IMAGE_WORK = 3 * SIDE**2
MIXES = [0.25, 0.5, 0.75, 1.0]


def recipe(steps: int, *settings: str) -> Recipe:
    views = ("views.global_size=224", "views.local_size=96", "views.local_count=6")
    whole = load_recipe(
        [],
        [f"run.steps={steps}", "run.batch_size=32", *views, "guard.probe_images=300", "guard.max_share=0.2", *settings],
    )
    return with_values(whole, {"model.batch_norm": "frozen"})


def test_step_work_counts_forward_and_backward_passes() -> None:
    global_pixels, local_pixels = 2 * 224**2, 6 * 96**2
    assert step_work(recipe(1)) == 32 * (3 * (global_pixels + local_pixels) + global_pixels)


def test_a_long_run_keeps_what_the_recipe_says() -> None:
    plan = fit_guard(recipe(1500), CELLS, IMAGE_WORK)
    assert (plan.every, plan.probe_images, plan.weight_interpolation) == (0.1, 300, MIXES)
    assert plan.share < 0.05


@pytest.mark.parametrize(
    ("steps", "every", "alphas", "images"),
    [
        (165, 0.1, MIXES, 300),  # 16 probes of 263 images, of which two of the verdict cost 9/4
        (120, 0.2, MIXES, 300),  # 11
        (105, 1 / 3, MIXES, 300),  # 9
        (70, 0.5, [1.0], 300),  # 5
        (50, 1.0, [1.0], 300),  # 2: start and end, both of the verdict
        (16, 1.0, [1.0], 107),
        (4, 1.0, [1.0], MIN_PROBE_IMAGES),
    ],
)
def test_short_runs_get_fewer_probes_then_no_interpolation_then_smaller_ones(
    steps: int, every: float, alphas: list[float], images: int
) -> None:
    plan = fit_guard(recipe(steps), CELLS, IMAGE_WORK)
    assert (plan.every, plan.weight_interpolation) == (every, alphas)
    assert plan.probe_images == pytest.approx(images, abs=1)
    assert plan.share <= 0.2001 or images == MIN_PROBE_IMAGES


@pytest.mark.parametrize("steps", [1, 3, 16, 40, 100, 700])
def test_a_reduced_plan_is_not_reduced_again(steps: int) -> None:
    whole = recipe(steps)
    fitted = with_values(whole, fit_guard(whole, CELLS, IMAGE_WORK).settings())
    again = fit_guard(fitted, CELLS, IMAGE_WORK)
    assert with_values(fitted, again.settings()) == fitted


def test_without_a_limit_nothing_is_cut() -> None:
    plan = fit_guard(recipe(1, "guard.max_share=1"), CELLS, IMAGE_WORK)
    assert (plan.every, plan.probe_images, plan.weight_interpolation) == (0.1, 300, MIXES)
    assert plan.share > 0.9


def test_a_longer_probe_interval_of_the_recipe_stays() -> None:
    plan = fit_guard(recipe(16, "guard.every=1"), CELLS, IMAGE_WORK)
    assert plan.every == 1.0


def test_probe_count_is_that_of_a_run() -> None:
    assert probe_count(recipe(10), 0.25, [0.5, 1.0]) == 1 + 4 + 1 + 2
    adapted = with_values(recipe(10), {"model.batch_norm": "adapted"})
    assert probe_count(adapted, 0.25, [1.0]) == 1 + 1 + 4 + 2 + 1
    assert probe_count(adapted, 1.0, [1.0]) == 1 + 1 + 1 + 2 + 1, "statistics or training: something to select"
    assert probe_count(recipe(10), 1.0, [0.5, 1.0]) == 1 + 1 + 1 + 2
    assert probe_count(recipe(10), 1.0, [1.0]) == 1 + 1
    assert [probe_every(10, every) for every in (0.05, 1 / 3, 1.0)] == [1, 4, 10]


def test_every_default_run_stays_below_a_fifth() -> None:
    for images in (100, 300, 3_000, 100_000):
        for cpu in (False, True):
            for names in ([], ["gentle"]):
                facts = RunFacts(images, pretrained=True, cpu=cpu)
                plan = fit_guard(resolve(load_recipe(names), facts), images, IMAGE_WORK)
                assert plan.share <= 0.2


def test_without_synthetic_defects_an_image_of_the_verdict_costs_as_much_as_one_of_the_guard() -> None:
    without = recipe(16, "guard.synthetic_defects=false")
    assert probe_work(without, 0.5, [1.0]) == 5  # start, middle, end, and two of the verdict
    assert probe_work(without, 1.0, [1.0]) == 2
    with_defects = recipe(16, "guard.synthetic_defects=true")
    assert probe_work(with_defects, 0.5, [1.0]) == 3 + 2 * VERDICT_IMAGE_COST
    assert probe_work(with_defects, 1.0, [1.0]) == 2 * VERDICT_IMAGE_COST


@pytest.mark.parametrize(("pretrained", "share"), [(True, 0.2), (False, 0.05)])
def test_a_run_from_random_weights_probes_less(pretrained: bool, share: float) -> None:
    resolved = resolve(load_recipe([], ["run.steps=200"]), RunFacts(CELLS, pretrained=pretrained, cpu=True))
    assert resolved.guard.max_share == share
    assert fit_guard(resolved, CELLS, IMAGE_WORK).share <= share
