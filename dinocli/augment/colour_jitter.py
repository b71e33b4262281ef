"""Colour jitter with an order of operations per image.

Kornia draws the order once per call, and its hue (through HSV) takes two to six times as long as this one.

Legend: B images, C channels, S pixels of the view's side. Views are float32 in [0, 1].
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from kornia import enhance
from kornia.augmentation import IntensityAugmentationBase2D
from kornia.augmentation.random_generator import ColorJitterGenerator
from torch import Tensor

from dinocli.augment.photometric import change_rows, computes_all, per_image
from dinocli.config.preprocess import LUMA_WEIGHTS


def adjust_hue(views_B3SS: Tensor, turn_B: Tensor) -> Tensor:
    """Shift the hue as in HSV, computed in RGB.

    Hue is a position on a hexagon, and a channel decreases with the distance from its corner. In units of the chroma
    (largest minus smallest channel) no division is needed, and grey pixels do not change.

    Args:
        views_B3SS: RGB.
        turn_B: Hue shift in turns of the colour circle, -0.5 to 0.5.

    Returns:
        (B, 3, S, S), equal to `kornia.enhance.adjust_hue` (which takes radians) within rounding.
    """
    red, green, blue = views_B3SS.unbind(1)
    low, high = views_B3SS.amin(1), views_B3SS.amax(1)
    chroma = high - low
    hue = torch.where(high == green, torch.add(blue - red, chroma, alpha=2), torch.add(red - green, chroma, alpha=4))
    hue = torch.where(high == red, green - blue, hue)  # corners: red 0, green 2, blue 4, and 6 is red again
    sextants = turn_B.to(views_B3SS.device).view(-1, 1, 1) * 6
    turned = []
    for corner in (0, 2, 4):
        apart = torch.addcmul(hue, chroma, sextants - corner).abs_()
        apart = torch.minimum(apart, torch.sub(apart, chroma, alpha=6).abs_())  # the shorter arc
        share = torch.mul(chroma, 2).sub_(apart).clamp_(min=0)
        turned.append(torch.minimum(share, chroma).add_(low))
    return torch.stack(turned, dim=1)


def adjust_contrast(views_BCSS: Tensor, factor_B: Tensor) -> Tensor:
    """Change the contrast around the mean luminance, or around the mean of each channel for images that are not RGB.

    Kornia uses one mean over all channels, which would shift a dark stain towards a bright one.
    """
    if views_BCSS.shape[1] in (1, 3):
        changed: Tensor = enhance.adjust_contrast_with_mean_subtraction(views_BCSS, factor_B)
        return changed
    factor_B111 = per_image(factor_B.to(views_BCSS))
    mean_BC11 = views_BCSS.mean((2, 3), keepdim=True)
    return (views_BCSS * factor_B111 + mean_BC11 * (1 - factor_B111)).clamp(0, 1)


_OPERATIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "brightness_factor": enhance.adjust_brightness_accumulative,
    "contrast_factor": adjust_contrast,
    "saturation_factor": enhance.adjust_saturation_with_gray_subtraction,
    "hue_factor": adjust_hue,
}
HUE = list(_OPERATIONS).index("hue_factor")


def blend(views_BCSS: Tensor, operation_B: Tensor, factor_B: Tensor) -> Tensor:
    """Change brightness, contrast or saturation of each image, selected by `operation_B`.

    They blend the image with black, with the mean luminance and with the luminance. A factor of 1 returns the
    image. For images that are not RGB, each channel is its own luminance.

    Args:
        views_BCSS: Views in [0, 1].
        operation_B: Index of the operation in `_OPERATIONS`; -1 for none, with a factor of 1.
        factor_B: Factor of that operation.

    Returns:
        Equal to Kornia's functions within rounding.
    """
    operation_B111 = per_image(operation_B)
    luminance_B1SS = views_BCSS
    if views_BCSS.shape[1] == 3:
        red, green, blue = (views_BCSS[:, channel : channel + 1] for channel in range(3))
        of_red, of_green, of_blue = LUMA_WEIGHTS
        luminance_B1SS = torch.add(torch.add(red * of_red, green, alpha=of_green), blue, alpha=of_blue)
    level_B111 = torch.where(operation_B111 == 1, luminance_B1SS.mean((2, 3), keepdim=True), 0.0)
    other_B1SS = torch.where(operation_B111 == 2, luminance_B1SS, level_B111)
    return torch.lerp(other_B1SS, views_BCSS, per_image(factor_B)).clamp_(0, 1)


def shift_hue(views_B3SS: Tensor, turn_B: Tensor, chosen_B: Tensor) -> Tensor:
    """Apply `adjust_hue` to the chosen images: all are computed."""
    return torch.where(per_image(chosen_B), adjust_hue(views_B3SS, turn_B), views_B3SS)


class JitterGenerator(ColorJitterGenerator):  # type: ignore[misc]
    """Kornia's generator with an order per image: `order` is (B, 4) instead of (4,)."""

    def forward(self, batch_shape: tuple[int, ...], same_on_batch: bool = False) -> dict[str, Tensor]:
        """Draw factors and orders."""
        params: dict[str, Tensor] = super().forward(batch_shape, same_on_batch)
        return params | {"order": torch.rand(batch_shape[0], len(_OPERATIONS)).argsort(1)}


