"""Which steps, probes and labels `--minutes` leaves of a run, with stated speeds of the machine."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from dinocli.config.load import with_values
from dinocli.engine.run_seconds import PAGE_FORWARDS, Costs
from dinocli.tasks.train.budget import TrainPlan, make_plan, seconds_to_train
from dinocli.tasks.train.setup import list_images, setup
from dinocli.tasks.train.train_context import TrainContext
from tests.tasks.drive import Ears, job
from tests.textures import write_textures

NOW = 1000.0
SETTINGS = (
    "run.steps=8",
    "guard.every=0.5",
    "guard.weight_interpolation=[1.0]",
    "guard.probe_images=8",
    "dino.center_batches=0",
    "head.init=random",
)


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> TrainContext:
    images = write_textures(tmp_path_factory.mktemp("images"), each=4, side=40)  # twelve
    options = job(images, Path("never written"), SETTINGS, labels="folder")
    return setup(options, list_images(options, None), Ears())


@pytest.fixture(autouse=True)
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop the clock: what a plan takes itself, on a busy machine, is not looked at here."""
    monkeypatch.setattr("dinocli.tasks.train.train_context.time", SimpleNamespace(monotonic=lambda: NOW))


def plan_of(
    context: TrainContext, monkeypatch: pytest.MonkeyPatch, minutes: float, *, step: float, forward: float
) -> tuple[TrainPlan, Ears]:
    measured = Costs(head_step=step, step=step, forward=forward, probe_image=3 * forward)
    monkeypatch.setattr("dinocli.tasks.train.budget.measure_costs", lambda *_: measured)
    ears, options = Ears(), replace(context.options, minutes=minutes)
    return make_plan(replace(context, options=options, reporter=ears, started=NOW)), ears


def test_a_batch_of_more_images_than_there_are_is_a_warning(context: TrainContext) -> None:
    for batch, warnings in ((13, ["a step repeats images: --batch-size 13, and there are 12 images"]), (12, [])):
        ears, recipe = Ears(), with_values(context.recipe, {"run.batch_size": batch})
        make_plan(replace(context, recipe=recipe, reporter=ears))
        assert ears.warnings == warnings


def test_minutes_are_at_most_what_the_recipe_plans(context: TrainContext, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, ears = plan_of(context, monkeypatch, 60.0, step=1.0, forward=0.01)
    assert plan.recipe == context.recipe
    assert (len(plan.labelled), plan.cut) == (12, False)
    assert any("60 minutes are enough for all 8 planned steps (1 s per step, " in line for line in ears.lines)


def test_minutes_cut_the_steps_and_say_so(context: TrainContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """A probe takes 3.2 s, the page 10 s, the labels 2.4 s: 100 s less four probes leave 75 s."""
    plan, ears = plan_of(context, monkeypatch, 100 / 60, step=10.0, forward=0.1)
    assert (plan.recipe.run.steps, plan.cut) == (7, True)
    assert any("1.66667 minutes allow 7 of the 8 planned steps on this machine (10 s per" in w for w in ears.warnings)


def test_minutes_cap_the_labels_and_name_what_is_left_out(
    context: TrainContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fifth of 100 s, 1.2 s a pass, two passes an image: 8 of 12 images."""
    plan, ears = plan_of(context, monkeypatch, 100 / 60, step=1.0, forward=1.2)
    assert len(plan.labelled) == 8
    assert "1.66667 minutes allow 8 of 12 labelled images" in ears.warnings


def test_without_minutes_nothing_is_measured(context: TrainContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dinocli.tasks.train.budget.measure_costs", lambda *_: pytest.fail("measured"))
    plan = make_plan(context)
    assert (plan.recipe, sorted(plan.labelled)) == (context.recipe, [*range(12)])


def test_the_loop_leaves_time_for_verdict_labels_and_page(context: TrainContext) -> None:
    """Eight images: a probe of three passes when the time is up, two for the verdict; twelve with labels."""
    limited = replace(context, options=replace(context.options, minutes=60.0), started=NOW)
    plan = TrainPlan(context.recipe, [*range(12)])
    left = limited.seconds_left() - seconds_to_train(limited, plan, 1.0)
    assert left == pytest.approx(8 * 3 + 2 * 8 * 3 + 2 * 12 + PAGE_FORWARDS)
    assert seconds_to_train(context, plan, 1.0) == float("inf")


def test_probes_that_turn_out_dear_become_fewer(context: TrainContext, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = with_values(context.options.recipe, {"guard.max_share": 0.2, "guard.every": 0.25, "run.steps": 100})
    limited = replace(context, options=replace(context.options, recipe=asked))
    cheap, _ = plan_of(limited, monkeypatch, 60.0, step=1.0, forward=0.01)
    dear, _ = plan_of(limited, monkeypatch, 600.0, step=1.0, forward=0.3)
    assert (cheap.recipe.run.steps, cheap.recipe.guard.every, cheap.cut) == (100, 0.25, False)
    assert (dear.recipe.run.steps, dear.recipe.guard.every, dear.cut) == (100, 1.0, False)
