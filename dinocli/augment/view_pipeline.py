"""Augmentation pipeline of one kind of view.

Legend: B images of this call, N of the global batch, V views, C channels, S pixels of a view's side.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from kornia.augmentation import AugmentationBase2D, RandomGrayscale
from torch import Tensor
from torch.profiler import record_function

from dinocli.augment.colour_jitter import PerImageJitter
from dinocli.augment.crop import AntialiasedCrop
from dinocli.augment.draw import Params
from dinocli.augment.photometric import GaussianBlur, Solarize, apply_chosen


@dataclass(frozen=True)
class ViewSpec:
    """Parameters of one view.

    Args:
        size: Side of the view, pixels.
        scale: Smallest and largest share of the image's area.
        ratio: Smallest and largest width / height of the box.
        hflip: Probability of a left-right flip.
        vflip: Probability of an up-down flip.
        rot90: Probability of a rotation by 90, 180 or 270 degrees.
        jitter: Probability of the colour jitter: the four operations below, in random order.
        brightness: Factor from 1-x to 1+x.
        contrast: Factor from 1-x to 1+x.
        saturation: Factor from 1-x to 1+x.
        hue: Shift in turns of the colour circle from -x to x, at most 0.5.
        grayscale: Probability of conversion to grey.
        blur: Probability of a Gaussian blur.
        blur_sigma: Smallest and largest standard deviation of the blur, pixels of the view.
        solarize: Probability of solarization (inverts pixels of at least 0.5).
    """

    size: int
    scale: tuple[float, float]
    ratio: tuple[float, float]
    hflip: float
    vflip: float
    rot90: float
    jitter: float
    brightness: float
    contrast: float
    saturation: float
    hue: float
    grayscale: float
    blur: float
    blur_sigma: tuple[float, float]
    solarize: float


class ViewPipeline:
    """Operations of one kind of view, in the paper's order: crop and flip, jitter, grayscale, blur, solarize.

    All operations are always present, with probability 0 if they are off, so that each has its own random numbers and
    an option changes no draw of another operation.

    Args:
        spec: Parameters of the views.
        indices: Indices of the views of this kind among all views of an image.
        colour: Images are RGB; others get no saturation, hue and grayscale.
    """

    def __init__(self, spec: ViewSpec, indices: range, *, colour: bool) -> None:
        saturation, hue, grayscale = (spec.saturation, spec.hue, spec.grayscale) if colour else (0.0, 0.0, 0.0)
        self.size, self.indices = spec.size, indices
        self.crop = AntialiasedCrop(spec.size, spec.scale, spec.ratio, spec.hflip, spec.vflip, spec.rot90)
        self.jitter = PerImageJitter(spec.brightness, spec.contrast, saturation, hue, p=spec.jitter)
        self.after_jitter = [
            RandomGrayscale(p=grayscale),
            GaussianBlur(spec.blur_sigma, p=spec.blur),
            Solarize(p=spec.solarize),
        ]

    @property
    def operations(self) -> list[AugmentationBase2D]:
        """All operations in order."""
        return [self.crop, self.jitter, *self.after_jitter]

    def views(
        self, pixels_BCHW: Tensor, sizes_B2: Tensor, drawn: list[Params], finish: Callable[[Tensor], Tensor]
    ) -> Tensor:
        """Compute several views of this kind of each image on the CPU.

        All views of one image are processed together: fewer calls than view by view, and they fit into the cache.

        Args:
            pixels_BCHW: Canvases, uint8 or uint16.
            sizes_B2: True height and width, pixels.
            drawn: Parameters of each operation for these images, (V, B, ...).
            finish: Function of the views (n, C, S, S) in [0, 1] of one image, such as the normalisation.

        Returns:
            View-major: (V * B, ...).
        """
        crop, *changes = drawn
        count = len(crop["turns"])
        with record_function("crop"):
            crops_BVCSS = torch.stack([self._crop(pixels_BCHW, sizes_B2, crop, view) for view in range(count)], dim=1)
        finished: Tensor | None = None
        for image, views_VCSS in enumerate(crops_BVCSS):
            with record_function("photometric"):
                for operation, values in zip(self.operations[1:], changes, strict=True):
                    own = {name: value[:, image] for name, value in values.items()}
                    views_VCSS = apply_chosen(operation, views_VCSS, own)
            of_image = finish(views_VCSS)
            if finished is None:
                finished = of_image.new_empty(count, len(pixels_BCHW), *of_image.shape[1:])
            finished[:, image] = of_image
        assert finished is not None, "an empty batch"
        return finished.flatten(0, 1)

    def _crop(self, pixels_BCHW: Tensor, sizes_B2: Tensor, drawn: Params, view: int) -> Tensor:
        params = {name: value[view] for name, value in drawn.items()} | {"sizes_B2": sizes_B2}
        crops: Tensor = self.crop.apply_transform(pixels_BCHW, params, self.crop.flags)
        return crops
