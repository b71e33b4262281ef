"""What a run does between building the networks and its first step, each part by the recipe."""

from dinocli.config.preprocess import Preprocess
from dinocli.config.recipe import Recipe
from dinocli.data.loader import Loader
from dinocli.engine.batch_norm_init import adapt_batch_norm
from dinocli.engine.build import fill_center
from dinocli.engine.head_init import init_head
from dinocli.engine.progress import ProgressReporter
from dinocli.engine.step import Learner


def initialize(
    learner: Learner, loader: Loader, recipe: Recipe, preprocess: Preprocess, reporter: ProgressReporter
) -> None:
    """Adapt batch norm, then fit the head to what the backbone now gives, then start the centre where the head is.

    Args:
        learner: Before its first step.
        loader: Gives the images.
        recipe: Resolved: no "auto" is left.
        preprocess: Size and normalisation of evaluation.
        reporter: Hears what takes seconds.
    """
    if recipe.model.batch_norm == "adapted":
        reporter.line("adapting batch-norm statistics to the folder's images")
        adapt_batch_norm(learner, loader, preprocess, recipe.run.seed)
    if recipe.head.init == "fitted":
        reporter.line("fitting the head to views of the images")
        init_head(learner, loader)
    fill_center(learner, loader, recipe.dino.center_batches)
