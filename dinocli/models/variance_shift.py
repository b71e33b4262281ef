"""Distance of images to those that a network was trained on, from the variances that its batch norms store.

Legend: B images, C channels, H W pixels.
"""

import copy
from collections.abc import Iterable
from functools import partial

import torch
from torch import Tensor, nn

from dinocli.models.alpha_bn import batch_norms, statistics_of
from dinocli.models.backbone import Backbone


@torch.no_grad()
def variance_shift(backbone: Backbone, batches: Iterable[Tensor]) -> float:
    """Return the mean absolute log ratio of the variances of images to the stored ones, over channels, then layers.

    With ImageNet weights of EfficientNet-Lite0 it is .14 to .30 for natural photographs, .46 for aerial images, .59
    and more for masonry, x-rays, boards, cells, steel and asphalt. The shift of the means does not tell these apart.

    Args:
        backbone: Unchanged.
        batches: Normalised clean images, (B, C, H, W) each.

    Returns:
        0 for images with the stored variances; NaN without a batch norm or an image.
    """
    observer = copy.deepcopy(backbone.model).eval()  # the timm model: batch norm must not be folded
    norms = batch_norms(observer)
    moments = [torch.zeros(2, norm.num_features, dtype=torch.float64) for norm in norms]

    for norm, moments_2C in zip(norms, moments, strict=True):
        norm.register_forward_pre_hook(partial(_add_moments, moments_2C))
    images = 0
    for images_BCHW in batches:
        observer(images_BCHW.contiguous(memory_format=backbone.memory_format))
        images += len(images_BCHW)
    if not norms or not images:
        return float("nan")
    shifts = []
    for norm, (mean_C, square_C) in zip(norms, moments, strict=True):
        variance_C = (square_C / images - (mean_C / images) ** 2).clamp_min(0)
        stored_C = statistics_of(norm)[1].cpu().double()
        shifts.append(((variance_C + norm.eps) / (stored_C + norm.eps)).log().abs().mean())
    return float(torch.stack(shifts).mean())


def _add_moments(moments_2C: Tensor, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    """Add the sums over images of the mean and the mean square of each channel."""
    values_CN = inputs[0].float().transpose(0, 1).flatten(1)
    both_2C = torch.stack([values_CN.mean(dim=1), values_CN.square().mean(dim=1)])
    moments_2C += len(inputs[0]) * both_2C.cpu().double()  # some GPUs have no float64
