"""Resize canvases to the normalised input of a backbone, for every command that extracts features.

On a CPU PIL resizes in the reading threads, on a GPU a whole batch is resized at once. Both use the same bicubic
kernel.

Shapes: B images, C channels, S pixels of the square's side.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from dinocli.augment.draw import to_device
from dinocli.augment.resample import normalise, resize_square
from dinocli.config.preprocess import Preprocess
from dinocli.data.canvas import STRIP_RATIO, Canvas
from dinocli.data.loader import Loader

CANVAS_PER_SIDE = 2
"""Shorter side of a canvas relative to the side of the square, as in the recipes for training (448 for 224)."""

CONVNET_CELL = 32
"""Stride of the last feature map of nearly all convnets, pixels."""


def squares(canvases: list[Canvas], preprocess: Preprocess, device: torch.device) -> Tensor:
    """Resize canvases of any sizes to the evaluation square and normalise them, as in the guard of a run.

    Canvases of equal size are batched, without padding, so that one large image does not slow down the others.

    Returns:
        (B, C, S, S) float32 on the device.
    """
    side = preprocess.size
    if canvases[0].dtype == np.float32:
        return normalise(to_device(torch.from_numpy(np.stack(canvases)), device), preprocess.mean, preprocess.std)
    shapes: dict[tuple[int, ...], list[int]] = {}
    for place, canvas in enumerate(canvases):
        shapes.setdefault(canvas.shape, []).append(place)
    squares_BCSS = torch.cat([_resized([canvases[place] for place in same], side, device) for same in shapes.values()])
    order = torch.tensor([place for same in shapes.values() for place in same])
    if len(shapes) > 1:
        squares_BCSS = squares_BCSS[to_device(order.argsort(), device)]
    return normalise(squares_BCSS, preprocess.mean, preprocess.std)


def square_batches(
    loader: Loader, indices: Sequence[int], preprocess: Preprocess, size: int
) -> Iterator[tuple[Tensor, list[int]]]:
    """Yield whole images of a store at the evaluation square, normalised, (B, C, S, S), with their indices.

    Args:
        loader: Source of the images; while streaming, unreadable files are left out.
        indices: Indices of the images in the store.
        preprocess: Size and normalisation.
        size: Images per batch.
    """
    for batch in loader.batches(indices, size):
        square_BCSS = resize_square(batch.pixels_BCHW, batch.sizes_B2, preprocess.size)
        yield normalise(square_BCSS, preprocess.mean, preprocess.std), batch.rows


def _resized(canvases: list[Canvas], side: int, device: torch.device) -> Tensor:
    """Resize canvases of equal size."""
    pixels_BCHW = to_device(torch.from_numpy(np.stack(canvases)), device)
    sizes_B2 = torch.tensor([canvases[0].shape[1:]]).expand(len(canvases), 2)
    return resize_square(pixels_BCHW, sizes_B2, side)


def squashed(canvas: Canvas, size: tuple[int, int]) -> NDArray[np.float32]:
    """Resize one canvas like `resize_square`, with PIL in float32, which avoids its 8-bit rounding.

    Args:
        canvas: Canvas, uint8 or uint16.
        size: (h, w) of the result.
    """
    planes = [Image.fromarray(plane.astype(np.float32)) for plane in canvas]
    square = np.stack([np.asarray(plane.resize(size[::-1], Image.Resampling.BICUBIC)) for plane in planes])
    square *= np.float32(1 / np.iinfo(canvas.dtype).max)
    return np.clip(square, 0, 1, out=square)


def inputs_by_size(
    canvases: Sequence[Canvas], preprocess: Preprocess, device: torch.device
) -> Iterator[tuple[list[int], Tensor]]:
    """Yield the indices and `squares` of canvases that can be batched: resized ones by shape, all others together."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for place, canvas in enumerate(canvases):
        groups.setdefault(canvas.shape if canvas.dtype == np.float32 else (), []).append(place)
    for places in groups.values():
        yield places, squares([canvases[place] for place in places], preprocess, device)


def aspect_size(height: int, width: int, side: int, cell: int) -> tuple[int, int]:
    """Return (h, w) with about the aspect ratio of an image: the shorter side is `side`, both are multiples of `cell`.

    The longer side is at most 2.5 times the shorter one, since the cost of a transformer grows with its square.
    """
    scale = side / min(height, width)
    max_cells = int(STRIP_RATIO * side) // cell
    rows, columns = (min(max(1, round(length * scale / cell)), max_cells) * cell for length in (height, width))
    return rows, columns


def input_size(canvas: Canvas, side: int, cell: int) -> tuple[int, int]:
    """Return the (h, w) to which a canvas is resized: about its aspect ratio, or the square if `cell` is 0."""
    _, height, width = canvas.shape
    return aspect_size(height, width, side, cell) if cell else (side, side)
