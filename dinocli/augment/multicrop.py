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

from dinocli.augment.colour_jitter import blend, shift_hue
from dinocli.augment.crop import transposed
from dinocli.augment.draw import Params, draw, pack, to_device, view_major
from dinocli.augment.focus import Focus
from dinocli.augment.photometric import apply_chosen
from dinocli.augment.resample import FULL_SCALE, box_weights, crop_boxes, mean_and_std, normalise
from dinocli.augment.view_captions import view_captions
from dinocli.augment.view_pipeline import ViewPipeline, ViewSpec

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
        self.focus: Focus | None = None
        """Sampler of crop centres; None for uniform crops."""
        self._specs, self._mean, self._std, self._grey, self._seed = specs, mean, std, grey, seed
        # Views of one kind are drawn and computed together. Each global view is a kind of its own, even with equal
        # specs: an option that makes them differ must not change other draws.
        self._kinds = [
            ViewPipeline(specs[views.start], range(views.start, views.stop), colour=not grey and len(mean) == 3)
            for views in _runs([(min(view, GLOBAL_VIEWS), spec) for view, spec in enumerate(specs)])
        ]
        self._same_size = _runs([kind.size for kind in self._kinds])
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
        drawn = self._draw(sizes_B2, images, step, start, global_batch)
        if pixels_BCHW.device.type != "cpu":
            return self._views_on_device(pixels_BCHW, sizes_B2, drawn)
        finish = partial(normalise, mean=self._mean, std=self._std)
        views = [
            kind.views(pixels_BCHW, sizes_B2, params, finish) for kind, params in zip(self._kinds, drawn, strict=True)
        ]
        return [torch.cat(views[same]) if len(views[same]) > 1 else views[same.start] for same in self._same_size]

    def only_global(self) -> "MultiCrop":
        """Return a multi-crop of the global views only, which gives the same global views as this one."""
        views = MultiCrop(self._specs[:GLOBAL_VIEWS], mean=self._mean, std=self._std, grey=self._grey, seed=self._seed)
        views.focus = self.focus
        return views

    @torch.no_grad()
    def preview(
        self, pixels_BCHW: Tensor, sizes_B2: Tensor, images: Sequence[int] = (), *, step: int
    ) -> list[NDArray[np.uint8]]:
        """Return the views as 8-bit images, before normalisation, for display.

        Args:
            pixels_BCHW: uint8 or uint16 canvases.
            sizes_B2: True height and width of each image, pixels.
            images: Index of each image in the folder, for `focus`.
            step: Training step.

        Returns:
            One (B, C, S, S) array for each view: global 1, global 2, local views. They are those of training step
            `step` if these images are the global batch; `dinocli.data.read.rgb` converts them for display.
        """
        pixels_BCHW, count = pixels_BCHW.cpu(), len(pixels_BCHW)
        drawn = self._draw(sizes_B2, images, step, 0, count)
        views_of_kinds = [
            kind.views(pixels_BCHW, sizes_B2, params, lambda views_nCSS: views_nCSS.mul(255).round().byte())
            for kind, params in zip(self._kinds, drawn, strict=True)
        ]
        return [view.numpy() for views in views_of_kinds for view in views.view(-1, count, *views.shape[1:])]

    def describe(self, sizes_B2: Tensor, images: Sequence[int] = (), *, step: int) -> list[list[str]]:
        """Return captions of the images of `preview`: for each view and each image the lines of `view_captions`."""
        drawn = self._draw(sizes_B2, images, step, 0, len(sizes_B2))
        return [
            view_captions(kind.crop, params, view, sizes_B2)
            for kind, params in zip(self._kinds, drawn, strict=True)
            for view in range(len(kind.indices))
        ]

    def compile(self) -> None:
        """Compile the operations on a device with torch.compile.

        Five functions instead of one: the turns of the jitter share one graph, and so do all view sizes.
        """
        self._weights = torch.compile(box_weights, dynamic=True)
        self._begin = torch.compile(begin_views, dynamic=True)
        self._end = torch.compile(end_views, dynamic=True)
        for kind in self._kinds:
            kind.jitter.blend = torch.compile(blend, dynamic=True)
            kind.jitter.shift_hue = torch.compile(shift_hue, dynamic=True)

    def _draw(
        self, sizes_B2: Tensor, images: Sequence[int], step: int, start: int, global_batch: int
    ) -> list[list[Params]]:
        """Draw for the whole global batch and return the parameters of this slice: for each kind, (V, B, ...)."""
        end = start + len(sizes_B2)
        if end > global_batch:
            raise ValueError(f"images {start} to {end} of a global batch of {global_batch}")
        drawn = []
        for kind in self._kinds:
            key, views = (self._seed, step, kind.indices.start), len(kind.indices)
            params = [
                {name: value[:, start:end] for name, value in operation.items()}
                for operation in draw(kind.operations, views, global_batch, key)
            ]
            if self.focus:
                params[0]["centre"] = self.focus.centres(
                    images, views=views, start=start, global_batch=global_batch, key=key
                )
            drawn.append(params)
        return drawn

    def _views_on_device(self, pixels_BCHW: Tensor, sizes_B2: Tensor, drawn: list[list[Params]]) -> list[Tensor]:
        """Compute the views on a device, all of one size at once, from one packed table of parameters."""
        tables = []
        for kind, (crop, jitter, *others) in zip(self._kinds, drawn, strict=True):
            geometry = kind.crop.geometry(view_major(crop), sizes_B2.cpu().repeat(len(kind.indices), 1))
            tables.append([geometry, kind.jitter.split_at_hue(view_major(jitter)), *map(view_major, others)])
        packed, layout = pack(tables)
        table_nF = to_device(packed, pixels_BCHW.device)
        params = layout.unpack(table_nF)
        mean_C11, std_C11 = mean_and_std(self._mean, self._std, pixels_BCHW.device)
        views_of_sizes, first = [], 0
        for same in self._same_size:
            kind, boxes_n4 = self._kinds[same.start], torch.cat([geometry["box"] for geometry, *_ in tables[same]])
            part = slice(first, first + len(boxes_n4))
            first = part.stop
            geometry, jitter, *others = ({name: value[part] for name, value in own.items()} for own in params)
            longest = int(boxes_n4[:, 2:].max())
            with record_function("crop"):
                crops = crop_boxes(pixels_BCHW, table_nF[part, :6], kind.size, longest, self._weights)
            with record_function("photometric"):
                views_nCSS = self._begin(crops, geometry["swap"], FULL_SCALE[pixels_BCHW.dtype])
                views_nCSS = kind.jitter.apply_transform(views_nCSS, jitter, kind.jitter.flags)
                views_of_sizes.append(self._end(views_nCSS, others, kind.after_jitter, mean_C11, std_C11))
        return views_of_sizes


def _runs(values: Sequence[object]) -> list[slice]:
    """Return the runs of equal consecutive values."""
    groups = [[index for index, _ in group] for _, group in groupby(enumerate(values), key=lambda pair: pair[1])]
    return [slice(group[0], group[-1] + 1) for group in groups]


def begin_views(crops_BVSCS: Tensor, swap_n: Tensor, full_scale: float) -> Tensor:
    """Rearrange crops on a device to view-major order and scale them to [0, 1].

    Args:
        crops_BVSCS: Crops from `crop_boxes`: columns before channels and rows.
        swap_n: Whether to transpose rows and columns.
        full_scale: Value of the canvas that becomes 1.

    Returns:
        (n, C, S, S).
    """
    views_nCSS = crops_BVSCS.permute(1, 0, 3, 4, 2).flatten(0, 1)
    return (transposed(views_nCSS, swap_n) / full_scale).clamp(0, 1)


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
        views_nCSS = apply_chosen(operation, views_nCSS, values)
    return (views_nCSS - mean_C11) / std_C11
