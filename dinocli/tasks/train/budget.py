"""Fit steps, probes and labels into `--minutes`."""

import gc
import math
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from dinocli.config.guard_plan import final_work, step_work
from dinocli.config.load import with_values
from dinocli.config.recipe import Recipe
from dinocli.data.labels import Labels
from dinocli.data.loader import Batch
from dinocli.engine.compilation import choose_compile
from dinocli.engine.costs import measure_costs
from dinocli.engine.distributed import from_main
from dinocli.engine.run_seconds import PAGE_FORWARDS, Costs, RunSeconds, RunSize, fit_steps, run_seconds
from dinocli.engine.step import Learner, train_step
from dinocli.tasks.train.train_context import TrainContext

MAX_LABELLED_IMAGES = 10_000
"""Maximum number of labelled images that are measured; more would take minutes without a relevant change."""

MAX_LABELS_FRACTION = 0.2
"""Maximum fraction of `--minutes` for scores by labels."""


@dataclass(frozen=True)
class TrainPlan:
    """Plan of a run.

    Args:
        recipe: Resolved recipe, with the steps that fit into `--minutes`.
        labelled: Store indices of the images to score by labels at the end, in random order.
        cut: `--minutes` was too short for all planned steps.
    """

    recipe: Recipe
    labelled: list[int]
    cut: bool = False


def make_plan(context: TrainContext) -> TrainPlan:
    """Fit a new run into `--minutes`, and test whether compiling pays. A resumed run keeps its recipe.

    Returns:
        The plan; the reporter gets a line on what fits.
    """
    plan, batch = TrainPlan(context.recipe, labelled_images(context.labels)), int(context.recipe.run.batch_size)
    if batch > context.count and not context.resumed:
        context.reporter.warn(f"a step repeats images: --batch-size {batch}, and there are {context.count} images")
    if context.options.minutes and not context.resumed:
        learner, loader = context.learner(context.recipe), context.loader(context.recipe)
        context.reporter.stage("timing a few steps")
        start = context.backbone, context.preprocess, context.teacher
        costs = measure_costs(learner, loader, context.recipe, *start)
        plan = from_main(lambda: _within_minutes(context, costs, plan.labelled))
    return replace(plan, recipe=_with_compile_choice(context, plan.recipe))


def labelled_images(labels: Labels) -> list[int]:
    """Return the store indices of at most `MAX_LABELLED_IMAGES` labelled images, in random order."""
    with_any = [index for index, row in enumerate(zip(*labels.values(), strict=True)) if any(row)]
    drawn: list[int] = np.random.default_rng(0).permutation(with_any)[:MAX_LABELLED_IMAGES].tolist()
    return drawn


def labels_within(minutes: float, labelled: list[int], costs: Costs) -> list[int]:
    """Limit the labelled images to a fifth of `--minutes`; without `--minutes` return all."""
    return labelled[: int(MAX_LABELS_FRACTION * 60 * minutes / (2 * costs.forward))] if minutes else labelled


def fit_plan(context: TrainContext, costs: Costs, labelled: list[int], seconds: float) -> tuple[TrainPlan, RunSeconds]:
    """Fit steps, probes and labels of a new run into a time limit.

    Args:
        context: Context with a recipe resolved without a limit.
        costs: Measured costs.
        labelled: From `labelled_images`.
        seconds: Time for all parts of the run; infinite without `--minutes`.

    Returns:
        The plan, and the predicted seconds of its parts.
    """
    requested, minutes = context.options.recipe, context.options.minutes
    # Work of a probe image by its measured cost, in the unit of `step_work` (pixels).
    work = costs.probe_image / costs.step * step_work(context.recipe) if minutes else 0.0
    measured = labels_within(minutes, labelled, costs)
    size = RunSize(context.count, context.preprocess.size, len(measured))

    def with_steps(steps: int) -> Recipe:
        return context.resolved(with_values(requested, {"run.steps": steps}), work)

    planned = context.resolved(requested, work)
    recipe = fit_steps(seconds, planned, with_steps, size, costs)
    plan = TrainPlan(recipe, measured, cut=recipe.run.steps != planned.run.steps)
    return plan, run_seconds(recipe, size, costs)


def _within_minutes(context: TrainContext, costs: Costs, labelled: list[int]) -> TrainPlan:
    """Fit a run into the rest of `--minutes`, and report what fits."""
    plan, seconds = fit_plan(context, costs, labelled, context.seconds_left())
    minutes, steps, planned = context.options.minutes, plan.recipe.run.steps, context.recipe.run.steps
    speed = f"{costs.step:.2g} s per step, {seconds.guard_share:.0%} for probes and verdict"
    if plan.cut:
        context.reporter.warn(
            f"{minutes:g} minutes allow {steps} of the {planned} planned steps on this machine ({speed}); "
            "more minutes may give better features"
        )
    else:
        context.reporter.line(f"{minutes:g} minutes are enough for all {steps} planned steps ({speed})")
    if len(plan.labelled) < len(labelled):
        context.reporter.warn(f"{minutes:g} minutes allow {len(plan.labelled)} of {len(labelled)} labelled images")
    return plan


def seconds_to_train(context: TrainContext, plan: TrainPlan, seconds_per_forward: float) -> float:
    """Return the time limit of the training loop, so that a run keeps `--minutes` even if the machine slows down."""
    recipe = plan.recipe
    images = min(int(recipe.guard.probe_images), len(context.store)) * context.forwards_per_probe_image(recipe)
    guard = recipe.guard
    probes = 1 + final_work(recipe, guard.every, guard.weight_interpolation)  # the last probe and those of the verdict
    forwards = probes * images + 2 * len(plan.labelled) + PAGE_FORWARDS
    return context.seconds_left() - forwards * seconds_per_forward if context.options.minutes else math.inf


def _with_compile_choice(context: TrainContext, recipe: Recipe) -> Recipe:
    """Decide on `run.compile` by timing a temporary learner, and record the decision in the recipe."""
    loader = context.loader(recipe)

    def trial() -> Learner:
        return context.learner(recipe)

    @cache
    def slices() -> list[Batch]:
        with closing(loader.steps(0, 1)) as steps:
            return next(steps)

    def one_step(learner: Learner) -> None:
        train_step(learner, slices(), 0)

    decided, reason = choose_compile(recipe.run.compile, int(recipe.run.steps), trial, one_step)
    if reason:
        gc.collect()  # a compiled network refers to itself, and would keep its memory on the device
        report = context.reporter.line if decided or recipe.run.compile == "auto" else context.reporter.warn
        report(reason)
    return with_values(recipe, {"run.compile": decided})
