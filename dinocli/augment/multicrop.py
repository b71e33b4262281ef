"""Multi-crop: two global views and several local ones of each image, cropped, changed and normalised on the device.

Guarantees: views are view-major; what a view looks like is a function of (seed, step, view, place in the global batch)
and of nothing else, so that neither ranks nor slices nor a resumed run change it (bit-equal on a CPU).

Legend: B images of this call, N of the global batch, V views, L local views, C channels, S pixels of a view's side.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from operator import itemgetter

import numpy as np
import torch
from kornia.augmentation import RandomGrayscale, RandomSolarize
from numpy.typing import NDArray
from torch import Tensor

from dinocli.augment.crop import AntialiasedCrop
from dinocli.augment.photometric import GaussianBlur, PerImageJitter, change_rows
from dinocli.augment.resample import chunks, normalise

Params = dict[str, Tensor]


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
    """The operations of one view, in the paper's order: crop and flip, jitter, grayscale, blur, solarize.

    All of them are always there, with probability 0 where they are off, so that each keeps its own random numbers: an
    option changes what it names and leaves every other draw as it was.

    Args:
        spec: How the view is made.
        grey: Images have one channel: no saturation, no hue, no grayscale.
    """

    def __init__(self, spec: ViewSpec, grey: bool) -> None:
        self.size = spec.size
        saturation, hue, grayscale = (0.0, 0.0, 0.0) if grey else (spec.saturation, spec.hue, spec.grayscale)
        self.crop = AntialiasedCrop(spec.size, spec.scale, spec.ratio, spec.hflip, spec.vflip, spec.rot90)
        self.changes = [
            PerImageJitter(spec.brightness, spec.contrast, saturation, hue, p=spec.jitter),
            RandomGrayscale(p=grayscale),
            GaussianBlur(spec.blur_sigma, p=spec.blur),
            # Kornia's defaults would also move the threshold and the brightness.
            RandomSolarize(thresholds=(0.5, 0.5), additions=(0.0, 0.0), p=spec.solarize),
        ]

    def draw(self, count: int, key: tuple[int, ...]) -> list[Params]:
        """Draw the parameters of each operation for `count` images, from a random stream of its own.

        Kornia draws from torch's global generator and takes no other, so that one is seeded and put back.
        """
        drawn = []
        with torch.random.fork_rng(devices=[]):
            for number, operation in enumerate([self.crop, *self.changes]):
                # Not torch.manual_seed, which would seed the GPUs too, and nobody would put those back.
                torch.default_generator.manual_seed(int(np.random.SeedSequence((*key, number)).generate_state(1)[0]))
                params = operation.forward_parameters((count, 1, 1, 1))
                del params["forward_input_shape"]  # the only one without a row per image
                drawn.append(params)
        return drawn

    def views(
        self, pixels_BCHW: Tensor, sizes_B2: Tensor, drawn: list[list[Params]], finish: Callable[[Tensor], Tensor]
    ) -> Tensor:
        """Make several views of this kind of each image.

        On a CPU all views of one image go through together: fewer calls than view by view, and still in the cache.

        Args:
            pixels_BCHW: Canvases, uint8 or uint16.
            sizes_B2: True height and width, pixels.
            drawn: From `draw`, cut to these images, one for each view.
            finish: Takes the (n, C, S, S) views of some images in [0, 1], and returns what is kept of them.

        Returns:
            View-major: (L * B, ...).
        """
        crops = [
            self.crop.apply_transform(pixels_BCHW, one[0] | {"sizes_B2": sizes_B2}, self.crop.flags) for one in drawn
        ]
        crops_BLCSS = torch.stack(crops, dim=1)
        params = [_by_image([one[number] for one in drawn]) for number in range(1, len(drawn[0]))]
        finished: Tensor | None = None
        for images in chunks(len(pixels_BCHW), pixels_BCHW.device):
            piece = crops_BLCSS[images].flatten(0, 1)
            for operation, values in zip(self.changes, params, strict=True):
                piece = _gated(operation, piece, {name: value[images].flatten(0, 1) for name, value in values.items()})
            kept = finish(piece).contiguous()
            piece = kept.view(-1, len(drawn), *kept.shape[1:])
            if finished is None:
                finished = piece.new_empty(len(drawn), len(pixels_BCHW), *piece.shape[2:])
            finished[:, images] = piece.transpose(0, 1)
        assert finished is not None, "a batch of no image"
        return finished.flatten(0, 1)


def _by_image(drawn: list[Params]) -> Params:
    """Put the parameters of several views side by side: (B, L, ...)."""
    return {name: torch.stack([params[name] for params in drawn], dim=1) for name in drawn[0]}


def _gated(
    operation: PerImageJitter | RandomGrayscale | GaussianBlur | RandomSolarize, views: Tensor, params: Params
) -> Tensor:
    """Apply a Kornia operation to the images that its probability has chosen."""
    rows = params["batch_prob"].nonzero()[:, 0].tolist()

    def change(chosen: Tensor, *values: Tensor) -> Tensor:
        changed: Tensor = operation.apply_transform(chosen, dict(zip(params, values, strict=True)), operation.flags)
        return changed

    return change_rows(views, rows, change, *params.values())


class MultiCrop:
    """Make all views of a batch.

    Args:
        specs: One for each view, the global ones first; neighbours of one size come out as one tensor.
        mean: Of the normalisation, per RGB channel, on the 0 to 1 scale.
        std: Likewise.
        grey: Canvases have one channel; everything runs on one, repeated to three at the very end.
        seed: Of all random numbers, at least 0.
    """

    def __init__(
        self,
        specs: Sequence[ViewSpec],
        *,
        mean: tuple[float, float, float],
        std: tuple[float, float, float],
        grey: bool,
        seed: int,
    ) -> None:
        self.count = len(specs)
        self._kinds: list[tuple[ViewPipeline, range]] = []  # views of the same kind are made together
        for spec, same in groupby(specs):
            first = self._kinds[-1][1].stop if self._kinds else 0
            self._kinds.append((ViewPipeline(spec, grey), range(first, first + len(list(same)))))
        self._mean, self._std, self._seed = mean, std, seed

    @torch.no_grad()
    def __call__(
        self, pixels_BCHW: Tensor, sizes_B2: Tensor, *, step: int, start: int, global_batch: int
    ) -> list[Tensor]:
        """Make the views of one slice of the global batch.

        Args:
            pixels_BCHW: uint8 or uint16 canvases, padded to the largest image, on the device that does the work.
            sizes_B2: True height and width of each image, pixels, best on the CPU: boxes are worked out there.
            step: Training step.
            start: Place of the first of these images in the global batch.
            global_batch: Images of the step, over all processes and slices.

        Returns:
            One (V*B, 3, S, S) float32 tensor per resolution, normalised, view-major (all images of view 1, then all of
            view 2, ...): [globals (2B), locals (L*B)]. One tensor if they have the same size or there are no locals.

        Raises:
            ValueError: If these images reach beyond the global batch.
        """
        where = (pixels_BCHW, sizes_B2, step, start, global_batch)
        finish = partial(normalise, mean=self._mean, std=self._std)
        made = [(pipeline.size, self._make(pipeline, views, *where, finish)) for pipeline, views in self._kinds]
        sizes = [[views for _, views in same] for _, same in groupby(made, key=itemgetter(0))]
        return [kinds[0] if len(kinds) == 1 else torch.cat(kinds) for kinds in sizes]

    @torch.no_grad()
    def preview(self, pixels_BCHW: Tensor, sizes_B2: Tensor, *, step: int) -> list[NDArray[np.uint8]]:
        """Show what the network sees, before normalisation, for a picture.

        Args:
            pixels_BCHW: uint8 or uint16 canvases.
            sizes_B2: True height and width of each image, pixels.
            step: Training step.

        Returns:
            One (B, S, S, 3) array for each view: global 1, global 2, locals. These are the views of `step` itself where
            the global batch is these images.
        """
        count = len(pixels_BCHW)
        made = [
            self._make(pipeline, views, pixels_BCHW, sizes_B2, step, 0, count, _picture)
            for pipeline, views in self._kinds
        ]
        return [view.cpu().numpy() for kind in made for view in kind.view(-1, count, *kind.shape[1:])]

    def _make(
        self,
        pipeline: ViewPipeline,
        views: range,
        pixels_BCHW: Tensor,
        sizes_B2: Tensor,
        step: int,
        start: int,
        global_batch: int,
        finish: Callable[[Tensor], Tensor],
    ) -> Tensor:
        """Draw for the whole global batch, keep the rows of these images, and make their views of one kind."""
        end = start + len(pixels_BCHW)
        if end > global_batch:
            raise ValueError(f"images {start} to {end} of a global batch of {global_batch}")
        drawn = [
            [
                {name: value[start:end] for name, value in params.items()}
                for params in pipeline.draw(global_batch, (self._seed, step, view))
            ]
            for view in views
        ]
        return pipeline.views(pixels_BCHW, sizes_B2, drawn, finish)


def _picture(views_nCSS: Tensor) -> Tensor:
    """Turn views in [0, 1] into bytes, channels last, as pictures are."""
    return views_nCSS.expand(-1, 3, -1, -1).mul(255).round().byte().permute(0, 2, 3, 1)
