"""Feature extraction, shared by training, the guard and every task.

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
    """Function from images to features: `Tokens`, or features fitted to a folder (`RareFeatures`)."""

    def compute(self, backbone: Backbone, x_BCHW: Tensor, image_B: Tensor | None = None) -> Tensor:
        """Compute the features of images, (B, ...); `image_B` are their numbers, from `numbers`."""

    def numbers(self, names: Sequence[str]) -> Tensor:
        """Return the number of each image by its name, (N,), on the CPU."""

    def without_region(self) -> "Extractor":
        """Return the same extractor without a region of interest, for parts of images."""


_TINY = np.finfo(np.float32).tiny  # divisor for zero vectors, which stay zero


def extract(
    backbone: Backbone,
    batches: Iterable[Tensor],
    *,
    autocast: torch.dtype | None,
    tokens: Extractor = POOLED,
    numbers: Iterable[Tensor] | None = None,
) -> NDArray[np.float32]:
    """Return the features of images, in order.

    Args:
        backbone: On the device of the batches. The modes of its modules are restored.
        batches: (b, C, H, W) each, normalised floats; H and W may differ between batches.
        autocast: Autocast dtype, or None for that of the weights.
        tokens: Kind of features.
        numbers: Numbers of the images of each batch, (b,), from the extractor's `numbers`; consumed after the batch.
            None if the features do not depend on other images, or no image is in the fitted folder.

    Returns:
        (N, D), or (N, h, w, D) for patch tokens; (0, D) without batches.
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
    """Yield the features of each batch like `extract`, for more images than memory holds.

    A result is copied from the device after the next batch was submitted, so that the device never waits. Hence one
    more batch is consumed than was yielded.
    """
    waiting: Tensor | None = None
    with eval_mode(backbone):
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
        features = tokens.compute(backbone, x_b3HW, image_b)
    return features.float()


@contextmanager
def eval_mode(module: nn.Module) -> Iterator[None]:
    """Put a network into eval mode within the context; the mode of each module is restored."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


def l2_normalized(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """L2-normalise along the last axis; a zero vector stays zero."""
    scaled: NDArray[np.float32] = rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), _TINY)
    return scaled
