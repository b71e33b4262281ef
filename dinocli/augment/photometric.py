"""Changes of colour and sharpness: Kornia augmentations where Kornia's own is slow or coarser than the paper.

Kornia draws the order of a colour jitter once a call, and its hue (through HSV) and its blur cost two to six times what
these do. Grayscale is Kornia's as it is.

Legend: B images, C channels, S pixels of the view's side, T taps of the blur. Views are float32 in [0, 1].
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from kornia import enhance
from kornia.augmentation import IntensityAugmentationBase2D, RandomSolarize
from kornia.augmentation.random_generator import ColorJitterGenerator, RandomGaussianBlurGenerator
from kornia.color import rgb_to_grayscale
from torch import Tensor

from dinocli.augment.resample import dense, separable


def adjust_hue(views_B3SS: Tensor, turn_B: Tensor) -> Tensor:
    """Turn the colour circle, as HSV does, without leaving RGB.

    Hue is a place on a hexagon, and a channel falls off with the distance from its corner. Measured in units of the
    chroma (largest minus smallest channel) neither direction needs a division, and a grey pixel stays as it is.

    Args:
        views_B3SS: RGB.
        turn_B: In turns, -0.5 to 0.5.

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
        apart = torch.minimum(apart, torch.sub(apart, chroma, alpha=6).abs_())  # the short way round
        share = torch.mul(chroma, 2).sub_(apart).clamp_(min=0)
        turned.append(torch.minimum(share, chroma).add_(low))
    return torch.stack(turned, dim=1)


def adjust_contrast(views_BCSS: Tensor, factor_B: Tensor) -> Tensor:
    """Change contrast around the mean of the luminance, or of each channel by itself where they are not RGB.

    Kornia's own takes one mean of all channels, which would pull a dark stain towards a bright one.
    """
    if views_BCSS.shape[1] in (1, 3):
        changed: Tensor = enhance.adjust_contrast_with_mean_subtraction(views_BCSS, factor_B)
        return changed
    factor_B111 = each(factor_B.to(views_BCSS))
    mean_BC11 = views_BCSS.mean((2, 3), keepdim=True)
    return (views_BCSS * factor_B111 + mean_BC11 * (1 - factor_B111)).clamp(0, 1)


_CHANGES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "brightness_factor": enhance.adjust_brightness_accumulative,
    "contrast_factor": adjust_contrast,
    "saturation_factor": enhance.adjust_saturation_with_gray_subtraction,
    "hue_factor": adjust_hue,
}


def jitter_round(views_BCSS: Tensor, turn_B: Tensor, factors_B4: Tensor, has_hue: bool) -> Tensor:
    """Apply one jitter operation to each image, as `turn_B` selects it: all are computed, one is kept.

    Brightness, contrast and saturation are the same mixture with black, with the mean of the luminance and with the
    luminance. With a factor of 1 it is the image itself, so that a strength of 0 needs no rule. Channels other than RGB
    are each their own luminance.

    Args:
        views_BCSS: In [0, 1].
        turn_B: Index of the operation in `_CHANGES`; -1 for none.
        factors_B4: In the order of `_CHANGES`.
        has_hue: Whether hue, the most expensive operation, is on.

    Returns:
        Equal to Kornia's functions and `adjust_hue` within rounding.
    """
    turn_B111 = each(turn_B)
    brightness, contrast, saturation, turns = factors_B4.unbind(1)
    factor_B111 = torch.where(
        turn_B111 == 0, each(brightness), torch.where(turn_B111 == 1, each(contrast), each(saturation))
    )
    luminance_B1SS = rgb_to_grayscale(views_BCSS) if views_BCSS.shape[1] == 3 else views_BCSS
    middle_B1SS = torch.where(turn_B111 == 1, luminance_B1SS.mean((2, 3), keepdim=True), luminance_B1SS)
    mixed = (views_BCSS * factor_B111 + torch.where(turn_B111 == 0, 0.0, middle_B1SS) * (1 - factor_B111)).clamp(0, 1)
    changed = torch.where((turn_B111 >= 0) & (turn_B111 < 3), mixed, views_BCSS)
    return torch.where(turn_B111 == 3, adjust_hue(views_BCSS, turns), changed) if has_hue else changed


class JitterGenerator(ColorJitterGenerator):  # type: ignore[misc]
    """Kornia's factors, with an order for each image: `order` is (B, 4) instead of (4,)."""

    def forward(self, batch_shape: tuple[int, ...], same_on_batch: bool = False) -> dict[str, Tensor]:
        """Draw factors and orders."""
        params: dict[str, Tensor] = super().forward(batch_shape, same_on_batch)
        return params | {"order": torch.rand(batch_shape[0], len(_CHANGES)).argsort(1)}


