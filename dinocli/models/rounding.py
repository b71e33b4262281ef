"""How far two correct computations of one network may lie apart: rounding follows the dtype and the network's size."""

import math

import torch
from torch import nn

SAFETY = 2.0
"""Differences between kernels were a tenth of the estimate or less (LOG.md); other features are off by a hundredth."""


def rounding_tolerance(model: nn.Module) -> float:
    """Return the largest difference that other kernels may cause, in units of the largest value.

    Each layer rounds its outputs to the dtype of its weights, and a sum of n products, accumulated in float32, in
    another order differs by about sqrt(n) roundings. Errors of layers are independent, so their squares add up.

    Args:
        model: With the weights that are compared.

    Returns:
        A share: 3e-5 for a ViT-Ti and 4e-5 for a ViT-S in float32, a tenth for both in bfloat16.
    """
    weights = [part.weight for part in model.modules() if isinstance(part, nn.Linear | nn.Conv2d)]
    outputs = sum(torch.finfo(weight.dtype).eps ** 2 for weight in weights)
    sums = torch.finfo(torch.float32).eps ** 2 * sum(weight[0].numel() for weight in weights)
    return SAFETY * math.sqrt(outputs + sums)
