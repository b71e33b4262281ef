"""Data-dependent initialisation of the head: fit it before the first step to features of augmented views.

A randomly initialised head gives nearly the same logits for every image: the images of one folder lie in a narrow cone
of feature space, which random directions do not separate, and the backbone learns noise for hundreds of steps. So the
bottleneck is set to the whitened principal directions of the views, and the prototypes to projected views: the first
targets are neighbourhoods in the start's feature space. Only the initialisation of the head differs from the paper; a
backbone with random weights gets a random head.

Shapes: V views, H width of the hidden layer, C width of the bottleneck, I channels of the input, K prototypes.
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
from dinocli.models.features import eval_mode
from dinocli.models.head import ROW_NORM, DinoHead
from dinocli.progress import ProgressReporter

MAX_VIEWS, BATCH = 4096, 32
"""Maximum number of global views, and batch size."""

WEIGHT_STD = 0.02
"""Standard deviation of the fitted bottleneck's weights: that of random initialisation, for the same learning rate."""


@torch.no_grad()
def init_head(learner: Learner, loader: Loader, reporter: ProgressReporter) -> None:
    """Fit bottleneck and prototypes of both heads to augmented views of the folder's images.

    Args:
        learner: Before its first step.
        loader: Source of the images.
        reporter: Receives the progress.
    """
    head = learner.teacher.head
    hidden_VH = head.mlp[:-1](_features(learner, loader, reporter, min(head.prototypes.direction.shape[0], MAX_VIEWS)))
    fit_bottleneck(head, hidden_VH)
    fit_prototypes(head, F.normalize(head.mlp[-1](hidden_VH), dim=-1), learner.seed)
    learner.student.head.load_state_dict(head.state_dict())


def fit_bottleneck(head: DinoHead, hidden_VH: Tensor) -> None:
    """Set the last linear layer to the whitened principal directions of its inputs, centred.

    The mean variance is added before whitening, since directions below it are mostly noise. If there are fewer
    directions than the width of the bottleneck, the other rows keep their small random weights.
    """
    last = head.mlp[-1]
    assert isinstance(last, nn.Linear)
    mean_H = hidden_VH.mean(dim=0)
    _, singular, directions = torch.linalg.svd(hidden_VH - mean_H, full_matrices=False)
    count = min(last.out_features, len(directions), len(hidden_VH) - 1)
    variance = singular[:count].square() / len(hidden_VH)
    weight_CH = directions[:count] / (variance + variance.mean() + 1e-12).sqrt()[:, None]
    last.weight[:count] = weight_CH * (WEIGHT_STD / weight_CH.std())
    last.bias.copy_(-last.weight @ mean_H)


def fit_prototypes(head: DinoHead, bottleneck_VC: Tensor, seed: int) -> None:
    """Set the prototypes to projected views; with more prototypes than views, the rest to means of two views.

    Stored rows have the norm of random initialisation, `ROW_NORM`, so that they rotate at the same speed.
    """
    direction_KC = head.prototypes.direction
    order = torch.Generator().manual_seed(seed)
    views, count = len(bottleneck_VC), len(direction_KC)
    chosen = torch.randperm(views, generator=order)[:count]
    first, second = torch.randint(views, (2, count - len(chosen)), generator=order)
    rows = bottleneck_VC.cpu()
    prototypes_KC = F.normalize(torch.cat([rows[chosen], rows[first] + rows[second]]), dim=-1)
    direction_KC.copy_(prototypes_KC * ROW_NORM)


def _features(learner: Learner, loader: Loader, reporter: ProgressReporter, views: int) -> Tensor:
    """Return the teacher's features of at least `views` global views, (V, D).

    In eval mode: synchronised batch norm would wait for the other processes, which do not take part.
    """
    features: list[Tensor] = []
    with eval_mode(learner.teacher.backbone):
        for views_N3SS in global_views(learner, loader, reporter, views, "initialising the head"):
            with learner.precision.autocast():
                features.append(learner.teacher.backbone(views_N3SS).float())
    return torch.cat(features)


def global_views(
    learner: Learner, loader: Loader, reporter: ProgressReporter, views: int, stage: str
) -> Iterator[Tensor]:
    """Yield batches (N, I, S, S) of at least `views` global views in total, of as many different images as possible.

    Args:
        learner: Learner with the augmentation.
        loader: Source of the images.
        reporter: Receives the progress.
        views: Minimum number of views.
        stage: Name of the stage for the progress.
    """
    count = len(loader.store)
    images = min(count, math.ceil(views / GLOBAL_VIEWS))
    chosen = np.random.default_rng((learner.seed, count, 3)).permutation(count)[:images].tolist()
    passes = math.ceil(views / (GLOBAL_VIEWS * images))
    crop = learner.multicrop.only_global()
    reporter.stage(stage, passes * images)
    for pass_ in range(passes):
        for batch in loader.batches(chosen, BATCH):
            reporter.advance(len(batch.rows))
            place = {"step": learner.schedule.steps + pass_, "start": batch.start, "global_batch": images}
            (views_N3SS,) = crop(batch.pixels_BCHW, batch.sizes_B2, batch.rows, **place)
            yield views_N3SS
