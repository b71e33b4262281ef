"""Canvases of any size -> the normalised input that a backbone is evaluated at, for every command that embeds.

A CPU resizes with PIL in the reading threads, a GPU a whole batch at once. Both are the same bicubic.

Shapes: B images, C channels, S pixels of the square's side.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from dinocli.augment.draw import send
from dinocli.augment.resample import normalise, resize_square
from dinocli.config.preprocess import Preprocess
from dinocli.data.read import STRIP_RATIO, Canvas

CANVAS_PER_SIDE = 2
"""Pixels of a canvas's shorter side for each of the square's: what recipes keep for training (448 for 224)."""

CONVNET_CELL = 32
"""Pixels of one cell of the last map: those of nearly all convnets."""


def squares(canvases: list[Canvas], preprocess: Preprocess, device: torch.device) -> Tensor:
    """Squash canvases of any sizes to the square of evaluation and normalise them, as the guard of a run does.

    Canvases of the same size go together and nothing is padded: one large image costs nothing but itself.

    Returns:
        (B, C, S, S) float32 on the device.
    """
    side = preprocess.size
    if canvases[0].dtype == np.float32:
        return normalise(send(torch.from_numpy(np.stack(canvases)), device), preprocess.mean, preprocess.std)
    shapes: dict[tuple[int, ...], list[int]] = {}
    for place, canvas in enumerate(canvases):
        shapes.setdefault(canvas.shape, []).append(place)
    squares_BCSS = torch.cat([_resized([canvases[place] for place in same], side, device) for same in shapes.values()])
    order = torch.tensor([place for same in shapes.values() for place in same])
    if len(shapes) > 1:
        squares_BCSS = squares_BCSS[send(order.argsort(), device)]
    return normalise(squares_BCSS, preprocess.mean, preprocess.std)


def _resized(canvases: list[Canvas], side: int, device: torch.device) -> Tensor:
    """Resize canvases of one size."""
    pixels_BCHW = send(torch.from_numpy(np.stack(canvases)), device)
    sizes_B2 = torch.tensor([canvases[0].shape[1:]]).expand(len(canvases), 2)
    return resize_square(pixels_BCHW, sizes_B2, side)


def squashed(canvas: Canvas, size: tuple[int, int]) -> NDArray[np.float32]:
    """Do to one canvas what `resize_square` does, by PIL, in float32 and so without its 8-bit rounding.

    Args:
        canvas: uint8 or uint16.
        size: (h, w) of the result.
    """
    planes = [Image.fromarray(plane.astype(np.float32)) for plane in canvas]
    square = np.stack([np.asarray(plane.resize(size[::-1], Image.Resampling.BICUBIC)) for plane in planes])
    square *= np.float32(1 / np.iinfo(canvas.dtype).max)
    return np.clip(square, 0, 1, out=square)


def grouped(canvases: list[Canvas]) -> list[list[int]]:
    """Return the places of canvases that can be computed together: threads may have left them at different sizes."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for place, canvas in enumerate(canvases):
        groups.setdefault(canvas.shape if canvas.dtype == np.float32 else (), []).append(place)
    return list(groups.values())


def fitted(height: int, width: int, side: int, cell: int) -> tuple[int, int]:
    """Return (h, w) with about the aspect of an image: the shorter side is `side`, both are whole cells.

    A strip is not followed beyond 2.5 times its shorter side: what a transformer costs grows with the square of it.
    """
    scale = side / min(height, width)
    most = int(STRIP_RATIO * side) // cell
    rows, columns = (min(max(1, round(length * scale / cell)), most) * cell for length in (height, width))
    return rows, columns


def input_size(canvas: Canvas, side: int, cell: int) -> tuple[int, int]:
    """Return the (h, w) that a canvas is resized to: of about its aspect, or the square where `cell` is 0."""
    _, height, width = canvas.shape
    return fitted(height, width, side, cell) if cell else (side, side)
