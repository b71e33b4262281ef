"""Minutes into steps and looks: what a run with `--minutes` plans, from speeds measured on this machine."""

import math
import time
from dataclasses import dataclass

from dinocli.config.recipe import Recipe
from dinocli.data.loader import Loader
from dinocli.engine.batch_norm_init import MOST
from dinocli.engine.build import build_learner, set_stage
from dinocli.engine.distributed import from_main
from dinocli.engine.head_init import MOST_VIEWS
from dinocli.engine.step import train_step
from dinocli.tasks.train.setup import TrainContext

TIMED_STEPS = 3

LOOKS_SHARE = 1 / 3
"""Of a budget that is too short for all planned steps, looks take no more; training is what the user asked for."""

VERDICT_LOOKS = 2


@dataclass(frozen=True)
class Budget:
    """What fits into a time.

    Args:
        steps: At least 1.
        every: Share of the run between two looks.
        blend: Mixes of start and adapted weights that are tried at the end.
    """

    steps: int
    every: float
    blend: list[float]

    @property
    def looks(self) -> int:
        """All looks but that at the start."""
        return looks_of(self.steps, self.every, self.blend)

    def settings(self) -> dict[str, object]:
        """Return it as settings of a recipe."""
        return {"run.steps": self.steps, "guard.every": self.every, "guard.blend": self.blend}


def looks_of(steps: int, every: float, blend: list[float]) -> int:
    """Count the looks of a run but that at the start."""
    return math.ceil(steps / look_every(steps, every)) + closing_looks(blend)


def look_every(steps: int, every: float) -> int:
    """Return the steps between two looks; the last step has one in any case, so that thirds are rounded up."""
    return max(1, math.ceil(every * steps - 1e-9))


def closing_looks(blend: list[float]) -> int:
    """Count the looks after the last step: at mixes, and two of the verdict."""
    return len([share for share in blend if share < 1]) + VERDICT_LOOKS


def seconds_to_train(minutes: float, spent: float, blend: list[float], per_look: float) -> float:
    """Return how long the steps and their looks may take, so that a run keeps its time on a machine that slows down.

    Args:
        minutes: Of the whole command, 0 for no limit.
        spent: Seconds of it that are gone, or promised to something after the run.
        blend: As the run has it.
        per_look: Seconds of a look; the last one, when the time is up, comes on top of those of the closing.
    """
    return 60 * minutes - spent - (1 + closing_looks(blend)) * per_look if minutes else math.inf


def looks_to_get_ready(recipe: Recipe, images: int, size: int, work: int) -> float:
    """Say how long the statistics and the head take before the first step, in looks, by the images that pass through.

    Statistics take two passes, the second at twice the price of one, and a look at what came of them.

    Args:
        recipe: Resolved.
        images: Of the folder.
        size: Of evaluation, pixels.
        work: Images that pass in a look (`Probe.work`).
    """
    looks = passes = 0.0
    if recipe.model.batch_norm == "adapted":
        looks, passes = 1.0, 3.0 * min(images, MOST)
    if recipe.head.start == "fitted":
        passes += min(int(recipe.head.out_dim), MOST_VIEWS) * (int(recipe.views.global_size) / size) ** 2
    return looks + passes / work


def looks_to_measure(labelled: int, work: int) -> float:
    """Say how long start and adapted weights take over the labelled images at the end, in looks.

    Args:
        labelled: Images that both see.
        work: Images that pass in a look (`Probe.work`).
    """
    return 2 * labelled / work


def within(seconds: float, recipe: Recipe, per_step: tuple[float, float], per_look: float) -> Budget:
    """Divide a time between steps and looks at the probe sets; never more steps than the recipe plans.

    Where the time does not last for all steps, and looks would take more than a third of it, mixes are left out first,
    then the looks become fewer, down to one at the end.

    Args:
        seconds: That are left for both.
        recipe: Resolved.
        per_step: Seconds of a step of the head alone, and of everything.
        per_look: Seconds of a look.
    """
    planned, guard, mean = int(recipe.run.steps), recipe.guard, mean_step(recipe, per_step)
    most = LOOKS_SHARE * seconds / per_look
    fewer = max(guard.every, 1 / max(1, math.floor(most) - VERDICT_LOOKS))
    for every, blend in ((guard.every, guard.blend), (guard.every, [1.0]), (fewer, [1.0])):
        looks = looks_of(planned, every, blend)
        steps = min(planned, max(1, int((seconds - looks * per_look) / mean)))
        if steps == planned or looks <= most:
            break
    return Budget(steps, every, blend)


def mean_step(recipe: Recipe, per_step: tuple[float, float]) -> float:
    """Return the seconds of a step over the run; a warm-up of the head that may end early is counted as none."""
    share = 0.0 if recipe.optim.head_warmup_loss else float(recipe.optim.head_warmup)
    return share * per_step[0] + (1 - share) * per_step[1]


def seconds_per_step(context: TrainContext, loader: Loader) -> tuple[float, float]:
    """Time a few real steps of a throw-away learner: head alone, and everything."""
    learner = build_learner(context.recipe, context.backbone, context.preprocess, context.precision, context.world)
    seconds = []
    for backbone_learns in (False, True):
        set_stage(learner, backbone_learns=backbone_learns)
        begin = 0.0
        for step, slices in enumerate(loader.steps(0, TIMED_STEPS + 1)):
            stats = train_step(learner, slices, step)
            stats.values_N.cpu()  # waits for the device
            begin = begin or time.perf_counter()  # the first step warms up
        seconds.append((time.perf_counter() - begin) / TIMED_STEPS)
    return from_main(lambda: (seconds[0], seconds[1]))
