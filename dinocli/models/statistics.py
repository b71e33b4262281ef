"""Batch-norm statistics of the user's own images: the cheapest adaptation of a convnet there is, without any training.

A network that met photographs expects their means and variances in every layer, and grey, sharp or even-lit images have
others. Clean images at the size of evaluation are what counts: statistics of augmented crops fit no image that is
embedded later, and made features worse.

Shapes: B images, H W pixels.
"""

import copy
from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from dinocli.models.backbone import Backbone

PRIOR = 16
"""The old statistics count as so many images: a handful of new ones, or many copies of one, then move them little."""


@torch.no_grad()
def adapt_statistics(backbone: Backbone, batches: Iterable[Tensor], distinct: int) -> None:
    """Move the running statistics of every batch norm to those of the given images; weights and modes stay.

    Args:
        backbone: Changed in place. A network without batch norm is left as it is.
        batches: (B, 3, H, W) each, normalised clean images of one size, mixed: no batch of one kind alone. All but the
            last should be equally large.
        distinct: Images among them that are no copies of each other.

    Source: Li et al. 2016 (AdaBN), arXiv:1603.04779; the weight of the old statistics: Schneider et al. 2020,
    arXiv:2006.16971, equation 2.
    """
    norms = _norms(backbone)
    if not norms or distinct == 0:
        return
    observer = copy.deepcopy(backbone).eval()
    for norm in (observed := _norms(observer)):
        norm.reset_running_stats()
        norm.momentum, norm.training = None, True  # no momentum: the plain mean over batches
    for images_B3HW in batches:
        observer(images_B3HW)
    share = distinct / (distinct + PRIOR)
    for norm, seen in zip(norms, observed, strict=True):
        for own, new in ((norm.running_mean, seen.running_mean), (norm.running_var, seen.running_var)):
            assert own is not None
            assert new is not None
            own.lerp_(new, share)


def _norms(backbone: Backbone) -> list[_BatchNorm]:
    return [module for module in backbone.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
