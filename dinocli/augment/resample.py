"""Antialiased resampling as two matrix products per image, each image with its own box, in one batch.

PIL's bicubic, to the rounding of its 8 bits: 58 dB, where a warp without antialias reaches 22 to 25 dB and lets fine
texture fold into patterns that the resize of an evaluation never shows. Price of the dense product, against torch's
antialiased resize of one box (one core, colour): 1.8 and 1.2 ms for 375 -> 224 pixels, 0.2 and 0.3 ms for 200 -> 96.
In return a GPU does all boxes of a batch at once.

Legend: B images, V views of each, n = V * B boxes, C channels, H W pixels of the canvas (padded to the largest image),
S pixels of the output side, T taps (source pixels that one output pixel looks at). Boxes are (top, left, height, width)
in whole pixels.
"""

import contextlib
import math
from collections.abc import Callable, Iterator
from functools import lru_cache

import torch
from torch import Tensor

from dinocli.augment.draw import send

FULL_SCALE = {torch.uint8: 255.0, torch.uint16: 65535.0}  # the dtypes of a canvas, and the value that becomes 1.0
_SUPPORT = 2.0  # pixels on either side that a bicubic looks at, before it is stretched

MOST_BYTES = 4 << 30
"""Memory that the crops of one kind of views take on a device, before they are worked on in pieces."""


def dense(index_BST: Tensor, weight_BST: Tensor, width: int) -> Tensor:
    """Spread taps into rows of a matrix; taps with the same index add up.

    Args:
        index_BST: Source pixel of each tap, in [0, width).
        weight_BST: Its weight.
        width: Source pixels.

    Returns:
        (B, S, width), as `separable` takes it.
    """
    matrix = torch.zeros(*index_BST.shape[:2], width, device=weight_BST.device)
    return matrix.scatter_add_(2, index_BST, weight_BST)


def separable(pixels_BCHW: Tensor, rows_BSH: Tensor, columns_BSW: Tensor) -> Tensor:
    """Apply one matrix along the height and one along the width of each image.

    Outside autocast whatever the caller does: 16 bits would cost up to one grey level on smooth surfaces.

    Returns:
        (B, C, S, S) float32.
    """
    channels, height = pixels_BCHW.shape[1:3]
    with torch.autocast(pixels_BCHW.device.type, enabled=False):
        # All channels and rows of an image in one product: the width first, since it is the contiguous axis.
        narrow = torch.bmm(pixels_BCHW.flatten(1, 2), columns_BSW.mT)
        return torch.matmul(rows_BSH[:, None], narrow.view(-1, channels, height, narrow.shape[2]))


def _bicubic(distance: Tensor) -> Tensor:
    """Keys' kernel with a = -0.5 (PIL, and torch with antialias); torch without antialias has -0.75."""
    x = distance.abs()
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x < 1, near, torch.where(x < _SUPPORT, far, 0.0))


def _taps(start: Tensor, length: Tensor, mirror: Tensor, size: int, count: int) -> tuple[Tensor, Tensor]:
    """Source pixels and weights along axes.

    Args:
        start: First pixel of each box, (..., 1, 1).
        length: Pixels of each box, (..., 1, 1).
        mirror: Whether the axis is reversed, (..., 1, 1): an output pixel then takes the taps of its mirror image.
        size: Output pixels.
        count: Of `_tap_count`.

    Returns:
        Index (..., S, T) into the canvas and weight (..., S, T), whose rows still have to be made to add up to 1.
    """
    scale = length / size
    stretch = scale.clamp(min=1.0)  # antialias: a shrinking kernel covers the pixels it replaces
    place = torch.arange(size, device=start.device).view(-1, 1)
    centre = (torch.where(mirror, size - 1 - place, place) + 0.5) * scale
    tap = torch.floor(centre - _SUPPORT * stretch) + torch.arange(count, device=start.device)
    inside = (tap >= 0) & (tap < length)  # the box ends there, as if it had been cut out first
    weight = torch.where(inside, _bicubic((tap + 0.5 - centre) / stretch), 0.0)
    return (start + torch.minimum(tap.clamp(min=0), length - 1)).long(), weight


