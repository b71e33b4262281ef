"""Feature extraction, shared by training, the guard and every task, so that all see the same numbers.

Legend: b images of a batch, N images, C channels, H W pixels, D width, h w rows and columns of a feature grid.
"""

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import repeat
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dinocli.models.backbone import Backbone
from dinocli.models.tokens import POOLED


class Extractor(Protocol):
    """What takes features out of a backbone: `Tokens`, or what was fitted to a folder."""

    def of(self, backbone: Backbone, x_BCHW: Tensor, image_B: Tensor | None = None) -> Tensor:
        """Compute the features of images, (B, ...); `image_B` tells which they are, by `numbers`."""

    def numbers(self, names: Sequence[str]) -> Tensor:
        """Return a number for each image by its name, (N,), on the CPU."""

    def regardless(self) -> "Extractor":
        """Return the same for parts of images, whatever counts of whole ones."""


_TINY = np.finfo(np.float32).tiny  # divisor for a zero vector, which stays zero


def extract(
    backbone: Backbone,
    batches: Iterable[Tensor],
    *,
    autocast: torch.dtype | None,
    tokens: Extractor = POOLED,
    numbers: Iterable[Tensor] | None = None,
) -> NDArray[np.float32]:
    """Return the features of images, in their order.

    Args:
        backbone: On the device of the batches. Every mode of its modules is as before when this returns.
        batches: (b, C, H, W) each, normalised floats; H and W may differ between batches.
        autocast: Type to compute in, or None for that of the weights.
        tokens: Which features.
        numbers: Number of each image of a batch, (b,), by the extractor's `numbers`; asked for after the batch itself.
            None where the features depend on no other image, or no image is known.

    Returns:
        (N, D), finite as far as the images and weights are; N is 0 for no batch. For patch tokens (N, h, w, D).
    """
    with torch.inference_mode():
        parts = list(extract_each(backbone, batches, autocast=autocast, tokens=tokens, numbers=numbers))
    return np.concatenate(parts) if parts else np.empty((0, backbone.dim), np.float32)


def extract_each(
    backbone: Backbone,
    batches: Iterable[Tensor],
    *,
    autocast: torch.dtype | None,
    tokens: Extractor = POOLED,
    numbers: Iterable[Tensor] | None = None,
) -> Generator[NDArray[np.float32], None, None]:
    """Yield the features of each batch, as `extract`, for more images than memory holds.

    Each result is copied from the device only after the next batch has been given to it, so that it never waits. Hence
    the batches are taken one ahead of what was yielded.
    """
    waiting: Tensor | None = None
    with evaluating(backbone):
        for x_b3HW, image_b in zip(batches, numbers if numbers is not None else repeat(None), strict=False):
            features = _compute(backbone, x_b3HW, autocast, tokens, image_b)
            if waiting is not None:
                yield waiting.cpu().numpy()
            waiting = features
        if waiting is not None:
            yield waiting.cpu().numpy()


@torch.inference_mode()
def _compute(
    backbone: Backbone, x_b3HW: Tensor, autocast: torch.dtype | None, tokens: Extractor, image_b: Tensor | None
) -> Tensor:
    with torch.autocast(x_b3HW.device.type, dtype=autocast, enabled=autocast is not None):
        features = tokens.of(backbone, x_b3HW, image_b)
    return features.float()


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Put a network into eval mode for a while; each module goes back to its own mode, frozen ones included."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


def l2_normalized(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale every vector of (..., D) to length 1; a zero vector stays zero."""
    scaled: NDArray[np.float32] = rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), _TINY)
    return scaled
