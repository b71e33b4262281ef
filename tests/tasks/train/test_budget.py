from dataclasses import replace

import pytest

from dinocli.config.load import with_values
from dinocli.config.recipe import Recipe
from dinocli.engine.run_seconds import PAGE_FORWARDS, Costs, RunSize, fit_steps, initialize_forwards, run_seconds
from dinocli.tasks.train import budget
from dinocli.tasks.train.budget import labelled_images, labels_within
from tests.engine.learners import tiny_recipe

COSTS = Costs(head_step=1.0, step=2.0, forward=0.1, probe_image=0.3)
SIZE = RunSize(images=500, side=224, labelled=0)


def recipe(*settings: str) -> Recipe:
    base = ("run.steps=1000", "guard.every=0.1", "guard.probe_images=10", "guard.weight_interpolation=[0.5, 1.0]")
    still = ("dino.center_batches=0", "head.init=random", "optim.head_warmup=0")
    return tiny_recipe(*base, *still, *settings)


def test_run_seconds_adds_up_every_part() -> None:
    """3 s a probe: the start and ten of the guard; one interpolation and two of the verdict, which cost 9/4."""
    found = run_seconds(recipe(), replace(SIZE, labelled=40), COSTS)
    assert found._asdict() == pytest.approx(
        {
            "initialize": 0.0,
            "steps": 2000.0,
            "probes": 11 * 3.0,
            "verdict": (1 + 2 * 9 / 4) * 3.0,
            "labels": 2 * 40 * 0.1,
            "page": PAGE_FORWARDS * 0.1,
            "teacher": 0.0,
        }
    )
    assert found.total == pytest.approx(2000 + 33 + 16.5 + 8 + 10)
    assert found.guard_share == pytest.approx(49.5 / 2067.5)


def test_a_frozen_teacher_looks_at_views_probes_and_labelled_images() -> None:
    """64 prototypes of four views each, at a quarter of the pixels; two probes of ten images."""
    large = recipe("views.global_size=112")
    found = run_seconds(large, replace(SIZE, labelled=40), replace(COSTS, teacher_forward=0.5))
    assert found.teacher == pytest.approx((64 * 4 / 4 + 2 * 10 + 40) * 0.5)
    assert found.total == pytest.approx(run_seconds(large, replace(SIZE, labelled=40), COSTS).total + found.teacher)


def test_adapted_statistics_are_probed_once_by_the_guard_and_once_by_the_verdict() -> None:
    adapted = run_seconds(recipe("model.batch_norm=adapted"), SIZE, COSTS)
    assert adapted.probes == pytest.approx(12 * 3.0)
    assert adapted.verdict == pytest.approx((1 + 3 * 9 / 4) * 3.0)


def test_a_small_folder_has_small_probes() -> None:
    assert run_seconds(recipe(), replace(SIZE, images=5), COSTS).probes == pytest.approx(11 * 1.5)


@pytest.mark.parametrize(("warmup", "seconds"), [(0.0, 2000.0), (0.5, 1500.0)])
def test_a_warm_up_of_the_head_is_cheaper_unless_it_may_end_early(warmup: float, seconds: float) -> None:
    warm = recipe(f"optim.head_warmup={warmup}")
    assert run_seconds(warm, SIZE, COSTS).steps == pytest.approx(seconds)
    early = recipe(f"optim.head_warmup={warmup}", "optim.head_warmup_loss=0.9")
    assert run_seconds(early, SIZE, COSTS).steps == pytest.approx(2000.0)


def test_what_comes_before_the_first_step_is_counted_in_forward_passes() -> None:
    settings = ("head.out_dim=600", "views.global_size=112")
    asked = {
        (norms, head): recipe(f"model.batch_norm={norms}", f"head.init={head}", *settings)
        for norms in ("adapted", "frozen")
        for head in ("fitted", "random")
    }
    many = replace(SIZE, images=5000)
    assert initialize_forwards(asked["frozen", "random"], many) == 0
    assert initialize_forwards(asked["frozen", "fitted"], many) == 150, "600 views of a quarter of the pixels"
    assert initialize_forwards(asked["adapted", "random"], SIZE) == 3 * 500
    assert initialize_forwards(asked["adapted", "fitted"], many) == 3 * 1024 + 150
    centred = recipe("dino.center_batches=2", "run.batch_size=8", "views.global_size=224")
    assert initialize_forwards(centred, SIZE) == 2 * 2 * 8


def with_steps(steps: int) -> Recipe:
    return with_values(recipe(), {"run.steps": steps})


@pytest.mark.parametrize("seconds", [100.0, 333.0, 1000.0])
def test_fit_steps_takes_the_most_steps_that_fit(seconds: float) -> None:
    found = fit_steps(seconds, recipe(), with_steps, SIZE, COSTS)
    steps = int(found.run.steps)
    assert run_seconds(found, SIZE, COSTS).total <= seconds < run_seconds(with_steps(steps + 1), SIZE, COSTS).total


def test_fit_steps_never_plans_more_than_the_recipe_and_always_one() -> None:
    assert fit_steps(1e6, recipe(), with_steps, SIZE, COSTS) == recipe()
    assert fit_steps(0.0, recipe(), with_steps, SIZE, COSTS).run.steps == 1


def test_labels_take_at_most_a_fifth_of_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = labelled_images({"kind": ["a", "", *["b"] * 98]})
    assert sorted(drawn) == [0, *range(2, 100)]
    assert labels_within(0.0, drawn, COSTS) == drawn
    assert labels_within(0.5, drawn, COSTS) == drawn[:30], "6 of 30 seconds, twice 0.1 s an image"
    assert labelled_images({}) == []
    monkeypatch.setattr(budget, "MAX_LABELLED_IMAGES", 7)
    assert len(labelled_images({"kind": ["a"] * 30})) == 7
