"""Antialiased resampling as two matrix products per image, each image with its own box, in one batch.

PIL's bicubic, to the rounding of its 8 bits: 58 dB, where a warp without antialias reaches 22 to 25 dB and lets fine
texture fold into patterns that the resize of an evaluation never shows. Price of the dense product, against torch's
antialiased resize of one box (one core, colour): 1.8 and 1.2 ms for 375 -> 224 pixels, 0.2 and 0.3 ms for 200 -> 96.
In return a GPU does all boxes of a batch at once.

Legend: B images, C channels, H W pixels of the canvas (padded to the largest image), S pixels of the output side,
T taps (source pixels that one output pixel looks at). Boxes are (top, left, height, width) in whole pixels.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

FULL_SCALE = {torch.uint8: 255.0, torch.uint16: 65535.0}  # the dtypes of a canvas, and the value that becomes 1.0
_SUPPORT = 2.0  # pixels on either side that a bicubic looks at, before it is stretched


def chunks(count: int, device: torch.device) -> Iterator[slice]:
    """Cut a batch into the pieces it is worked on in.

    One image at a time on a CPU: it stays in the cache, only its own box is read, and its bits cannot depend on its
    neighbours in the batch. Elsewhere few large pieces, so that starting kernels does not cost more than running them.
    """
    step = 1 if device.type == "cpu" else 64
    return (slice(start, min(start + step, count)) for start in range(0, count, step))


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


def _taps(
    start_B: Tensor, length_B: Tensor, mirror_B: Tensor, size: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Source pixels and weights of one axis.

    Args:
        start_B: First pixel of the box, CPU.
        length_B: Pixels of the box, CPU.
        mirror_B: Whether the axis is reversed, CPU: an output pixel then takes the taps of its mirror image.
        size: Output pixels.
        device: Where the result goes.

    Returns:
        Index (B, S, T) into the canvas and weight (B, S, T), rows adding up to 1.
    """
    count = math.ceil(2 * _SUPPORT * max(1.0, float(length_B.max()) / size)) + 1
    start, length, mirror = (t.to(device, non_blocking=True).view(-1, 1, 1) for t in (start_B, length_B, mirror_B))
    scale = length / size
    stretch = scale.clamp(min=1.0)  # antialias: a shrinking kernel covers the pixels it replaces
    place = torch.arange(size, device=device).view(1, -1, 1)
    centre = (torch.where(mirror, size - 1 - place, place) + 0.5) * scale
    tap = torch.floor(centre - _SUPPORT * stretch) + torch.arange(count, device=device)
    inside = (tap >= 0) & (tap < length)  # the box ends there, as if it had been cut out first
    weight = torch.where(inside, _bicubic((tap + 0.5 - centre) / stretch), 0.0)
    # Summed strictly in order: trailing zeros, which depend on the largest box of the batch, then change no bit.
    weight = weight / weight.cumsum(2)[:, :, -1:]
    return start + torch.minimum(tap.clamp(min=0), length - 1).long(), weight


def resample(pixels_BCHW: Tensor, boxes_B4: Tensor, size: int, mirror_B2: Tensor) -> Tensor:
    """Cut a box out of each image and resize it to a square, antialiased.

    Args:
        pixels_BCHW: uint8 or uint16 canvases; what lies outside a box is never looked at.
        boxes_B4: Top, left, height, width, whole pixels, on the CPU: their extent decides what is read.
        size: Output side, pixels.
        mirror_B2: Whether to reverse the rows (up-down) and the columns (left-right), bool, on the CPU.

    Returns:
        (B, C, size, size) float32 in [0, 1], on the device of the pixels.
    """
    device = pixels_BCHW.device
    views = torch.empty(*pixels_BCHW.shape[:2], size, size, device=device)
    axes = [_taps(boxes_B4[:, a], boxes_B4[:, 2 + a], mirror_B2[:, a], size, device) for a in (0, 1)]
    for part in chunks(len(boxes_B4), device):
        low = boxes_B4[part, :2].amin(0).tolist()
        high = (boxes_B4[part, :2] + boxes_B4[part, 2:]).amax(0).tolist()
        window = pixels_BCHW[part, :, low[0] : high[0], low[1] : high[1]].float()
        rows, columns = (
            dense(index[part] - first, weight[part], last - first)
            for (index, weight), first, last in zip(axes, low, high, strict=True)
        )
        views[part] = separable(window, rows, columns)
    return views.div_(FULL_SCALE[pixels_BCHW.dtype]).clamp_(0, 1)  # a bicubic overshoots at edges


@torch.no_grad()
def resize_square(pixels_BCHW: Tensor, sizes_B2: Tensor, size: int) -> Tensor:
    """Resize whole images to a square, antialiased; sides that differ are squashed, nothing is cut off.

    What evaluation and embedding see, with the kernel that the training crops have.

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


def normalise(views_BCSS: Tensor, mean: tuple[float, float, float], std: tuple[float, float, float]) -> Tensor:
    """Subtract the mean and divide by the standard deviation of each RGB channel; one channel becomes three.

    Args:
        views_BCSS: In [0, 1], with one or three channels.
        mean: Per RGB channel, on the 0 to 1 scale.
        std: Likewise.

    Returns:
        (B, 3, S, S).
    """
    mean_3, std_3 = (torch.tensor(values, device=views_BCSS.device).view(3, 1, 1) for values in (mean, std))
    return (views_BCSS - mean_3).div_(std_3)