class PerImageJitter(IntensityAugmentationBase2D):  # type: ignore[misc]
    """Colour jitter (brightness, contrast, saturation, hue) in a random order per image, as in torchvision.

    A strength of 0 disables the operation; with saturation and hue at 0 any number of channels is possible. All
    channels of an image share one factor: ratios of bands and stains carry information.

    Args:
        brightness: Factor from 1-x to 1+x.
        contrast: Factor from 1-x to 1+x around the mean luminance, or the mean of each channel if not RGB.
        saturation: Factor from 1-x to 1+x around the pixel's luminance.
        hue: Shift in turns of the colour circle from -x to x, at most 0.5.
        p: Probability.
    """

    def __init__(self, brightness: float, contrast: float, saturation: float, hue: float, p: float) -> None:
        super().__init__(p=p)
        self._param_generator = JitterGenerator(brightness, contrast, saturation, hue)
        strengths = (brightness, contrast, saturation, hue)
        self.blend, self.shift_hue = blend, shift_hue
        self._active = [(i, name) for i, (name, x) in enumerate(zip(_OPERATIONS, strengths, strict=True)) if x > 0]

    def apply_transform(
        self, input: Tensor, params: dict[str, Tensor], flags: dict[str, Any], transform: Tensor | None = None
    ) -> Tensor:
        """Apply the jitter: in each turn every image gets the operation of its order.

        On a CPU an operation is computed only for its images. On a device it is computed for all images, since
        selecting some first would synchronise host and device; hue, which takes most of the time, only once: the up to
        three other operations of an image are divided into those before and after it.
        """
        if "before" in params or computes_all(input):
            params = params if "before" in params else self.split_at_hue(params)
            for operation_B, factor_B in _columns(params, "before"):
                input = self.blend(input, operation_B, factor_B)
            if any(number == HUE for number, _ in self._active):
                input = self.shift_hue(input, params["hue"], params["has_hue"])
            for operation_B, factor_B in _columns(params, "after"):
                input = self.blend(input, operation_B, factor_B)
            return input
        views = input.clamp(0, 1)
        orders = params["order"].tolist()
        for turn in range(len(_OPERATIONS)):
            for number, name in self._active:
                rows = [row for row, order in enumerate(orders) if order[turn] == number]
                views = change_rows(views, rows, _OPERATIONS[name], params[name])
        return views

    def split_at_hue(self, params: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the operations of each image for `blend` and `shift_hue`, with the probability applied.

        Returns:
            `before` and `after` (B, 3): operations before and after the hue, -1 for none; their factors, 1 for none;
            `hue` (B,) and `has_hue` (B,).
        """
        chosen_B1 = params["batch_prob"].view(-1, 1) > 0.5
        order_B4, turn_4 = params["order"], torch.arange(len(_OPERATIONS))
        hue_B1 = (order_B4 == HUE).int().argmax(1, keepdim=True)
        factors_B4 = torch.stack([params[name] for name in _OPERATIONS], dim=1).gather(1, order_B4)
        result = {"hue": params["hue_factor"], "has_hue": chosen_B1[:, 0]}
        for name, is_side_B4, columns in (
            ("before", turn_4 < hue_B1, slice(0, -1)),
            ("after", turn_4 > hue_B1, slice(1, None)),
        ):
            here_B3 = (is_side_B4 & chosen_B1)[:, columns]
            result[name] = torch.where(here_B3, order_B4[:, columns], -1)
            result[f"{name}_factors"] = torch.where(here_B3, factors_B4[:, columns], 1.0)
        return result


def _columns(params: dict[str, Tensor], side: str) -> Iterator[tuple[Tensor, Tensor]]:
    return zip(params[side].unbind(1), params[f"{side}_factors"].unbind(1), strict=True)
