"""Sensitivity of a fitted anomaly method: number of synthetic defects that it detects in images of its sample.

The real defects of a folder are unknown, synthetic ones are known. A method that detects few of these misses real ones.

Legend: C channels, F kinds of features, H W pixels of a canvas, S pixels of the side of a square, h w cells of a grid.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from dinocli.augment.synthetic_defects import draw_defects, with_defects
from dinocli.data.canvas import Canvas
from dinocli.segmentation.anomaly import FittedAnomaly
from dinocli.segmentation.method import PatchMaps
from dinocli.segmentation.segment_images import SegmentImage

TRIED_IMAGES = 12
"""Number of images of the sample that get synthetic defects, and as many again where features have to be chosen."""

SCALES = (1.0, 1.0), (2.5, 0.6)
"""Scale and opacity of the two defects of each image: one small and clear, one large and faint."""


class DefectiveImage(NamedTuple):
    """An image with synthetic defects.

    Args:
        picture: The image, with defects in its canvas only.
        defects: Mask (h, w) of the cells that each visible defect touches.
    """

    picture: SegmentImage
    defects: list[NDArray[np.bool_]]


class Sensitivity(NamedTuple):
    """Number of detected synthetic defects, and of all."""

    found: int
    defects: int


def with_synthetic_defects(pictures: Sequence[SegmentImage], seed: int) -> list[DefectiveImage]:
    """Draw the defects of `SCALES` into the largest square of each canvas, at a random position along it.

    Args:
        pictures: Images with the same number of channels; foreign textures come from the next image.
        seed: Seed of kinds, positions, sizes and strengths.
    """
    random = np.random.default_rng((seed, len(pictures)))
    kind_N, drawn_NF = draw_defects(len(SCALES) * len(pictures), seed)
    defective = []
    for row, picture in enumerate(pictures):
        canvas_CHW, next_CHW = picture.canvas_CHW.copy(), pictures[(row + 1) % len(pictures)].canvas_CHW
        defects = []
        for number, (scale, opacity) in enumerate(SCALES, start=len(SCALES) * row):
            square, other = _square(canvas_CHW, random), _square(next_CHW, random)
            pair_2CSS = torch.stack([_floats(canvas_CHW[square]), _resized(_floats(next_CHW[other]), square)])
            drawing = kind_N[[number] * 2], drawn_NF[[number] * 2]
            drawn_CSS = with_defects(pair_2CSS, *drawing, scale=scale, opacity=opacity)[0]
            changed_HW = np.zeros(canvas_CHW.shape[1:], np.bool_)
            new_CSS = (drawn_CSS.numpy() * np.iinfo(canvas_CHW.dtype).max).round().astype(canvas_CHW.dtype)
            changed_HW[square[1:]] = (new_CSS != canvas_CHW[square]).any(axis=0)
            canvas_CHW[square] = new_CSS
            cells_hw = _cells(changed_HW, picture)
            defects += [cells_hw] if cells_hw.any() else []
        defective.append(DefectiveImage(replace(picture, canvas_CHW=canvas_CHW), defects))
    return defective


def sensitivity(
    fitted: FittedAnomaly, distances: Sequence[NDArray[np.float32]], images: Sequence[DefectiveImage]
) -> Sensitivity:
    """Count the defects with a cell above the threshold that is not above it in the original image.

    Args:
        fitted: Fitted method.
        distances: Distances (F, h, w) of each image with its defects.
        images: The images.
    """
    found = 0
    for distances_Fhw, (picture, defects) in zip(distances, images, strict=True):
        above_hw = _above(fitted.scale.judge(distances_Fhw, fitted.threshold))
        before = fitted.apply_known(picture.image)
        if before is not None:
            above_hw &= ~_above(before)
        found += sum(bool(above_hw[cells_hw].any()) for cells_hw in defects)
    return Sensitivity(found, sum(len(defects) for _, defects in images))


def _above(maps: PatchMaps) -> NDArray[np.bool_]:
    return np.asarray(maps.saliency() > maps.saliency_threshold)


def _square(canvas_CHW: Canvas, random: np.random.Generator) -> tuple[slice, slice, slice]:
    side = min(canvas_CHW.shape[1:])
    top, left = (int(random.integers(length - side + 1)) for length in canvas_CHW.shape[1:])
    return slice(None), slice(top, top + side), slice(left, left + side)


def _floats(canvas_CHW: Canvas) -> Tensor:
    """Return a canvas as floats in [0, 1]."""
    return torch.from_numpy(canvas_CHW.astype(np.float32) / np.iinfo(canvas_CHW.dtype).max)


def _resized(square_CSS: Tensor, like: tuple[slice, slice, slice]) -> Tensor:
    side = like[1].stop - like[1].start
    return F.interpolate(square_CSS[None], (side, side), mode="bilinear", antialias=True)[0]


def _cells(changed_HW: NDArray[np.bool_], picture: SegmentImage) -> NDArray[np.bool_]:
    """Return the cells that a defect touches, inside the region of interest."""
    touched_hw = F.adaptive_max_pool2d(torch.from_numpy(changed_HW[None].astype(np.float32)), picture.geometry.grid)[0]
    inside_hw = picture.inside_hw
    return np.asarray((touched_hw.numpy() > 0) & (True if inside_hw is None else inside_hw))
