"""From maps on a patch grid to a label map and a soft map with the pixels of the source.

Legend: H W pixels of the source, h w cells, K maps, C channels.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from kornia.filters import guided_blur
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter

from dinocli.data.read import Canvas
from dinocli.segmentation.method import PatchMaps, label_map
from dinocli.segmentation.patch_geometry import PatchGeometry

EDGE = 0.03
"""Contrast, of black to white, from which an edge of the image is followed; weaker ones are taken for noise."""

HALF = 0.5
"""Between 1 and 0 of enlarged maps that say yes or no."""

_STRIP = 1 << 21  # pixels that are worked on at a time: a whole large image would take gigabytes
_SAMPLES = 4  # of the filter along one cell of the grid, which can be hundreds of pixels wide


class Rendered(NamedTuple):
    """What is written for one image.

    Args:
        labels_HW: 0 for nothing, else 1 + the number of the object or segment.
        soft_HW: float32 in [0, 1]: how much each pixel is what the method looks for.
    """

    labels_HW: NDArray[np.uint16]
    soft_HW: NDArray[np.float32]


def render(maps: PatchMaps, geometry: PatchGeometry, picture_CHW: Canvas, *, refine: bool) -> Rendered:
    """Enlarge the maps of one image, let them follow its edges, and label its pixels.

    Args:
        maps: On the patch grid.
        geometry: How that grid lies on the picture.
        picture_CHW: The source, upright, uint8 or uint16.
        refine: Follow the edges; otherwise maps are as smooth as their grid is coarse.
    """
    labels_HW = np.zeros(geometry.source, np.uint16)
    soft_HW = np.empty(geometry.source, np.float32)
    soft_Khw, apart = maps.soft_Khw, maps.saliency_hw is not None
    near_Khw = _near(maps) if maps.threshold >= 0 else None
    if apart:
        soft_Khw = np.concatenate([soft_Khw, maps.saliency()[None]])
    for rows, halo in _strips(geometry):
        fine_KHW = geometry.upsampled(soft_Khw, halo)
        if refine:
            fine_KHW = _refined(fine_KHW, picture_CHW[:, halo], geometry.cell_pixels)
        fine_KHW = fine_KHW[:, rows.start - halo.start : rows.stop - halo.start]
        soft_HW[rows] = fine_KHW[-1] if apart else fine_KHW.max(axis=0)
        if not maps.empty_reason:
            found_KHW = fine_KHW[:-1] if apart else fine_KHW
            if near_Khw is not None:
                found_KHW = np.where(geometry.upsampled(near_Khw, rows) > HALF, found_KHW, np.float32(0))
            labels_HW[rows] = label_map(found_KHW, maps.threshold)
    return Rendered(labels_HW, soft_HW)


def _near(maps: PatchMaps) -> NDArray[np.float32]:
    """Return 1 in and next to the cells above the threshold: edges move within a cell, and nothing comes up elsewhere.

    A map can lie just below the threshold over a whole region; where the picture is busy, the filter lifts some of it.
    """
    near_Khw: NDArray[np.float32] = maximum_filter((maps.soft_Khw > maps.threshold).astype(np.float32), (1, 3, 3))
    return near_Khw


def _strips(geometry: PatchGeometry) -> Iterator[tuple[slice, slice]]:
    """Yield rows, and the rows around them that the filter looks at."""
    height, width = geometry.source
    # Whole samples of the filter, so that strips are sampled at the same places as the image in one piece.
    spacing = _spacing(geometry.cell_pixels)
    tall = max(spacing, _STRIP // width // spacing * spacing)
    around = -(-3 * geometry.cell_pixels // spacing) * spacing
    for top in range(0, height, tall):
        rows = slice(top, min(top + tall, height))
        yield rows, slice(max(0, top - around), min(height, rows.stop + around))


def _refined(maps_KHW: NDArray[np.float32], picture_CHW: Canvas, cell_pixels: int) -> NDArray[np.float32]:
    """Filter maps so that their edges move onto those of the picture.

    The window is one cell of the grid wide: an edge of a map is known to half a cell. A wider one follows edges no
    better and flattens what is as small as a defect (0.90 of a disc three cells wide is left, and 0.48 at twice that).

    Source: He, Sun and Tang 2010, Guided Image Filtering, in its fast form (He and Sun 2015).
    """
    white = np.float32(np.iinfo(picture_CHW.dtype).max)
    refined = guided_blur(
        torch.from_numpy(picture_CHW.astype(np.float32) / white)[None],
        torch.from_numpy(maps_KHW)[None],
        kernel_size=2 * (cell_pixels // 2) + 1,
        eps=EDGE**2,
        border_type="replicate",  # the only one that an image one pixel wide can take
        subsample=_spacing(cell_pixels),
        separable=True,
    )
    followed: NDArray[np.float32] = refined[0].numpy().clip(0, 1)
    return followed


def _spacing(cell_pixels: int) -> int:
    return max(1, cell_pixels // _SAMPLES)
