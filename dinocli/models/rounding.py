"""Tolerance between two computations of one network, estimated from its dtype and size."""

import math

import torch
from torch import nn

SAFETY_FACTOR = 2.0
"""Measured differences between kernels are at most a tenth of the estimate (LOG.md); wrong features differ by 1 %."""


def rounding_tolerance(model: nn.Module) -> float:
    """Return the largest difference that other kernels may cause, relative to the largest value.

    Each layer rounds its outputs to the dtype of its weights, and a float32 sum of n products in another order differs
    by about sqrt(n) rounding errors. Errors of layers are independent, so their squares add up.

    Args:
        model: The network with its weights.

    Returns:
        Relative tolerance: 3e-5 for a ViT-Ti and 4e-5 for a ViT-S in float32, 0.1 for both in bfloat16.
    """
    weights = [part.weight for part in model.modules() if isinstance(part, nn.Linear | nn.Conv2d)]
    outputs = sum(torch.finfo(weight.dtype).eps ** 2 for weight in weights)
    sums = torch.finfo(torch.float32).eps ** 2 * sum(weight[0].numel() for weight in weights)
    return SAFETY_FACTOR * math.sqrt(outputs + sums)
