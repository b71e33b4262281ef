"""Estimate of the time of a run, part by part, for `--minutes` and `--dry-run`."""

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from dinocli.config.guard_plan import final_probes, final_work, probe_count
from dinocli.config.recipe import Recipe
from dinocli.engine.batch_norm_init import MAX_IMAGES
from dinocli.engine.focus_maps import SAMPLE
from dinocli.engine.head_init import MAX_VIEWS
from dinocli.engine.teacher_init import VIEWS_PER_PROTOTYPE

PAGE_FORWARDS = 100
"""Forward passes for the images of the report."""


@dataclass(frozen=True)
class Costs:
    """Measured seconds.

    Args:
        head_step: Step of the head warm-up.
        step: Step that trains the whole network.
        forward: Forward pass of one whole image, as in probes and evaluation with labels.
        probe_image: Measurement of one probe image.
        teacher_forward: Forward pass of one whole image by a frozen teacher; 0 without one.
    """

    head_step: float
    step: float
    forward: float
    probe_image: float
    teacher_forward: float = 0.0


class RunSeconds(NamedTuple):
    """Seconds of each part of a run, after the reading of the images.

    Args:
        initialize: Batch-norm statistics, head and centre before the first step.
        steps: Training.
        probes: Probes of the guard.
        verdict: Weight interpolation and verdict.
        labels: Evaluation with labels.
        page: Images of the report.
        teacher: Fit of a frozen teacher to the folder, and its features of probe and labelled images.
    """

    initialize: float
    steps: float
    probes: float
    verdict: float
    labels: float
    page: float
    teacher: float

    @property
    def total(self) -> float:
        """Sum of all parts."""
        return sum(self)

    @property
    def guard_share(self) -> float:
        """Share of probes and verdict."""
        return (self.probes + self.verdict) / self.total


@dataclass(frozen=True)
class RunSize:
    """Size of the data, on which the time of a run depends.

    Args:
        images: Number of readable images.
        side: Side of the evaluation square, pixels.
        labelled: Number of labelled images for the evaluation.
    """

    images: int
    side: int
    labelled: int


def run_seconds(recipe: Recipe, size: RunSize, costs: Costs) -> RunSeconds:
    """Return the estimated seconds of each part of a run.

    Args:
        recipe: Resolved recipe.
        size: Size of the data.
        costs: Measured costs.
    """
    guard = recipe.guard
    probe = costs.probe_image * min(int(guard.probe_images), size.images)
    plan = (recipe, guard.every, guard.weight_interpolation)
    return RunSeconds(
        initialize=costs.forward * initialize_forwards(recipe, size),
        steps=int(recipe.run.steps) * mean_step(recipe, costs),
        probes=probe * (probe_count(*plan) - final_probes(*plan)),
        verdict=probe * final_work(*plan),
        labels=2 * size.labelled * costs.forward,
        page=PAGE_FORWARDS * costs.forward,
        teacher=costs.teacher_forward * teacher_forwards(recipe, size),
    )


def teacher_forwards(recipe: Recipe, size: RunSize) -> float:
    """Return the number of forward passes of whole images by a frozen teacher outside of steps."""
    view = (int(recipe.views.global_size) / size.side) ** 2
    fitted = VIEWS_PER_PROTOTYPE * int(recipe.head.out_dim) * view
    return fitted + 2 * min(int(recipe.guard.probe_images), size.images) + size.labelled


def initialize_forwards(recipe: Recipe, size: RunSize) -> float:
    """Return the number of forward passes of whole images before the first step (focus, batch norm, head, centre).

    Batch-norm statistics take two passes, of which the second costs twice as much.
    """
    view = (int(recipe.views.global_size) / size.side) ** 2
    forwards = 2.0 * int(recipe.dino.center_batches) * int(recipe.run.batch_size) * view
    if recipe.model.batch_norm == "adapted":
        forwards += 3.0 * min(size.images, MAX_IMAGES)
    if recipe.views.focus:
        forwards += size.images + min(size.images, SAMPLE)
    if recipe.head.init == "fitted":
        forwards += min(int(recipe.head.out_dim), MAX_VIEWS) * view
    return forwards


def mean_step(recipe: Recipe, costs: Costs) -> float:
    """Return the mean seconds of a step; a head warm-up that may end early is not counted."""
    share = 0.0 if recipe.optim.head_warmup_loss else float(recipe.optim.head_warmup)
    return share * costs.head_step + (1 - share) * costs.step


def fit_steps(
    seconds: float, planned: Recipe, with_steps: Callable[[int], Recipe], size: RunSize, costs: Costs
) -> Recipe:
    """Return the recipe with the maximum number of steps, at least 1, that fits into the given time.

    Args:
        seconds: Time for all parts of the run.
        planned: Recipe resolved without a limit.
        with_steps: Returns the resolved recipe for a number of steps.
        size: Size of the dataset.
        costs: Measured costs.
    """
    if run_seconds(planned, size, costs).total <= seconds:
        return planned

    def total(steps: int) -> float:
        return run_seconds(with_steps(steps), size, costs).total

    return with_steps(max(1, bisect_right(range(1, int(planned.run.steps)), seconds, key=total)))
