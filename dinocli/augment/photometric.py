"""Blur and solarization, and how an operation is applied to some images of a batch. Grayscale is Kornia's.

Kornia's blur takes two to six times as long as this one, and its solarization varies more than the paper's.

Legend: B images, C channels, S pixels of the view's side, T taps of the blur. Views are float32 in [0, 1].
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from kornia.augmentation import IntensityAugmentationBase2D, RandomSolarize
from kornia.augmentation.random_generator import RandomGaussianBlurGenerator
from torch import Tensor

from dinocli.augment.resample import apply_separable, dense_matrix


class GaussianBlur(IntensityAugmentationBase2D):  # type: ignore[misc]
    """Gaussian blur with a random standard deviation per image and replicated border.

    The kernel extends to four standard deviations, at no extra cost, since it is one matrix per axis.

    Args:
        sigma: Smallest and largest standard deviation, pixels of the view.
        p: Probability.
    """

    def __init__(self, sigma: tuple[float, float], p: float) -> None:
        super().__init__(p=p)
        self.flags = {"reach": math.ceil(4 * sigma[1])}
        self._param_generator = RandomGaussianBlurGenerator(sigma)

    def apply_transform(
        self, input: Tensor, params: dict[str, Tensor], flags: dict[str, Any], transform: Tensor | None = None
    ) -> Tensor:
        """Blur along both axes."""
        size, reach = input.shape[-1], flags["reach"]
        step_T = torch.arange(-reach, reach + 1, device=input.device)
        kernel_BT = torch.exp(-0.5 * (step_T / params["sigma"].to(input.device)[:, None]) ** 2)
        kernel_BT = kernel_BT / kernel_BT.sum(1, keepdim=True)
        source_ST = (torch.arange(size, device=input.device)[:, None] + step_T).clamp(0, size - 1)
        taps = (len(input), size, len(step_T))
        matrix = dense_matrix(source_ST.expand(taps), kernel_BT[:, None].expand(taps), size)
        return apply_separable(input, matrix, matrix)


class Solarize(RandomSolarize):  # type: ignore[misc]
    """Invert the pixels of at least 0.5. Kornia's defaults would also vary the threshold and the brightness.

    Args:
        p: Probability.
    """

    def __init__(self, p: float) -> None:
        super().__init__(thresholds=(0.5, 0.5), additions=(0.0, 0.0), p=p)

    def apply_transform(
        self, input: Tensor, params: dict[str, Tensor], flags: dict[str, Any], transform: Tensor | None = None
    ) -> Tensor:
        """Solarize like Kornia, without its check of the drawn values, which would synchronise host and device."""
        return torch.where(input < per_image(params["thresholds"]), input, 1.0 - input)


def apply_chosen(operation: IntensityAugmentationBase2D, views_BCSS: Tensor, params: dict[str, Tensor]) -> Tensor:
    """Apply a Kornia operation to the images selected by its probability."""
    if computes_all(views_BCSS):
        changed: Tensor = operation.apply_transform(views_BCSS, params, operation.flags)
        return torch.where(per_image(params["batch_prob"]), changed, views_BCSS)

    def change(chosen: Tensor, *values: Tensor) -> Tensor:
        changed: Tensor = operation.apply_transform(chosen, dict(zip(params, values, strict=True)), operation.flags)
        return changed

    return change_rows(views_BCSS, params["batch_prob"].nonzero()[:, 0].tolist(), change, *params.values())


def computes_all(views: Tensor) -> bool:
    """Return whether to compute all images and select afterwards (on a device), instead of the selected ones only."""
    return views.device.type != "cpu" or torch.compiler.is_compiling()


def per_image(values_B: Tensor) -> Tensor:
    """Reshape one value per image to broadcast over its pixels."""
    return values_B.view(-1, 1, 1, 1)


def change_rows(views_BCSS: Tensor, rows: list[int], change: Callable[..., Tensor], *values: Tensor) -> Tensor:
    """Apply an operation to some images of a batch on the CPU, computing only those.

    Args:
        views_BCSS: The batch; changed in place.
        rows: Indices of the images.
        change: Function of the selected images and their rows of `values`.
        values: Tensors with one row per image of the batch.
    """
    if len(rows) == len(views_BCSS):
        return change(views_BCSS, *values)
    if rows:
        index = torch.tensor(rows)
        views_BCSS[index] = change(views_BCSS[index], *(value[index] for value in values))
    return views_BCSS
