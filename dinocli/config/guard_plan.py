"""Limit the share of a run that probes and verdict take: fewer and smaller probes in short runs.

Work is counted in pixels that pass forward through the network, so that a plan is the same on every machine.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from dinocli.config.recipe import Guard, Recipe

FEWEST_IMAGES = 64
"""Probe images below which chance hides every difference."""

BACKWARD = 3
"""Forward passes that a forward and a backward pass cost together."""

EVERY = (0.1, 0.2, 1 / 3, 0.5, 1.0)
"""Shares of the run between two probes that are tried in turn, from the recipe's own on."""

VERDICT_PROBES, VERDICT_WORK = 2, 7 / 4
"""Probes of the verdict at least, and what an image of them costs, in those of the guard: it is looked at with four
kinds of synthetic defects instead of one."""


@dataclass(frozen=True)
class GuardPlan:
    """What the guard and the verdict measure.

    Args:
        every: Share of the run between two probes.
        probe_images: Images of a probe, at most as many as the folder has.
        weight_interpolation: Shares (alpha) of the adapted weights that are tried at the end.
        share: Of the run's work that probes and verdict take.
    """

    every: float
    probe_images: int
    weight_interpolation: list[float]
    share: float

    def settings(self) -> dict[str, object]:
        """Return it as settings of a recipe."""
        names = ("every", "probe_images", "weight_interpolation")
        return {f"guard.{name}": getattr(self, name) for name in names}


def fit_guard(recipe: Recipe, images: int, image_work: float) -> GuardPlan:
    """Cut the probes of a resolved recipe down to `guard.max_share` of the run's work.

    First the probes become fewer, then weight interpolation is left out, then the probe sets become smaller. What the
    recipe says is the most; two probes of the guard and two of the verdict always remain.

    Args:
        recipe: Resolved.
        images: Readable images of the folder.
        image_work: Work of one probe image, pixels.
    """
    guard, training = recipe.guard, int(recipe.run.steps) * step_work(recipe)
    allowed = guard.max_share / (1 - guard.max_share) * training if guard.max_share < 1 else math.inf
    most = min(int(guard.probe_images), images)
    for every, alphas in _levels(guard):
        count = probe_work(recipe, every, alphas)
        if count * most * image_work <= allowed:
            break
    least = min(FEWEST_IMAGES, most)
    kept = most if count * most * image_work <= allowed else max(least, int(allowed / (count * image_work)))
    work = count * kept * image_work
    return GuardPlan(every, kept if kept < most else int(guard.probe_images), alphas, work / (work + training))


def _levels(guard: Guard) -> Iterator[tuple[float, list[float]]]:
    alphas = [*guard.weight_interpolation]
    sparser = [every for every in EVERY if every > guard.every]
    for every in (guard.every, *(every for every in sparser if every < 0.5)):
        yield every, alphas
    for every in (0.5, 1.0):
        yield max(every, guard.every), [1.0]


def step_work(recipe: Recipe) -> float:
    """Return the work of one step: the student forward and backward on all views, the teacher on the global views."""
    views, batch = recipe.views, int(recipe.run.batch_size)
    global_pixels = 2 * int(views.global_size) ** 2
    local_pixels = int(views.local_count) * int(views.local_size) ** 2
    return float(batch * (BACKWARD * (global_pixels + local_pixels) + global_pixels))


def probe_count(recipe: Recipe, every: float, alphas: list[float]) -> int:
    """Count the probes of a run: start, batch-norm statistics, training, interpolated weights, and the verdict."""
    statistics = recipe.model.batch_norm == "adapted"
    steps = int(recipe.run.steps)
    training = math.ceil(steps / probe_every(steps, every))
    return 1 + statistics + training + closing_probes(recipe, alphas)


def probe_work(recipe: Recipe, every: float, alphas: list[float]) -> float:
    """Count the probes of a run by their work, one of the guard as 1."""
    return probe_count(recipe, every, alphas) - closing_probes(recipe, alphas) + closing_work(recipe, alphas)


def probe_every(steps: int, every: float) -> int:
    """Return the steps between two probes; the last step has one in any case, so that thirds are rounded up."""
    return max(1, math.ceil(every * steps - 1e-9))


def closing_probes(recipe: Recipe, alphas: list[float]) -> int:
    """Count the probes after the last step: interpolated weights, and the stages that the verdict compares."""
    statistics = recipe.model.batch_norm == "adapted"
    return len([alpha for alpha in alphas if alpha < 1]) + VERDICT_PROBES + statistics


def closing_work(recipe: Recipe, alphas: list[float]) -> float:
    """Count the probes after the last step by their work."""
    compared = VERDICT_PROBES + (recipe.model.batch_norm == "adapted")
    return closing_probes(recipe, alphas) + (VERDICT_WORK - 1) * compared
