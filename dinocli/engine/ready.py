"""What a run does between building the networks and its first step, each part by the recipe."""

from dinocli.config.preprocess import Preprocess
from dinocli.config.recipe import Recipe
from dinocli.data.loader import Loader
from dinocli.engine.build import fill_center
from dinocli.engine.fitted import fit_head
from dinocli.engine.norms import adapt_norms
from dinocli.engine.step import Learner
from dinocli.engine.watch import Watcher


def get_ready(learner: Learner, loader: Loader, recipe: Recipe, preprocess: Preprocess, watcher: Watcher) -> None:
    """Adapt batch norm, then fit the head to what the backbone now gives, then start the centre where the head is.

    Args:
        learner: Before its first step.
        loader: Gives the images.
        recipe: Resolved: no "auto" is left.
        preprocess: Size and normalisation of evaluation.
        watcher: Hears what takes seconds.
    """
    if recipe.model.batch_norm == "adapted":
        watcher.line("adapting batch-norm statistics to the folder's images")
        adapt_norms(learner, loader, preprocess, recipe.run.seed)
    if recipe.head.start == "fitted":
        watcher.line("fitting the head to views of the images")
        fit_head(learner, loader)
    fill_center(learner, loader, recipe.dino.center_batches)
