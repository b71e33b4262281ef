"""Upsampling of maps on a patch grid to a label map and a soft map at the resolution of the source.

Legend: H W pixels of the source, h w cells, K maps, C channels.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from kornia.filters import guided_blur
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter

from dinocli.data.canvas import Canvas
from dinocli.segmentation.method import PatchMaps, label_map
from dinocli.segmentation.patch_geometry import PatchGeometry

MIN_CONTRAST = 0.03
"""Contrast of edges that masks follow, as a fraction of the range from black to white; weaker edges count as noise."""

BINARY_THRESHOLD = 0.5
"""Threshold of upsampled binary maps."""

_STRIP_PIXELS = 1 << 21  # processed at a time: a whole large image would take gigabytes
_SAMPLES_PER_CELL = 4  # of the guided filter along one axis; a cell can be hundreds of pixels wide


class Rendered(NamedTuple):
    """Pixel maps of one image.

    Args:
        labels_HW: 0 for the background, else 1 + the index of the object or segment.
        soft_HW: Saliency, float32 in [0, 1].
    """

    labels_HW: NDArray[np.uint16]
    soft_HW: NDArray[np.float32]


def render(maps: PatchMaps, geometry: PatchGeometry, picture_CHW: Canvas, *, refine: bool) -> Rendered:
    """Upsample the maps of one image, refine them along its edges, and label its pixels.

    Args:
        maps: Maps on the patch grid.
        geometry: Geometry of the patch grid.
        picture_CHW: The source, upright, uint8 or uint16.
        refine: Apply the guided filter; otherwise maps are upsampled bilinearly only.
    """
    labels_HW = np.zeros(geometry.source, np.uint16)
    soft_HW = np.empty(geometry.source, np.float32)
    soft_Khw, has_saliency = maps.soft_Khw, maps.saliency_hw is not None
    near_Khw = _near(maps) if maps.threshold >= 0 else None
    if has_saliency:
        soft_Khw = np.concatenate([soft_Khw, maps.saliency()[None]])
    for rows, halo in _strips(geometry):
        fine_KHW = geometry.upsampled(soft_Khw, halo)
        if refine:
            fine_KHW = _refined(fine_KHW, picture_CHW[:, halo], geometry.cell_pixels)
        fine_KHW = fine_KHW[:, rows.start - halo.start : rows.stop - halo.start]
        soft_HW[rows] = fine_KHW[-1] if has_saliency else fine_KHW.max(axis=0)
        if not maps.empty_reason:
            object_KHW = fine_KHW[:-1] if has_saliency else fine_KHW
            if near_Khw is not None:
                near_KHW = geometry.upsampled(near_Khw, rows) > BINARY_THRESHOLD
                object_KHW = np.where(near_KHW, object_KHW, np.float32(0))
            labels_HW[rows] = label_map(object_KHW, maps.threshold)
    return Rendered(labels_HW, soft_HW)


def _near(maps: PatchMaps) -> NDArray[np.float32]:
    """Return 1 in cells above the threshold and their 8 neighbours, else 0: refinement moves edges by one cell at most.

    Without this limit, the filter lifts pixels of a region that is just below the threshold wherever the image has
    texture.
    """
    near_Khw: NDArray[np.float32] = maximum_filter((maps.soft_Khw > maps.threshold).astype(np.float32), (1, 3, 3))
    return near_Khw


def _strips(geometry: PatchGeometry) -> Iterator[tuple[slice, slice]]:
    """Yield strips of rows, each with the larger strip that the filter needs."""
    height, width = geometry.source
    # Multiples of the sample spacing, so that a strip is sampled at the same rows as the whole image.
    spacing = _spacing(geometry.cell_pixels)
    strip = max(spacing, _STRIP_PIXELS // width // spacing * spacing)
    margin = -(-3 * geometry.cell_pixels // spacing) * spacing
    for top in range(0, height, strip):
        rows = slice(top, min(top + strip, height))
        yield rows, slice(max(0, top - margin), min(height, rows.stop + margin))


def _refined(maps_KHW: NDArray[np.float32], picture_CHW: Canvas, cell_pixels: int) -> NDArray[np.float32]:
    """Align the edges of maps with those of the image by a guided filter.

    The window is one cell wide, as an edge of a map is accurate to half a cell. A wider window follows edges no better
    and flattens small regions: the peak of a disc three cells wide falls to 0.90, with twice the window to 0.48.

    Source: He, Sun and Tang 2010, Guided Image Filtering; fast variant: He and Sun 2015.
    """
    white = np.float32(np.iinfo(picture_CHW.dtype).max)
    refined = guided_blur(
        torch.from_numpy(picture_CHW.astype(np.float32) / white)[None],
        torch.from_numpy(maps_KHW)[None],
        kernel_size=2 * (cell_pixels // 2) + 1,
        eps=MIN_CONTRAST**2,
        border_type="replicate",  # the only type that accepts an image one pixel wide
        subsample=_spacing(cell_pixels),
        separable=True,
    )
    clipped: NDArray[np.float32] = refined[0].numpy().clip(0, 1)
    return clipped


def _spacing(cell_pixels: int) -> int:
    """Return the distance of the samples of the filter, pixels."""
    return max(1, cell_pixels // _SAMPLES_PER_CELL)
