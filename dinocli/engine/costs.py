"""Measured time of a training step and of a forward pass on a few of the images."""

import time

from dinocli.config.preprocess import Preprocess
from dinocli.config.recipe import Recipe
from dinocli.data.loader import Loader
from dinocli.engine.build import set_stage
from dinocli.engine.distributed import from_main
from dinocli.engine.probe import forwards_per_image, whole_features
from dinocli.engine.run_seconds import Costs
from dinocli.engine.step import Learner, train_step
from dinocli.models.backbone import Backbone
from dinocli.models.frozen_teacher import TeacherWeights

TIMED_STEPS, TIMED_SECONDS = 3, 2.0
"""Number of timed steps, and time limit in seconds."""

TIMED_SLICES = 8
"""Slices of a timed step; the others of a large batch take the same time each."""

TIMED_IMAGES = 8


def measure_costs(
    learner: Learner,
    loader: Loader,
    recipe: Recipe,
    backbone: Backbone,
    preprocess: Preprocess,
    teacher: TeacherWeights | None = None,
) -> Costs:
    """Time a few steps of a learner, which changes, and forward passes of a few images.

    Args:
        learner: A temporary one.
        loader: Source of the images.
        recipe: Resolved recipe of the learner.
        backbone: Backbone with the start weights.
        preprocess: Size and normalisation of evaluation.
        teacher: Frozen teacher; None without one.
    """
    stages = [True] if not float(recipe.optim.head_warmup) or recipe.optim.head_warmup_loss else [False, True]
    seconds = []
    for backbone_learns in stages:
        set_stage(learner, backbone_learns=backbone_learns)
        began = 0.0
        for step, slices in enumerate(loader.steps(0, TIMED_STEPS + 1)):
            train_step(learner, slices[:TIMED_SLICES], step).cpu()  # waits for the device
            began = began or time.perf_counter()  # the first step warms up
            if step and from_main(lambda: time.perf_counter() - began) > TIMED_SECONDS:  # noqa: B023
                break
        seconds.append((time.perf_counter() - began) / step * max(1.0, loader.slices / TIMED_SLICES))
    forward = from_main(lambda: seconds_per_forward(loader, backbone, preprocess))
    of_teacher = 0.0
    if teacher:
        of_teacher = from_main(lambda: seconds_per_forward(loader, teacher.backbone, teacher.preprocess(preprocess)))
    head_step, full_step = from_main(lambda: (seconds[0], seconds[-1]))
    passes = forwards_per_image(backbone, defects=bool(recipe.guard.synthetic_defects))
    return Costs(head_step, full_step, forward, passes * forward, of_teacher)


def seconds_per_forward(
    loader: Loader, backbone: Backbone, preprocess: Preprocess, images: int = TIMED_IMAGES
) -> float:
    """Return the seconds per image of feature extraction, measured after a warm-up pass."""
    few = list(range(min(images, len(loader.store))))
    began = 0.0
    for _ in range(2):  # the first one warms up
        began = time.perf_counter()
        whole_features(loader, backbone, few, preprocess)
    return (time.perf_counter() - began) / len(few)