def _tap_count(length: float, size: int) -> int:
    """Return how many source pixels one output pixel looks at, where boxes are at most this number of pixels long."""
    return math.ceil(2 * _SUPPORT * max(1.0, length / size)) + 1


def resample(pixels_BCHW: Tensor, boxes_B4: Tensor, size: int, mirror_B2: Tensor) -> Tensor:
    """Cut a box out of each image and resize it to a square, antialiased.

    On a CPU one image at a time: it stays in the cache, only its own box is read, and its bits cannot depend on its
    neighbours in the batch. Elsewhere all at once.

    Args:
        pixels_BCHW: uint8 or uint16 canvases; what lies outside a box is never looked at.
        boxes_B4: Top, left, height, width, whole pixels, on the CPU: their extent decides what is read.
        size: Output side, pixels.
        mirror_B2: Whether to reverse the rows (up-down) and the columns (left-right), bool, on the CPU.

    Returns:
        (B, C, size, size) float32 in [0, 1], on the device of the pixels.
    """
    if pixels_BCHW.device.type != "cpu":
        geometry_B6 = send(torch.cat([boxes_B4, mirror_B2], dim=1).float(), pixels_BCHW.device)
        views = cut(pixels_BCHW, geometry_B6, size, int(boxes_B4[:, 2:].max()))
        return to_unit(views[:, 0].permute(0, 2, 3, 1), pixels_BCHW.dtype)
    views = torch.empty(*pixels_BCHW.shape[:2], size, size)
    count = _tap_count(float(boxes_B4[:, 2:].max()), size)
    axes = []
    for axis in (0, 1):
        start_B, length_B, mirror_B = boxes_B4[:, axis], boxes_B4[:, 2 + axis], mirror_B2[:, axis]
        index, weight = _taps(start_B.view(-1, 1, 1), length_B.view(-1, 1, 1), mirror_B.view(-1, 1, 1), size, count)
        # Summed strictly in order: trailing zeros, which depend on the largest box of the batch, then change no bit.
        axes.append((index, weight / weight.cumsum(-1)[..., -1:]))
    for number, (low_2, size_2) in enumerate(boxes_B4.view(-1, 2, 2).tolist()):
        high_2 = [low + length for low, length in zip(low_2, size_2, strict=True)]
        window = pixels_BCHW[number : number + 1, :, low_2[0] : high_2[0], low_2[1] : high_2[1]].float()
        rows, columns = (
            dense(index[number : number + 1] - low, weight[number : number + 1], length)
            for (index, weight), low, length in zip(axes, low_2, size_2, strict=True)
        )
        views[number] = separable(window, rows, columns)[0]
    return to_unit(views, pixels_BCHW.dtype)


def to_unit(views_BCSS: Tensor, dtype: torch.dtype) -> Tensor:
    """Bring values of a canvas's dtype to [0, 1], in place; a bicubic overshoots at edges."""
    return views_BCSS.div_(FULL_SCALE[dtype]).clamp_(0, 1)


