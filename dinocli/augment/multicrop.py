"""Multi-crop: two global and several local views of each image, cropped, augmented and normalised on the device.

Views are view-major. A view is a function of (seed, step, view, position in the global batch) only, so that ranks,
slices and resuming do not change it (bit-equal on a CPU).

Legend: B images of this call, N of the global batch, V views, L local views, C channels, S pixels of a view's side.
"""

from collections.abc import Sequence
from functools import partial
from itertools import groupby

import numpy as np
import torch
from kornia.augmentation import IntensityAugmentationBase2D
from numpy.typing import NDArray
from torch import Tensor
from torch.profiler import record_function

from dinocli.augment.crop import swapped
from dinocli.augment.draw import Params, pack, rows, send
from dinocli.augment.focus import Focus
from dinocli.augment.photometric import gated, mix, shift_hue
from dinocli.augment.resample import FULL_SCALE, box_weights, constants, cut, normalise
from dinocli.augment.view_pipeline import ViewPipeline, ViewSpec
from dinocli.augment.view_words import view_words

GLOBAL_VIEWS = 2


class MultiCrop:
    """Multi-crop augmentation of a batch.

    Args:
        specs: One for each view, the global views first; consecutive views of one size are returned as one tensor.
        mean: Mean of the normalisation, per channel, on the 0 to 1 scale. Three channels are RGB; other numbers have no
            colour augmentation.
        std: Standard deviation of the normalisation, per channel.
        grey: Canvases have one channel; it is repeated to all channels in the normalisation.
        seed: Seed of all random numbers, at least 0.
    """

    def __init__(
        self,
        specs: Sequence[ViewSpec],
        *,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        grey: bool,
        seed: int,
    ) -> None:
        self.count = len(specs)
        self._specs, self._grey = specs, grey
        self.focus: Focus | None = None
        """Sampler of crop centres; None for uniform crops."""
        # Views of one kind are drawn and computed together. Each global view is a kind of its own, even with equal
        # specs: an option that makes them differ must not change other draws.
        self._kinds: list[tuple[ViewPipeline, range]] = []
        for _, group in groupby(range(self.count), key=lambda view: (min(view, GLOBAL_VIEWS), specs[view])):
            views = [*group]
            pipeline = ViewPipeline(specs[views[0]], colour=not grey and len(mean) == 3)
            self._kinds.append((pipeline, range(views[0], views[-1] + 1)))
        places = [place for place, _ in enumerate(self._kinds)]
        same_size = [
            list(same) for _, same in groupby(places, key=lambda place: specs[self._kinds[place][1].start].size)
        ]
        self._same_size = [(same[0], same[-1] + 1) for same in same_size]
        self._mean, self._std, self._seed = mean, std, seed
        self._weights, self._begin, self._end = box_weights, begin_views, end_views

    @torch.no_grad()
    def __call__(
        self,
        pixels_BCHW: Tensor,
        sizes_B2: Tensor,
        images: Sequence[int] = (),
        /,
        *,
        step: int,
        start: int,
        global_batch: int,
    ) -> list[Tensor]:
        """Return the views of one slice of the global batch.

        Args:
            pixels_BCHW: uint8 or uint16 canvases, padded to the largest image, on the device for the computation.
            sizes_B2: True height and width of each image, pixels, preferably on the CPU, where boxes are computed.
            images: Index of each image in the folder, for `focus`.
            step: Training step.
            start: Position of the first of these images in the global batch.
            global_batch: Number of images of the step, over all processes and slices.

        Returns:
            One (V*B, C, S, S) float32 tensor per resolution, normalised, view-major (all images of view 1, then all of
            view 2, ...): [global views (2B), local views (L*B)]; one tensor if sizes are equal or there are no local
            views.

        Raises:
            ValueError: The slice extends beyond the global batch.
        """
        drawn = self._draw(sizes_B2, step, start, global_batch, images)
        if pixels_BCHW.device.type != "cpu":
            return self._batched(pixels_BCHW, sizes_B2, drawn)
        finish = partial(normalise, mean=self._mean, std=self._std)
        views_of_sizes = [
            kind.views(pixels_BCHW, sizes_B2, draw, finish) for (kind, _), draw in zip(self._kinds, drawn, strict=True)
        ]
        return [
            torch.cat(views_of_sizes[first:last]) if last - first > 1 else views_of_sizes[first]
            for first, last in self._same_size
        ]

    def only_global(self) -> "MultiCrop":
        """Return a multi-crop of the global views only, which gives the same global views as this one."""
        views = MultiCrop(self._specs[:GLOBAL_VIEWS], mean=self._mean, std=self._std, grey=self._grey, seed=self._seed)
        views.focus = self.focus
        return views

    @torch.no_grad()
    def preview(
        self, pixels_BCHW: Tensor, sizes_B2: Tensor, *, step: int, images: Sequence[int] = ()
    ) -> list[NDArray[np.uint8]]:
        """Return the views as 8-bit images, before normalisation, for display.

        Args:
            pixels_BCHW: uint8 or uint16 canvases.
            sizes_B2: True height and width of each image, pixels.
            step: Training step.
            images: Number of each image in the folder, for `focus`.

        Returns:
            One (B, C, S, S) array for each view: global 1, global 2, local views. They are those of training step
            `step` if these images are the global batch; `dinocli.data.read.rgb` converts them for display.
        """
        pixels_BCHW, count = pixels_BCHW.cpu(), len(pixels_BCHW)
        drawn = self._draw(sizes_B2, step, 0, count, images)
        views_of_sizes = [
            kind.views(pixels_BCHW, sizes_B2, draw, lambda views_nCSS: views_nCSS.mul(255).round().byte())
            for (kind, _), draw in zip(self._kinds, drawn, strict=True)
        ]
        return [view.numpy() for kind in views_of_sizes for view in kind.view(-1, count, *kind.shape[1:])]

    def describe(self, sizes_B2: Tensor, *, step: int, images: Sequence[int] = ()) -> list[list[str]]:
        """Return captions of the images of `preview`: for each view and each image the lines of `view_words`."""
        drawn = self._draw(sizes_B2, step, 0, len(sizes_B2), images)
        return [
            view_words(kind.crop, draw, view, sizes_B2)
            for (kind, views), draw in zip(self._kinds, drawn, strict=True)
            for view in range(len(views))
        ]

    def compile(self) -> None:
        """Compile the operations on a device with torch.compile.

        Five functions instead of one: the turns of the jitter share one graph, and so do all view sizes.
        """
        compiled = {name: torch.compile(work, dynamic=True) for name, work in (("mix", mix), ("shift_hue", shift_hue))}
        self._weights = torch.compile(box_weights, dynamic=True)
        self._begin = torch.compile(begin_views, dynamic=True)
        self._end = torch.compile(end_views, dynamic=True)
        for kind, _ in self._kinds:
            vars(kind.changes[0]).update(compiled)

    def _draw(
        self, sizes_B2: Tensor, step: int, start: int, global_batch: int, images: Sequence[int] = ()
    ) -> list[list[Params]]:
        """Draw for the whole global batch and return the parameters of this slice: for each kind, (V, B, ...)."""
        end = start + len(sizes_B2)
        if end > global_batch:
            raise ValueError(f"images {start} to {end} of a global batch of {global_batch}")
        drawn = [
            [
                {name: value[:, start:end] for name, value in params.items()}
                for params in kind.draw(len(views), global_batch, (self._seed, step, views.start))
            ]
            for kind, views in self._kinds
        ]
        if self.focus:
            for (_, views), (crop, *_) in zip(self._kinds, drawn, strict=True):
                key = (self._seed, step, views.start)
                crop["centre"] = self.focus.centres(
                    images, views=len(views), start=start, global_batch=global_batch, key=key
                )
        return drawn

    def _batched(self, pixels_BCHW: Tensor, sizes_B2: Tensor, drawn: list[list[Params]]) -> list[Tensor]:
        """Compute the views on a device, all of one size at once, from one packed table of parameters."""
        flat = []
        for (kind, views), (crop, *changes) in zip(self._kinds, drawn, strict=True):
            sizes_n2 = sizes_B2.cpu().repeat(len(views), 1)
            flat.append([kind.crop.geometry(rows(crop), sizes_n2), *map(rows, changes)])
            flat[-1][1] = kind.changes[0].turns(flat[-1][1])
        packed, layout = pack(flat)
        table_nF = send(packed, pixels_BCHW.device)
        params = layout.unpack(table_nF)
        mean_C11, std_C11 = constants(self._mean, self._std, pixels_BCHW.device)
        views_of_sizes, done = [], 0
        for first, last in self._same_size:
            kind, boxes = self._kinds[first][0], torch.cat([own[0]["box"] for own in flat[first:last]])
            part = slice(done, done + len(boxes))
            done = part.stop
            geometry, jitter, *others = ({name: value[part] for name, value in own.items()} for own in params)
            longest = int(boxes[:, 2:].max())
            with record_function("crop"):
                crops = cut(pixels_BCHW, table_nF[part, :6], kind.crop.flags["size"], longest, self._weights)
            with record_function("photometric"):
                views_nCSS = self._begin(crops, geometry["swap"], FULL_SCALE[pixels_BCHW.dtype])
                views_nCSS = kind.changes[0].apply_transform(views_nCSS, jitter, kind.changes[0].flags)
                views_of_sizes.append(self._end(views_nCSS, others, kind.changes[1:], mean_C11, std_C11))
        return views_of_sizes


