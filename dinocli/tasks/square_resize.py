"""Canvases of any size -> the normalised square that a backbone is evaluated at, for every command that embeds.

A CPU squashes with PIL in the reading threads, a GPU a whole batch at once. Both are the same bicubic.

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
from dinocli.data.read import Canvas

CANVAS_PER_SIDE = 2
"""Pixels of a canvas's shorter side for each of the square's: what recipes keep for training (448 for 224)."""


def squares(canvases: list[Canvas], preprocess: Preprocess, device: torch.device) -> Tensor:
    """Squash canvases of any sizes to the square of evaluation and normalise them, as the guard of a run does.

    Canvases of the same size go together and nothing is padded: one large image costs nothing but itself.

    Returns:
        (B, 3, S, S) float32 on the device.
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
