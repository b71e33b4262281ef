"""Initialisation before the first step: batch-norm statistics, head and centre, each as the recipe says."""

from dinocli.config.preprocess import Preprocess
from dinocli.config.recipe import Recipe
from dinocli.data.loader import Loader
from dinocli.engine.batch_norm_init import adapt_batch_norm
from dinocli.engine.build import fill_center
from dinocli.engine.distributed import from_main, spread
from dinocli.engine.head_init import init_head
from dinocli.engine.step import Learner
from dinocli.engine.teacher_init import fit_teacher
from dinocli.progress import ProgressReporter


def initialize(
    learner: Learner, loader: Loader, recipe: Recipe, preprocess: Preprocess, reporter: ProgressReporter
) -> None:
    """Adapt batch-norm statistics, then initialise the head from the features, then the centre from the head.

    The main process computes and broadcasts: on GPUs the order of sums differs between processes.

    Args:
        learner: Before its first step.
        loader: Gives the images.
        recipe: Resolved: no "auto" is left.
        preprocess: Size and normalisation of evaluation.
        reporter: Receives the progress.
    """
    if recipe.model.batch_norm == "adapted":
        from_main(lambda: adapt_batch_norm(learner, loader, preprocess, recipe.run.seed, reporter))
    if learner.frozen_teacher:
        from_main(lambda: fit_teacher(learner, loader, reporter))
        spread(learner.frozen_teacher.fitted().values())
    elif recipe.head.init == "fitted":
        from_main(lambda: init_head(learner, loader, reporter))
    for network in (learner.student, learner.teacher):
        spread(network.state_dict().values())
    reporter.stage("initialising the centre")
    fill_center(learner, loader, recipe.dino.center_batches)
    spread([learner.center_K])
