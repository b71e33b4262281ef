"""Distance of the images of a probe, or of a folder, to those that a network was trained on."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from dinocli.config.preprocess import Preprocess
from dinocli.data.image_list import ImageList
from dinocli.engine.image_batches import ImageBatches
from dinocli.engine.probe import Probe
from dinocli.engine.square_resize import inputs_by_size, square_batches
from dinocli.models.alpha_bn import batch_norms
from dinocli.models.backbone import Backbone
from dinocli.models.variance_shift import variance_shift

SHIFT_IMAGES, FEW_SHIFT_IMAGES, _BATCH = 128, 64, 32


def shift_of(backbone: Backbone, probe: Probe) -> float:
    """Return the `variance_shift` of at most 128 images of a probe; NaN without a batch norm."""
    rows = probe.indices[:: max(1, len(probe.indices) // SHIFT_IMAGES)][:SHIFT_IMAGES]
    batches = square_batches(probe.loader, rows, probe.preprocess, _BATCH)
    return variance_shift(backbone, (square_BCSS for square_BCSS, _ in batches))


def shift_of_folder(
    backbone: Backbone, images: ImageList, preprocess: Preprocess, threads: int, device: torch.device
) -> float:
    """Return the `variance_shift` of 64 images of a list; NaN without a batch norm, for which no image is read."""
    if not batch_norms(backbone):
        return float("nan")
    few = ImageBatches(images.spread(FEW_SHIFT_IMAGES), preprocess, None, threads, on_cpu=device.type == "cpu")

    def batches() -> Iterator[Tensor]:
        for batch in few.batches(0, _BATCH):
            canvases = [piece.canvas for piece in batch if isinstance(piece.canvas, np.ndarray)]
            for _, square_BCSS in inputs_by_size(canvases, preprocess, device):
                yield square_BCSS

    return variance_shift(backbone, batches())
