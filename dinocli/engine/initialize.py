"""Initialisation before the first step: batch-norm statistics, head and centre, as set by the recipe."""

import torch

from dinocli.augment.multicrop import GLOBAL_VIEWS
from dinocli.config.preprocess import Preprocess
from dinocli.config.recipe import Recipe
from dinocli.data.loader import Loader
from dinocli.dino.center import batch_sum
from dinocli.engine.batch_norm_init import adapt_batch_norm
from dinocli.engine.distributed import all_reduce_sum, broadcast, from_main
from dinocli.engine.head_init import init_head
from dinocli.engine.step import Learner
from dinocli.engine.teacher_init import fit_teacher
from dinocli.progress import ProgressReporter


def initialize(
    learner: Learner, loader: Loader, recipe: Recipe, preprocess: Preprocess, reporter: ProgressReporter
) -> None:
    """Adapt batch-norm statistics, then initialise the head from the features, then the centre from the head.

    The main process computes and broadcasts, since on GPUs the order of sums differs between processes.

    Args:
        learner: Before its first step.
        loader: Source of the images.
        recipe: Resolved recipe, without "auto".
        preprocess: Size and normalisation of evaluation.
        reporter: Receives the progress.
    """
    if recipe.model.batch_norm == "adapted":
        from_main(lambda: adapt_batch_norm(learner, loader, preprocess, recipe.run.seed, reporter))
    if learner.frozen_teacher:
        from_main(lambda: fit_teacher(learner, loader, reporter))
        broadcast(learner.frozen_teacher.fitted().values())
    elif recipe.head.init == "fitted":
        from_main(lambda: init_head(learner, loader, reporter))
    for network in (learner.student, learner.teacher):
        broadcast(network.state_dict().values())
    reporter.stage("initialising the centre")
    fill_center(learner, loader, int(recipe.dino.center_batches))
    broadcast([learner.center_K])


@torch.no_grad()
def fill_center(learner: Learner, loader: Loader, batches: int) -> None:
    """Initialise the centre with the teacher's mean logits over a few batches.

    With a zero centre the first targets of a new head all favour the same prototypes. The batches are those after the
    last step, so that no view is used twice.
    """
    if not batches:
        return
    total, crop = torch.zeros_like(learner.center_K), learner.multicrop.only_global()
    first = learner.schedule.steps
    for step, slices in enumerate(loader.steps(first, first + batches), first):
        for batch in slices:
            place = {"step": step, "start": batch.start, "global_batch": learner.batch_size}
            globals_ = crop(batch.pixels_BCHW, batch.sizes_B2, batch.rows, **place)
            with learner.precision.autocast():
                total += batch_sum(learner.targets(globals_, GLOBAL_VIEWS).logits_VBK)
    learner.center_K = all_reduce_sum(total) / (GLOBAL_VIEWS * learner.batch_size * batches)
