"""Transfer of maps between the bounding box of a region of interest and the whole image.

Without a region of interest, maps are returned unchanged.

Legend: C channels, H W pixels of the whole image, h w cells or pixels of the box.
"""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from dinocli.data.canvas import Canvas
from dinocli.segmentation.patch_geometry import Size
from dinocli.segmentation.segment_images import SegmentImage
from dinocli.segmentation.upsample import Rendered

K = TypeVar("K", bound=np.generic)


def inside(rendered: Rendered, picture: SegmentImage) -> Rendered:
    """Return the maps of a box, set to 0 outside the mask of the region."""
    if picture.region is None or picture.region.inside_hw is None:
        return rendered
    labels_hw, soft_hw = (np.where(picture.region.inside_hw, map_hw, map_hw.dtype.type(0)) for map_hw in rendered)
    return Rendered(labels_hw, soft_hw)


def inside_cells(map_hw: NDArray[np.float32], picture: SegmentImage) -> NDArray[np.float32]:
    """Return a map of the grid, set to 0 in cells outside the mask of the region."""
    return map_hw if picture.inside_hw is None else map_hw * picture.inside_hw


def whole_size(picture: SegmentImage) -> Size:
    """Return (H, W) of the whole image."""
    if picture.whole_CHW is None:
        return picture.geometry.source
    height, width = picture.whole_CHW.shape[1:]
    return height, width


def on_whole(map_hw: NDArray[K], picture: SegmentImage) -> NDArray[K]:
    """Paste a map of the box, in pixels or in cells of any size, into a map of the whole image that is 0 elsewhere."""
    if picture.region is None:
        return map_hw
    left, top, width, height = picture.region.box
    rows, columns = (cells / pixels for cells, pixels in zip(map_hw.shape, (height, width), strict=True))
    whole_height, whole_width = whole_size(picture)
    first = (round(top * rows), round(left * columns))
    size = (round(whole_height * rows), round(whole_width * columns))
    placed_HW = np.zeros([max(*pair) for pair in zip(size, np.add(first, map_hw.shape), strict=True)], map_hw.dtype)
    placed_HW[first[0] : first[0] + map_hw.shape[0], first[1] : first[1] + map_hw.shape[1]] = map_hw
    return placed_HW


def boxed(map_HW: NDArray[K], picture: SegmentImage) -> NDArray[K]:
    """Crop a map of the whole image to the box."""
    if picture.region is None:
        return map_HW
    left, top, width, height = picture.region.box
    return map_HW[top : top + height, left : left + width]


def shown(picture: SegmentImage) -> Canvas:
    """Return the whole image for display, at half brightness outside the region."""
    if picture.region is None or picture.whole_CHW is None:
        return picture.source_CHW
    inside_hw = picture.region.inside_hw
    inside_HW = on_whole(np.ones(picture.geometry.source, np.bool_) if inside_hw is None else inside_hw, picture)
    return np.where(inside_HW, picture.whole_CHW, picture.whole_CHW // 2)
