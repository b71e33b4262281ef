"""The one extractor of features: training, the guard and every task see the same numbers.

Legend: b images of a batch, N images, H W pixels, D width.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dinocli.models.backbone import Backbone


def extract(backbone: Backbone, batches: Iterable[Tensor], *, autocast: torch.dtype | None) -> NDArray[np.float32]:
    """Return the pooled features of images, in their order.

    Each result is copied from the device only after the next batch has been given to it, so that it never waits.

    Args:
        backbone: On the device of the batches. Every mode of its modules is as before when this returns.
        batches: (b, 3, H, W) each, normalised floats; H and W may differ between batches.
        autocast: Type to compute in, or None for that of the weights.

    Returns:
        (N, D), finite as far as the images and weights are; N is 0 for no batch.
    """
    parts: list[Tensor] = []
    with _evaluating(backbone), torch.inference_mode():
        for x_b3HW in batches:
            features = _pooled(backbone, x_b3HW, autocast)
            if parts:
                parts[-1] = parts[-1].cpu()
            parts.append(features)
    if not parts:
        return np.empty((0, backbone.dim), np.float32)
    return torch.cat([part.cpu() for part in parts]).numpy()


def _pooled(backbone: Backbone, x_b3HW: Tensor, autocast: torch.dtype | None) -> Tensor:
    with torch.autocast(x_b3HW.device.type, dtype=autocast, enabled=autocast is not None):
        features: Tensor = backbone(x_b3HW)
    return features.float()


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """Put a network into eval mode for a while; each module goes back to its own mode, frozen ones included."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training
