"""alpha-BN: mix batch-norm statistics of the user's images into the pretrained ones, without training.

A network trained on photographs expects their means and variances in every layer; grey, sharp or evenly lit images have
others. Statistics are taken from clean images at the size of evaluation: those of augmented crops do not fit the images
that are embedded later, and made features worse. A small step from the old towards the new statistics is better than
either: channels that the new images hardly use have a tiny variance, and dividing by it amplifies noise.

Shapes: B images, C channels, H W pixels.
"""

import copy
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from dinocli.models.backbone import Backbone

SHARE = 0.1
"""Of the new statistics, however many images they come from. Larger shares help some folders more, and harm others."""

PRIOR = 16
"""The old statistics count as this number of images, so that a few new ones, or copies of one, move them little."""


@torch.no_grad()
def adapt_statistics(backbone: Backbone, batches: Iterable[Tensor], distinct: int) -> None:
    """Move the running statistics of every batch norm towards those of the given images; weights and modes stay.

    Each layer sees what the layers before it give with their new statistics.

    Args:
        backbone: Changed in place. A network without batch norm is left as it is.
        batches: (B, C, H, W) each, normalised clean images of one size, mixed: no batch of one kind alone. All but the
            last should be equally large.
        distinct: Images among them that are no copies of each other.

    Source: You et al. 2021 (alpha-BN), arXiv:2110.04065, after Li et al. 2016 (AdaBN), arXiv:1603.04779; the weight of
    the old statistics where images are few: Schneider et al. 2020, arXiv:2006.16971, equation 2.
    """
    norms = _norms(backbone)
    if not norms or distinct == 0:
        return
    observer = copy.deepcopy(backbone.model).eval()  # the bare model: nothing is folded away before it can be seen
    mixtures = [_Mixture(norm, SHARE * distinct / (distinct + PRIOR)) for norm in _norms(observer)]
    for images_BCHW in batches:
        observer(images_BCHW.contiguous(memory_format=backbone.memory_format))
    for norm, mixture in zip(norms, mixtures, strict=True):
        for own, (old, seen) in zip(_statistics(norm), mixture.ends, strict=True):
            own.copy_(old.lerp(seen / max(mixture.batches, 1), mixture.share))


class _Mixture:
    """Hook on one batch norm that mixes its statistics with those of each batch and accumulates the result.

    Args:
        norm: In eval mode.
        share: Of the batch.
    """

    def __init__(self, norm: _BatchNorm, share: float) -> None:
        self.share, self.batches = share, 0
        self.ends = [(known.clone(), torch.zeros_like(known)) for known in _statistics(norm)]
        norm.register_forward_pre_hook(self._mix)

    def _mix(self, norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(norm, _BatchNorm)
        x = inputs[0].float()
        if x.numel() == x.shape[1]:
            return  # one value a channel has no variance
        mean, var = (torch.zeros_like(known) for known in _statistics(norm))
        # In training it measures both, five times as fast as torch.var_mean where channels lie side by side.
        F.batch_norm(x, mean, var, training=True, momentum=1.0)
        for known, (old, total), new in zip(_statistics(norm), self.ends, (mean, var), strict=True):
            known.copy_(old.lerp(new, self.share))
            total += new
        self.batches += 1


def _statistics(norm: _BatchNorm) -> tuple[Tensor, Tensor]:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    return norm.running_mean, norm.running_var


def _norms(backbone: nn.Module) -> list[_BatchNorm]:
    return [module for module in backbone.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
