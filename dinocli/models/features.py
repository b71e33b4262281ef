"""Feature extraction, shared by training, the guard and every task.

Legend: b images of a batch, N images, C channels, H W pixels, D width, h w rows and columns of a feature grid.
"""

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dinocli.models.backbone import Backbone
from dinocli.models.tokens import POOLED

T = TypeVar("T")


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
    backbone: Backbone, batches: Iterable[Tensor], *, autocast: torch.dtype | None, tokens: Extractor = POOLED
) -> NDArray[np.float32]:
    """Return the features of images, in order.

    Args:
        backbone: On the device of the batches. The modes of its modules are restored.
        batches: (b, C, H, W) each, normalised floats; H and W may differ between batches.
        autocast: As in `compute_features`.
        tokens: Kind of features.

    Returns:
        (N, D), or (N, h, w, D) for patch tokens; (0, D) without batches.
    """
    with eval_mode(backbone), torch.inference_mode():
        computed = (compute_features(backbone, x_bCHW, autocast=autocast, tokens=tokens) for x_bCHW in batches)
        parts = [features.cpu().numpy() for features in one_behind(computed)]
    return np.concatenate(parts) if parts else np.empty((0, backbone.dim), np.float32)


@torch.inference_mode()
def compute_features(
    backbone: Backbone,
    x_bCHW: Tensor,
    *,
    autocast: torch.dtype | None,
    tokens: Extractor = POOLED,
    image_b: Tensor | None = None,
) -> Tensor:
    """Submit a batch to the device, and return its features there, float32, (b, ...); reading them waits.

    Args:
        backbone: In eval mode, on the device of the batch.
        x_bCHW: Normalised floats.
        autocast: Autocast dtype, or None for that of the weights.
        tokens: Kind of features.
        image_b: Numbers of the images, from the extractor's `numbers`; None if the features do not depend on other
            images, or no image is in the fitted folder.
    """
    with torch.autocast(x_bCHW.device.type, dtype=autocast, enabled=autocast is not None):
        features = tokens.compute(backbone, x_bCHW, image_b)
    return features.float()


def one_behind(submitted: Iterable[T]) -> Generator[T, None, None]:
    """Yield each item after the next one was submitted, so that a device never waits for its results to be copied."""
    waiting: list[T] = []
    for item in submitted:
        yield from waiting
        waiting = [item]
    yield from waiting


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
