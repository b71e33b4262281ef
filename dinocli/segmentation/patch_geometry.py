"""Mapping between the pixels of an image and its patch grid.

An image is resized to a canvas, and the canvas is divided into patches, the cells of the grid. Maps on the grid are
upsampled to the pixels of the image.

Convention: sizes and grids are (rows, columns); the centre of pixel 0 is at 0.5.
Legend: H W pixels of the source, h w cells of the grid, K maps.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MAX_LONG_SIDE = 4096
"""Maximum longer side of a canvas, pixels, unless it is tiled: a strip one pixel wide would grow without limit."""

MIN_REGION = 0.25
"""Minimum region area as a fraction of a patch: smaller regions come from the edge refinement, not the network."""

Size = tuple[int, int]


@dataclass(frozen=True)
class PatchGeometry:
    """Sizes of an image, its canvas and its patch grid.

    Args:
        source: Size of the upright image, pixels.
        canvas: Size of the network input, pixels.
        grid: Size of the grid, cells.
        patch: Side of a patch, canvas pixels; the first patch starts at the corner, and patches overlap if `patch` is
            larger than `step`.
        step: Distance between neighbouring patches, canvas pixels.
    """

    source: Size
    canvas: Size
    grid: Size
    patch: int
    step: int

    @property
    def cell_pixels(self) -> int:
        """Distance between neighbouring cells in source pixels, at least 1."""
        scale = max(self.source[0] / self.canvas[0], self.source[1] / self.canvas[1])
        return max(1, round(self.step * scale))

    @property
    def min_area(self) -> int:
        """Minimum region area, source pixels."""
        return round(MIN_REGION * self.cell_pixels**2)

    def cells(self, axis: int, pixels: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the grid coordinates of the centres of source pixels; the centre of cell 0 is at 0.

        Args:
            axis: 0 for rows, 1 for columns.
            pixels: Pixel indices along the axis.
        """
        on_canvas = (pixels + 0.5) * self.canvas[axis] / self.source[axis]
        return np.asarray((on_canvas - self.patch / 2) / self.step, np.float64)

    def upsampled(self, maps_Khw: NDArray[np.float32], rows: slice) -> NDArray[np.float32]:
        """Upsample maps to source pixels, bilinear between the centres of cells, constant beyond the outer centres.

        Args:
            maps_Khw: Maps on the grid.
            rows: Rows of the source to return; all rows of a large image may not fit in memory.

        Returns:
            (K, rows, W).
        """
        rows_KHw = _lerp(maps_Khw, 1, self.cells(0, np.arange(rows.start, rows.stop, dtype=np.float64)))
        return _lerp(rows_KHw, 2, self.cells(1, np.arange(self.source[1], dtype=np.float64)))


def canvas_size(source: Size, *, short_side: int, multiple: int, longest: int = MAX_LONG_SIDE) -> Size:
    """Return the size of the canvas of an image: the given shorter side, with the aspect ratio of the image.

    Both sides are rounded to the nearest multiple, so the image is stretched by half a patch at most. It is never
    padded: the border of a padding is an edge, which methods take for an object. Small images are enlarged, because a
    grid of few cells resolves nothing.

    Args:
        source: Size of the image, pixels.
        short_side: Shorter side of the canvas, pixels; 0 keeps the scale of the image.
        multiple: Divisor of both sides, pixels.
        longest: Maximum longer side, pixels, rounded to a multiple; it reduces the shorter side if necessary.
    """
    scale = short_side / min(source) if short_side else 1.0
    scale = min(scale, longest / max(source))
    rows, columns = (max(1, round(side * scale / multiple)) * multiple for side in source)
    return rows, columns


def _lerp(maps: NDArray[np.float32], axis: int, places: NDArray[np.float64]) -> NDArray[np.float32]:
    """Interpolate linearly along one axis at fractional indices, clamped to the ends."""
    last = maps.shape[axis] - 1
    inside = places.clip(0, last)
    low = np.floor(inside).astype(np.intp).clip(0, max(0, last - 1))
    shape = [1] * maps.ndim
    shape[axis] = len(places)
    share = (inside - low).astype(np.float32).reshape(shape)
    before = maps.take(low, axis)
    after = maps.take(np.minimum(low + 1, last), axis)
    interpolated: NDArray[np.float32] = before + share * (after - before)
    return interpolated
