"""How long a run takes, part by part: one sum for `--minutes` and for `--dry-run`."""

from dataclasses import dataclass
from typing import NamedTuple

from dinocli.config.guard_plan import final_probes, final_work, probe_count
from dinocli.config.recipe import Recipe
from dinocli.engine.batch_norm_init import MAX_IMAGES
from dinocli.engine.focus_maps import SAMPLE
from dinocli.engine.head_init import MAX_VIEWS
from dinocli.engine.teacher_init import VIEWS_PER_PROTOTYPE

PAGE_FORWARDS = 100
"""Forward passes for the pictures of the report."""


@dataclass(frozen=True)
class Costs:
    """Measured seconds.

    Args:
        head_step: Of a step in which only the head learns.
        step: Of a step in which the whole network learns.
        forward: Of a forward pass of one whole image, as probes and labels need it.
        probe_image: Of a probe image.
        teacher_forward: Of a forward pass of one whole image by a frozen teacher, 0 without one.
    """

    head_step: float
    step: float
    forward: float
    probe_image: float
    teacher_forward: float = 0.0


class RunSeconds(NamedTuple):
    """Seconds of each part of a run, after the images are read.

    Args:
        initialize: Batch-norm statistics, head and centre before the first step.
        steps: Training.
        probes: Probes of the guard.
        verdict: Interpolated weights and the verdict.
        labels: Measuring with labels.
        page: Pictures of the report.
        teacher: Fitting a frozen teacher to the folder, and its features of probe and labelled images.
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
        """All parts."""
        return sum(self)

    @property
    def guard_share(self) -> float:
        """Share of probes and verdict."""
        return (self.probes + self.verdict) / self.total


@dataclass(frozen=True)
class RunSize:
    """What the time of a run depends on beside its recipe and the machine.

    Args:
        images: Readable images.
        side: Of evaluation, pixels.
        labelled: Images to measure with labels.
    """

    images: int
    side: int
    labelled: int


def run_seconds(recipe: Recipe, size: RunSize, costs: Costs) -> RunSeconds:
    """Add up how long a run takes.

    Args:
        recipe: Resolved.
        size: Of the data.
        costs: Measured.
    """
    guard = recipe.guard
    probe = costs.probe_image * min(int(guard.probe_images), size.images)
    closing = final_probes(recipe, guard.weight_interpolation)
    return RunSeconds(
        initialize=costs.forward * initialize_forwards(recipe, size),
        steps=int(recipe.run.steps) * mean_step(recipe, costs),
        probes=probe * (probe_count(recipe, guard.every, guard.weight_interpolation) - closing),
        verdict=probe * final_work(recipe, guard.weight_interpolation),
        labels=2 * size.labelled * costs.forward,
        page=PAGE_FORWARDS * costs.forward,
        teacher=costs.teacher_forward * teacher_forwards(recipe, size),
    )


def teacher_forwards(recipe: Recipe, size: RunSize) -> float:
    """Count the forward passes of whole images by a frozen teacher outside of steps."""
    view = (int(recipe.views.global_size) / size.side) ** 2
    fitted = VIEWS_PER_PROTOTYPE * int(recipe.head.out_dim) * view
    return fitted + 2 * min(int(recipe.guard.probe_images), size.images) + size.labelled


def initialize_forwards(recipe: Recipe, size: RunSize) -> float:
    """Count the forward passes of whole images before the first step: focus, batch-norm statistics, head and centre.

    Statistics take two passes, of which the second costs twice as much.
    """
    view = (int(recipe.views.global_size) / size.side) ** 2
    forwards = 2.0 * recipe.dino.center_batches * int(recipe.run.batch_size) * view
    if recipe.model.batch_norm == "adapted":
        forwards += 3.0 * min(size.images, MAX_IMAGES)
    if recipe.views.focus:
        forwards += size.images + min(size.images, SAMPLE)
    if recipe.head.init == "fitted":
        forwards += min(int(recipe.head.out_dim), MAX_VIEWS) * view
    return forwards


def mean_step(recipe: Recipe, costs: Costs) -> float:
    """Return the mean seconds of a step; a warm-up of the head that may end early is counted as none."""
    share = 0.0 if recipe.optim.head_warmup_loss else float(recipe.optim.head_warmup)
    return share * costs.head_step + (1 - share) * costs.step
