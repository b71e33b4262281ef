"""alpha-BN: mix batch-norm statistics of the user's images into the pretrained ones, without training.

Batch norm of a network trained on photographs expects their means and variances; other domains differ. New statistics
are measured on clean images at the evaluation size: those of augmented crops do not fit the images that are embedded
later, and made features worse. A small step towards the new statistics is better than replacing the old ones: channels
with a tiny variance on the new images would amplify noise.

Shapes: B images, C channels, H W pixels.
"""

import copy
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from dinocli.models.backbone import Backbone

ALPHA = 0.1
"""Weight of the new statistics in the limit of many images. Larger values help some folders more, and harm others."""

PRIOR_IMAGES = 16
"""Images as which the old statistics count, so that a few new images, or copies of one, change them little."""


@torch.no_grad()
def adapt_statistics(backbone: Backbone, batches: Iterable[Tensor], distinct: int) -> None:
    """Move the running statistics of every batch norm towards those of the given images, layer by layer.

    The input of each layer is computed with the mixed statistics of the layers before it. Weights and modes stay.

    Args:
        backbone: Changed in place; unchanged if it has no batch norm.
        batches: Normalised clean images, (B, C, H, W) each, of one size and shuffled: no batch of one class. All but
            the last should be equally large.
        distinct: Number of images without near-duplicates.

    Source: You et al. 2021 (alpha-BN), arXiv:2110.04065, after Li et al. 2016 (AdaBN), arXiv:1603.04779; the weight of
    the old statistics where images are few: Schneider et al. 2020, arXiv:2006.16971, equation 2.
    """
    norms = batch_norms(backbone)
    if not norms or distinct == 0:
        return
    observer = copy.deepcopy(backbone.model).eval()  # the timm model: batch norm must not be folded
    alpha = ALPHA * distinct / (distinct + PRIOR_IMAGES)
    mixtures = [_Mixture(norm, alpha) for norm in batch_norms(observer)]
    for images_BCHW in batches:
        observer(images_BCHW.contiguous(memory_format=backbone.memory_format))
    for norm, mixture in zip(norms, mixtures, strict=True):
        for running, (old, total) in zip(statistics_of(norm), mixture.old_and_total, strict=True):
            running.copy_(old.lerp(total / max(mixture.batches, 1), mixture.alpha))


class _Mixture:
    """Pre-hook on a batch norm that mixes its old statistics with those of each batch, and sums the latter.

    Args:
        norm: In eval mode.
        alpha: Weight of the statistics of the batch.
    """

    def __init__(self, norm: _BatchNorm, alpha: float) -> None:
        self.alpha, self.batches = alpha, 0
        self.old_and_total = [(running.clone(), torch.zeros_like(running)) for running in statistics_of(norm)]
        norm.register_forward_pre_hook(self._mix)

    def _mix(self, norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(norm, _BatchNorm)
        x = inputs[0].float()
        if x.numel() == x.shape[1]:
            return  # one value per channel has no variance
        mean, var = (torch.zeros_like(running) for running in statistics_of(norm))
        # Batch norm in training mode computes both, five times faster than torch.var_mean in channels-last format.
        F.batch_norm(x, mean, var, training=True, momentum=1.0)
        for running, (old, total), new in zip(statistics_of(norm), self.old_and_total, (mean, var), strict=True):
            running.copy_(old.lerp(new, self.alpha))
            total += new
        self.batches += 1


def statistics_of(norm: _BatchNorm) -> tuple[Tensor, Tensor]:
    """Return the running mean and variance, which a norm of `batch_norms` has."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    return norm.running_mean, norm.running_var


def batch_norms(backbone: nn.Module) -> list[_BatchNorm]:
    """Return all batch norms with running statistics, in the order of the modules."""
    return [module for module in backbone.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