def begin_views(crops_BVSCS: Tensor, swap_n: Tensor, full_scale: float) -> Tensor:
    """Rearrange crops on a device to view-major order and scale them to [0, 1].

    Args:
        crops_BVSCS: Crops from `cut`: columns before channels and rows.
        swap_n: Whether to transpose rows and columns.
        full_scale: Value of the canvas that becomes 1.

    Returns:
        (n, C, S, S).
    """
    views_nCSS = crops_BVSCS.permute(1, 0, 3, 4, 2).flatten(0, 1)
    return (swapped(views_nCSS, swap_n) / full_scale).clamp(0, 1)


def end_views(
    views_nCSS: Tensor,
    params: Sequence[Params],
    changes: Sequence[IntensityAugmentationBase2D],
    mean_C11: Tensor,
    std_C11: Tensor,
) -> Tensor:
    """Apply the operations after the jitter to views on a device, and normalise them.

    Args:
        views_nCSS: Views in [0, 1].
        params: Parameters of each operation, on the device.
        changes: Kornia operations in order.
        mean_C11: Mean of the normalisation, per channel.
        std_C11: Standard deviation of the normalisation, per channel.

    Returns:
        (n, C, S, S).
    """
    for operation, values in zip(changes, params, strict=True):
        views_nCSS = gated(operation, views_nCSS, values)
    return (views_nCSS - mean_C11) / std_C11
