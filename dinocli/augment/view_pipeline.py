"""One kind of view: how it is cropped and changed.

Legend: B images of this call, N of the global batch, V views, C channels, S pixels of a view's side.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from kornia.augmentation import RandomGrayscale
from torch import Tensor
from torch.profiler import record_function

from dinocli.augment.crop import AntialiasedCrop
from dinocli.augment.draw import Params, draw
from dinocli.augment.photometric import GaussianBlur, PerImageJitter, Solarize, gated


@dataclass(frozen=True)
class ViewSpec:
    """How one view is made.

    Args:
        size: Side of the square, pixels.
        scale: Smallest and largest share of the image's area.
        ratio: Smallest and largest width / height of the box.
        hflip: Probability of a left-right flip.
        vflip: Probability of an up-down flip.
        rot90: Probability of a turn by 90, 180 or 270 degrees.
        jitter: Probability of the four changes below, in random order.
        brightness: Factor from 1-x to 1+x.
        contrast: Factor from 1-x to 1+x.
        saturation: Factor from 1-x to 1+x.
        hue: Turns of the colour circle, from -x to x, at most 0.5.
        grayscale: Probability of losing all colour.
        blur: Probability of a Gaussian blur.
        blur_sigma: Its smallest and largest standard deviation, pixels of the view.
        solarize: Probability of inverting the pixels from one half up.
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
    """The operations of one kind of view, in the paper's order: crop and flip, jitter, grayscale, blur, solarize.

    All of them are always there, with probability 0 where they are off, so that each keeps its own random numbers: an
    option changes what it names and leaves every other draw as it was.

    Args:
        spec: How the view is made.
        colour: Images are RGB; all others have no saturation, no hue and no grayscale.
    """

    def __init__(self, spec: ViewSpec, *, colour: bool) -> None:
        saturation, hue, grayscale = (spec.saturation, spec.hue, spec.grayscale) if colour else (0.0, 0.0, 0.0)
        self.crop = AntialiasedCrop(spec.size, spec.scale, spec.ratio, spec.hflip, spec.vflip, spec.rot90)
        self.changes = [
            PerImageJitter(spec.brightness, spec.contrast, saturation, hue, p=spec.jitter),
            RandomGrayscale(p=grayscale),
            GaussianBlur(spec.blur_sigma, p=spec.blur),
            Solarize(p=spec.solarize),
        ]

    def draw(self, views: int, images: int, key: tuple[int, ...]) -> list[Params]:
        """Draw what several views of this kind need for N images, (V, N, ...); see `dinocli.augment.draw`."""
        return draw([self.crop, *self.changes], views, images, key)

    def views(
        self, pixels_BCHW: Tensor, sizes_B2: Tensor, drawn: list[Params], finish: Callable[[Tensor], Tensor]
    ) -> Tensor:
        """Make several views of this kind of each image on the CPU.

        All views of one image go through together: fewer calls than view by view, and still in the cache.

        Args:
            pixels_BCHW: Canvases, uint8 or uint16.
            sizes_B2: True height and width, pixels.
            drawn: From `draw`, cut to these images: (V, B, ...).
            finish: Takes the (n, C, S, S) views of some images in [0, 1], and returns what is kept of them.

        Returns:
            View-major: (V * B, ...).
        """
        crop, *changes = drawn
        count = len(crop["turns"])
        with record_function("crop"):
            crops_BVCSS = torch.stack([self._crop(pixels_BCHW, sizes_B2, crop, view) for view in range(count)], dim=1)
        finished: Tensor | None = None
        for image, piece in enumerate(crops_BVCSS):
            with record_function("photometric"):
                for operation, values in zip(self.changes, changes, strict=True):
                    piece = gated(operation, piece, {name: value[:, image] for name, value in values.items()})
            kept = finish(piece)
            if finished is None:
                finished = kept.new_empty(count, len(pixels_BCHW), *kept.shape[1:])
            finished[:, image] = kept
        assert finished is not None, "a batch of no image"
        return finished.flatten(0, 1)

    def _crop(self, pixels_BCHW: Tensor, sizes_B2: Tensor, drawn: Params, view: int) -> Tensor:
        params = {name: value[view] for name, value in drawn.items()} | {"sizes_B2": sizes_B2}
        crops: Tensor = self.crop.apply_transform(pixels_BCHW, params, self.crop.flags)
        return crops
