"""Weight interpolation between start and adapted weights (WiSE-FT): often better than either end."""

import copy

import torch

from dinocli.models.backbone import Backbone


@torch.no_grad()
def interpolated(start: Backbone, adapted: Backbone, alpha: float) -> Backbone:
    """Return a new backbone whose every tensor is (1 - alpha) of the start and alpha of the adapted weights.

    The adapted weights lie near the start, in the same loss basin; between unrelated networks the result is noise.
    What is not a float (counters of batch norm) comes from the adapted one.

    Args:
        start: Left as it is.
        adapted: Of the same model; left as it is.
        alpha: 0 is the start, 1 the adapted weights.

    Source: Wortsman et al. 2021 (WiSE-FT), arXiv:2109.01903.
    """
    mixed = copy.deepcopy(adapted)
    theirs = start.state_dict()
    for name, tensor in mixed.state_dict().items():
        if tensor.is_floating_point():
            tensor.copy_(torch.lerp(theirs[name], tensor, alpha))
    return mixed