def box_weights(geometry_n6: Tensor, size: int, count: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Turn boxes into the matrices that resize them, on their device; a function that can be compiled.

    Args:
        geometry_n6: Top, left, height, width, up-down, left-right; float32.
        size: Output side, pixels.
        count: Of `_tap_count`.
        height: Of the canvas, pixels.
        width: Of the canvas, pixels.

    Returns:
        Rows (n, S, H) and columns (n, S, W).
    """
    start_2n11, length_2n11, mirror_2n11 = geometry_n6.view(-1, 3, 2).permute(1, 2, 0)[..., None, None]
    index_2nST, weight_2nST = _taps(start_2n11, length_2n11, mirror_2n11 > 0.5, size, count)
    weight_2nST = weight_2nST / weight_2nST.sum(-1, keepdim=True)
    return dense(index_2nST[0], weight_2nST[0], height), dense(index_2nST[1], weight_2nST[1], width)


def cut(
    pixels_BCHW: Tensor,
    geometry_n6: Tensor,
    size: int,
    longest: int,
    weights: Callable[[Tensor, int, int, int, int], tuple[Tensor, Tensor]] = box_weights,
) -> Tensor:
    """Cut several boxes out of each image and resize them, without the host waiting for the device.

    All boxes of an image share one product along the width, and what that gives is laid out as the product along the
    height takes it: nothing is copied in between.

    Args:
        pixels_BCHW: uint8 or uint16 canvases.
        geometry_n6: Top, left, height, width, up-down, left-right; float32, on the device, view-major.
        size: Output side, pixels.
        longest: Pixels of the longest side of a box.
        weights: `box_weights` or what it was compiled to.

    Returns:
        (B, V, size, C, size) float32 on the scale of the canvas: columns of the view before its channels and rows.
    """
    (images, channels, height, width), count = pixels_BCHW.shape, _tap_count(longest, size)
    views = len(geometry_n6) // images
    each = 4 * (channels * height * width + views * size * (width + channels * height + height + channels * size))
    step = max(1, MOST_BYTES // each)
    geometry_BV6 = geometry_n6.view(views, images, 6).transpose(0, 1)
    pieces = []
    for first in range(0, images, step):
        canvas_BCHW = pixels_BCHW[first : first + step].float()
        geometry = geometry_BV6[first : first + step].reshape(-1, 6)
        rows_nSH, columns_nSW = weights(geometry, size, count, height, width)
        with torch.autocast(pixels_BCHW.device.type, enabled=False), tensor_cores(pixels_BCHW.dtype == torch.uint8):
            narrow_Bmk = torch.bmm(columns_nSW.view(len(canvas_BCHW), -1, width), canvas_BCHW.flatten(1, 2).mT)
            views_nkS = torch.bmm(narrow_Bmk.view(len(rows_nSH), size * channels, height), rows_nSH.mT)
        pieces.append(views_nkS.view(-1, views, size, channels, size))
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces)


@contextlib.contextmanager
def tensor_cores(allowed: bool) -> Iterator[None]:
    """Let float32 products of a GPU take TF32: ten bits of every factor.

    Pixels of 8 bits are exact in it and the weights nearly: a crop stays within PIL's own rounding. Deeper pixels are
    not, and keep float32.
    """
    matmul = torch.backends.cuda.matmul
    before = matmul.fp32_precision
    matmul.fp32_precision = "tf32" if allowed else "ieee"
    try:
        yield
    finally:
        matmul.fp32_precision = before


@torch.no_grad()
def resize_square(pixels_BCHW: Tensor, sizes_B2: Tensor, size: int) -> Tensor:
    """Resize whole images to a square for evaluation, with the antialiased kernel of the training crops; none is cut.

    Args:
        pixels_BCHW: uint8 or uint16 canvases, padded to the largest image.
        sizes_B2: True height and width of each image, pixels.
        size: Output side, pixels.

    Returns:
        (B, C, size, size) float32 in [0, 1].
    """
    sizes_B2 = sizes_B2.cpu()
    boxes_B4 = torch.cat([torch.zeros_like(sizes_B2), sizes_B2], dim=1)
    return resample(pixels_BCHW, boxes_B4, size, torch.zeros_like(sizes_B2, dtype=torch.bool))


def normalise(views_BCSS: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Subtract the mean and divide by the standard deviation of each channel; one channel becomes all of them.

    Args:
        views_BCSS: In [0, 1], with one channel or as many as the mean has.
        mean: Per channel, on the 0 to 1 scale.
        std: Standard deviation of the normalisation, per channel.

    Returns:
        (B, C, S, S), C as the mean has it: 3 for grey and RGB.
    """
    mean_C11, std_C11 = constants(mean, std, views_BCSS.device)
    return (views_BCSS - mean_C11).div_(std_C11)


@lru_cache
def constants(mean: tuple[float, ...], std: tuple[float, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """Keep mean and deviation on a device, (C, 1, 1) each: sending them makes the host wait."""
    with torch.inference_mode(False):
        mean_C, std_C = (torch.tensor(values, device=device) for values in (mean, std))
    return mean_C.view(-1, 1, 1), std_C.view(-1, 1, 1)
