"""Number and size of probes: fewer and smaller ones in short runs, so that they take a limited share of the work.

Work is counted in pixels of forward passes, so that a plan is the same on every machine.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from dinocli.config.recipe import Guard, Recipe

MIN_PROBE_IMAGES = 64
"""With fewer probe images chance hides every difference."""

TRAINING_PASS_COST = 3
"""Cost of a forward and a backward pass, in forward passes."""

PROBE_INTERVALS = (0.1, 0.2, 1 / 3, 0.5, 1.0)
"""Fractions of the run between two probes, tried in turn from the recipe's value on."""

MIN_VERDICT_PROBES = 2
"""The verdict probes at least the start weights and the adapted weights."""

VERDICT_IMAGE_COST = 9 / 4
"""Cost of an image in a probe of the verdict, relative to the guard's: four kinds of synthetic defects, not one, and
`pooled+rare`, which needs a pass to be fitted and distances; 1 without synthetic defects."""


@dataclass(frozen=True)
class GuardPlan:
    """Probes of the guard and of the verdict.

    Args:
        every: Fraction of the run between two probes.
        probe_images: Images per probe, before the limit by the number of images.
        weight_interpolation: Alphas (share of the adapted weights) that are tried at the end.
        share: Fraction of the run's work that probes and verdict take.
    """

    every: float
    probe_images: int
    weight_interpolation: list[float]
    share: float

    def settings(self) -> dict[str, object]:
        """Return the plan as recipe settings."""
        names = ("every", "probe_images", "weight_interpolation")
        return {f"guard.{name}": getattr(self, name) for name in names}


def fit_guard(recipe: Recipe, images: int, image_work: float) -> GuardPlan:
    """Reduce the probes of a resolved recipe to `guard.max_share` of the run's work.

    Fewer probes come first, then no weight interpolation, then fewer images per probe. The recipe's values are upper
    limits. Start and adapted weights are always measured.

    Args:
        recipe: Resolved recipe.
        images: Number of readable images.
        image_work: Work of one probe image, pixels.
    """
    guard, training = recipe.guard, int(recipe.run.steps) * step_work(recipe)
    max_share = float(guard.max_share)
    max_work = max_share / (1 - max_share) * training if max_share < 1 else math.inf
    max_images = min(int(guard.probe_images), images)
    for every, alphas in _candidates(guard):
        probes = probe_work(recipe, every, alphas)
        if probes * max_images * image_work <= max_work:
            probe_images = max_images
            break
    else:
        probe_images = max(min(MIN_PROBE_IMAGES, max_images), int(max_work / (probes * image_work)))
    work = probes * probe_images * image_work
    limited_by_work = probe_images < max_images
    images_setting = probe_images if limited_by_work else int(guard.probe_images)
    return GuardPlan(every, images_setting, alphas, work / (work + training))


def _candidates(guard: Guard) -> Iterator[tuple[float, list[float]]]:
    """Yield probe intervals and alphas, from the most work to the least."""
    alphas = [*guard.weight_interpolation]
    yield guard.every, alphas
    yield from ((every, alphas) for every in PROBE_INTERVALS if guard.every < every < 0.5)
    for every in (0.5, 1.0):
        yield max(every, guard.every), [1.0]


def step_work(recipe: Recipe) -> float:
    """Return the work of a step, pixels: student forward and backward on all views, teacher on the global views."""
    views, batch = recipe.views, int(recipe.run.batch_size)
    global_pixels = 2 * int(views.global_size) ** 2
    local_pixels = int(views.local_count) * int(views.local_size) ** 2
    return float(batch * (TRAINING_PASS_COST * (global_pixels + local_pixels) + global_pixels))


def probe_count(recipe: Recipe, every: float, alphas: list[float]) -> int:
    """Return the number of probes: start, batch-norm statistics, training, interpolated weights and verdict."""
    steps = int(recipe.run.steps)
    training = math.ceil(steps / probe_every(steps, every))
    return 1 + _adapts(recipe) + training + final_probes(recipe, every, alphas)


def probe_work(recipe: Recipe, every: float, alphas: list[float]) -> float:
    """Return the work of all probes, in probes of the guard."""
    closing = final_work(recipe, every, alphas) - final_probes(recipe, every, alphas)
    return probe_count(recipe, every, alphas) + closing


def selects_nothing(recipe: Recipe, every: float, alphas: list[float]) -> bool:
    """Return whether only the last step is probed, so that there is nothing to select among.

    The verdict then needs no images of its own: its probe is that of the guard, and measures nothing twice.
    """
    steps = int(recipe.run.steps)
    return probe_every(steps, every) >= steps and min(alphas) >= 1 and not _adapts(recipe)


def probe_every(steps: int, every: float) -> int:
    """Return the steps between two probes, rounded up: the last step is always probed."""
    return max(1, math.ceil(every * steps - 1e-9))


def final_probes(recipe: Recipe, every: float, alphas: list[float]) -> int:
    """Return the number of probes after the last step: interpolated weights, and weights that the verdict compares."""
    if selects_nothing(recipe, every, alphas):
        return 0
    return len([alpha for alpha in alphas if alpha < 1]) + MIN_VERDICT_PROBES + _adapts(recipe)


def final_work(recipe: Recipe, every: float, alphas: list[float]) -> float:
    """Return the additional work of the verdict and of interpolated weights, in probes of the guard."""
    image_cost = VERDICT_IMAGE_COST if recipe.guard.synthetic_defects else 1
    return final_probes(recipe, every, alphas) + (image_cost - 1) * (MIN_VERDICT_PROBES + _adapts(recipe))


def _adapts(recipe: Recipe) -> bool:
    """Return whether the start with adapted batch-norm statistics is measured too."""
    return recipe.model.batch_norm == "adapted"