class PerImageJitter(IntensityAugmentationBase2D):  # type: ignore[misc]
    """Change brightness, contrast, saturation and hue, in an order of its own for each image, as torchvision does.

    A strength of 0 leaves its change out; with saturation and hue at 0 any number of channels will do. All channels of
    an image share one factor: their ratios are what bands and stains are measured for.

    Args:
        brightness: Factor from 1-x to 1+x.
        contrast: Factor from 1-x to 1+x around the mean of the image's luminance, else of each channel.
        saturation: Factor from 1-x to 1+x around the pixel's luminance.
        hue: Turns from -x to x, at most 0.5.
        p: Probability.
    """

    def __init__(self, brightness: float, contrast: float, saturation: float, hue: float, p: float) -> None:
        super().__init__(p=p)
        self._param_generator = JitterGenerator(brightness, contrast, saturation, hue)
        strengths = (brightness, contrast, saturation, hue)
        self.round = jitter_round
        self._active = [(i, name) for i, (name, x) in enumerate(zip(_CHANGES, strengths, strict=True)) if x > 0]

    def apply_transform(
        self, input: Tensor, params: dict[str, Tensor], flags: dict[str, Any], transform: Tensor | None = None
    ) -> Tensor:
        """Work in four rounds; in each, a change takes the images whose turn it is.

        On a CPU nothing is computed for the others. Elsewhere `jitter_round` computes all and keeps what is asked for:
        to pick images the host would have to wait for the device.
        """
        if "turns" in params or at_once(input):
            params = params if "turns" in params else self.turns(params)
            for turn_B in params["turns"].unbind(1):
                input = self.round(input, turn_B, params["factors"], has_hue=self._active[-1:] == [(3, "hue_factor")])
            return input
        views = input.clamp(0, 1)
        orders = params["order"].tolist()
        for turn in range(len(_CHANGES)):
            for number, name in self._active:
                rows = [row for row, order in enumerate(orders) if order[turn] == number]
                views = change_rows(views, rows, _CHANGES[name], params[name])
        return views

    def turns(self, params: dict[str, Tensor]) -> dict[str, Tensor]:
        """Say for `jitter_round` what each image gets in each round, with the probability worked in.

        Returns:
            `turns` (B, 4), -1 where an image is left alone, and `factors` (B, 4).
        """
        chosen_B1 = params["batch_prob"].view(-1, 1) > 0.5
        return {
            "turns": torch.where(chosen_B1, params["order"], -1),
            "factors": torch.stack([params[name] for name in _CHANGES], dim=1),
        }


class GaussianBlur(IntensityAugmentationBase2D):  # type: ignore[misc]
    """Blur with a standard deviation of its own for each image; the border is continued by its last pixel.

    The kernel reaches four standard deviations: nothing is cut off, at no price, since it is one matrix per axis.

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
        matrix = dense(source_ST.expand(taps), kernel_BT[:, None].expand(taps), size)
        return separable(input, matrix, matrix)


class Solarize(RandomSolarize):  # type: ignore[misc]
    """Invert the pixels from one half up: Kornia's, whose defaults would also move the threshold and the brightness.

    Args:
        p: Probability.
    """

    def __init__(self, p: float) -> None:
        super().__init__(thresholds=(0.5, 0.5), additions=(0.0, 0.0), p=p)

    def apply_transform(
        self, input: Tensor, params: dict[str, Tensor], flags: dict[str, Any], transform: Tensor | None = None
    ) -> Tensor:
        """Do what Kornia does, without its look at the values that were drawn, for which the host would wait."""
        return torch.where(input < each(params["thresholds"]), input, 1.0 - input)


def gated(operation: IntensityAugmentationBase2D, views_BCSS: Tensor, params: dict[str, Tensor]) -> Tensor:
    """Apply a Kornia operation to the images that its probability has chosen."""
    if at_once(views_BCSS):
        changed: Tensor = operation.apply_transform(views_BCSS, params, operation.flags)
        return torch.where(each(params["batch_prob"]), changed, views_BCSS)

    def change(chosen: Tensor, *values: Tensor) -> Tensor:
        changed: Tensor = operation.apply_transform(chosen, dict(zip(params, values, strict=True)), operation.flags)
        return changed

    return change_rows(views_BCSS, params["batch_prob"].nonzero()[:, 0].tolist(), change, *params.values())


def at_once(views: Tensor) -> bool:
    """Return whether all images are computed and then selected, as on a device, rather than only the selected ones."""
    return views.device.type != "cpu" or torch.compiler.is_compiling()


def each(values_B: Tensor) -> Tensor:
    """Reshape one value per image to broadcast over its pixels."""
    return values_B.view(-1, 1, 1, 1)


def change_rows(views_BCSS: Tensor, rows: list[int], change: Callable[..., Tensor], *values: Tensor) -> Tensor:
    """Apply a change to some images of a batch on the CPU, so that nothing is computed for the others.

    Kornia computes it for all and picks afterwards, which is what a CPU pays for.

    Args:
        views_BCSS: The batch; written to.
        rows: Which images.
        change: Takes the chosen images and their rows of `values`.
        values: Tensors with one row per image of the batch.
    """
    if len(rows) == len(views_BCSS):
        return change(views_BCSS, *values)
    if rows:
        index = torch.tensor(rows)
        views_BCSS[index] = change(views_BCSS[index], *(value[index] for value in values))
    return views_BCSS
