"""Initialise the head from the data: fit it once, before the first step, to the start's features of augmented views.

A randomly initialised head gives nearly the same logits for every image: the images of one folder lie in a narrow cone
of feature space, random directions do not separate them, and the backbone learns noise for hundreds of steps. So the
bottleneck is set to the whitened principal directions of the views, and the prototypes to projected views: the first
targets are neighbourhoods in the start's feature space. Only the initialisation of the head differs from the paper; a
backbone with random weights keeps a random head.

Shapes: V views that are looked at, H width of the hidden layer, C width of the bottleneck, I channels of the
input, K prototypes.
"""

import math
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dinocli.augment.multicrop import GLOBAL_VIEWS
from dinocli.data.loader import Loader
from dinocli.engine.step import Learner
from dinocli.models.head import ROW_NORM, DinoHead
from dinocli.progress import ProgressReporter

MOST_VIEWS, BATCH = 4096, 32
"""Global views that are looked at, and images at once."""

SPREAD = 0.02
"""Standard deviation of the fitted bottleneck's weights: that of the random ones, which the rate is made for."""


@torch.no_grad()
def init_head(learner: Learner, loader: Loader, reporter: ProgressReporter) -> None:
    """Fit the last layers of both heads to augmented views of the folder's images.

    Args:
        learner: Before its first step.
        loader: Gives the images.
        reporter: Is told how far it is.
    """
    head = learner.teacher.head
    hidden_VH = head.mlp[:-1](_features(learner, loader, reporter, min(head.prototypes.direction.shape[0], MOST_VIEWS)))
    fit_bottleneck(head, hidden_VH)
    fit_prototypes(head, F.normalize(head.mlp[-1](hidden_VH), dim=-1), learner.seed)
    learner.student.head.load_state_dict(head.state_dict())


def fit_bottleneck(head: DinoHead, hidden_VH: Tensor) -> None:
    """Set the last linear layer to the principal directions of its inputs, centred and scaled alike.

    Directions with less than the mean variance are scaled up less: they are mostly noise. Where there are fewer
    directions than the bottleneck is wide, the rest stays random, and small.
    """
    last = head.mlp[-1]
    assert isinstance(last, nn.Linear)
    mean_H = hidden_VH.mean(dim=0)
    _, singular, directions = torch.linalg.svd(hidden_VH - mean_H, full_matrices=False)
    count = min(last.out_features, len(directions), len(hidden_VH) - 1)
    variance = singular[:count].square() / len(hidden_VH)
    weight_CH = directions[:count] / (variance + variance.mean() + 1e-12).sqrt()[:, None]
    last.weight[:count] = weight_CH * (SPREAD / weight_CH.std())
    last.bias.copy_(-last.weight @ mean_H)


def fit_prototypes(head: DinoHead, bottleneck_VC: Tensor, seed: int) -> None:
    """Set the prototypes to views; where there are more prototypes than views, the rest to points between two.

    Their rows have the norm of random ones, `ROW_NORM`, so that they rotate at the same speed.
    """
    direction_KC = head.prototypes.direction
    order = torch.Generator().manual_seed(seed)
    views, count = len(bottleneck_VC), len(direction_KC)
    chosen = torch.randperm(views, generator=order)[:count]
    first, second = torch.randint(views, (2, count - len(chosen)), generator=order)
    rows = bottleneck_VC.cpu()
    found_KC = F.normalize(torch.cat([rows[chosen], rows[first] + rows[second]]), dim=-1)
    direction_KC.copy_(found_KC * ROW_NORM)


def _features(learner: Learner, loader: Loader, reporter: ProgressReporter, views: int) -> Tensor:
    """Return the teacher's features of at least `views` global views."""
    found: list[Tensor] = []
    for views_N3SS in global_views(learner, loader, reporter, views, "initialising the head"):
        with learner.precision.autocast():
            found.append(learner.teacher.backbone(views_N3SS).float())
    return torch.cat(found)


def global_views(
    learner: Learner, loader: Loader, reporter: ProgressReporter, views: int, stage: str
) -> Iterator[Tensor]:
    """Yield at least `views` global views, of as many different images as possible: (N, I, S, S).

    Args:
        learner: Whose views.
        loader: Gives the images.
        reporter: Is told how many images were looked at.
        views: How many.
        stage: What they are looked at for.
    """
    count = len(loader.store)
    images = min(count, math.ceil(views / GLOBAL_VIEWS))
    chosen = np.random.default_rng((learner.seed, count, 3)).permutation(count)[:images].tolist()
    turns = math.ceil(views / (GLOBAL_VIEWS * images))
    crop = learner.views.only_global()
    reporter.stage(stage, turns * images)
    for turn in range(turns):
        for batch in loader.batches(chosen, BATCH):
            reporter.advance(len(batch.rows))
            place = {"step": learner.plan.steps + turn, "start": batch.start, "global_batch": images}
            (views_N3SS,) = crop(batch.pixels_BCHW, batch.sizes_B2, batch.rows, **place)
            yield views_N3SS
