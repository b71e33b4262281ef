"""Weight interpolation between start and adapted weights (WiSE-FT)."""

import copy

import torch

from dinocli.models.backbone import Backbone


@torch.no_grad()
def interpolated(start: Backbone, adapted: Backbone, alpha: float) -> Backbone:
    """Return a new backbone with the weights (1 - alpha) * start + alpha * adapted; often better than either.

    It works because the adapted weights lie in the same loss basin as the start; between unrelated networks the result
    is noise. Integer tensors (counters of batch norm) are those of the adapted weights.

    Args:
        start: Start weights; not changed.
        adapted: Adapted weights of the same model; not changed.
        alpha: 0 gives the start, 1 the adapted weights.

    Source: Wortsman et al. 2021 (WiSE-FT), arXiv:2109.01903.
    """
    mixed = copy.deepcopy(adapted)
    start_state = start.state_dict()
    for name, tensor in mixed.state_dict().items():
        if tensor.is_floating_point():
            tensor.copy_(torch.lerp(start_state[name], tensor, alpha))
    return mixed
