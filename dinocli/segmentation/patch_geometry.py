"""Which pixels of an image a patch of its grid stands for.

An image is scaled to a canvas, the canvas is cut into patches, the patches become a grid of numbers; and the way back.

Convention: sizes and grids are (rows, columns); a pixel's centre lies half a pixel from its edge.
Legend: H W pixels of the source, h w cells of the grid, K maps.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LONGEST = 4096
"""Pixels of the longer side of a canvas at most, unless it is tiled: a strip one pixel wide would grow without end."""

Size = tuple[int, int]


@dataclass(frozen=True)
class PatchGeometry:
    """How the grid of one image lies on it.

    Args:
        source: Pixels of the image as it is shown, upright.
        canvas: Pixels that the network saw.
        grid: Cells of the grid.
        patch: Pixels of the canvas that one cell is made of; patches overlap where they are further than one apart in
            size, and the first one begins at the corner.
        step: Pixels of the canvas from one cell to the next.
    """

    source: Size
    canvas: Size
    grid: Size
    patch: int
    step: int

    @property
    def cell_pixels(self) -> int:
        """Pixels of the source from one cell to the next, at least 1."""
        scale = max(self.source[0] / self.canvas[0], self.source[1] / self.canvas[1])
        return max(1, round(self.step * scale))

    def cells(self, axis: int, pixels: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return where on the grid the centres of source pixels lie; cell 0 has its centre at 0.

        Args:
            axis: 0 for rows, 1 for columns.
            pixels: Numbers of pixels along it.
        """
        on_canvas = (pixels + 0.5) * self.canvas[axis] / self.source[axis]
        return np.asarray((on_canvas - self.patch / 2) / self.step, np.float64)

    def upsampled(self, maps_Khw: NDArray[np.float32], rows: slice) -> NDArray[np.float32]:
        """Bring maps to the source's pixels, bilinear between centres of cells, constant beyond the outer ones.

        Args:
            maps_Khw: On the grid.
            rows: Rows of the source that are wanted; all at once would fill the memory with a large image.

        Returns:
            (K, rows, W).
        """
        tall = _lerp(maps_Khw, 1, self.cells(0, np.arange(rows.start, rows.stop, dtype=np.float64)))
        return _lerp(tall, 2, self.cells(1, np.arange(self.source[1], dtype=np.float64)))


def canvas_size(source: Size, *, short_side: int, multiple: int, longest: int = LONGEST) -> Size:
    """Return the size of the canvas of an image: its shorter side as asked, the aspect kept.

    Both sides are rounded to the nearest multiple of the patch, so a picture is stretched by half a patch at most, and
    none is padded: what is padded looks like an edge, and an edge looks like an object. Small images are enlarged,
    because a grid of few cells shows nothing.

    Args:
        source: Pixels of the image.
        short_side: Pixels; 0 keeps the image's own scale.
        multiple: Pixels that both sides have to be a multiple of.
        longest: Largest longer side, pixels, rounded to a multiple; where it is the limit the shorter side gets less.
    """
    scale = short_side / min(source) if short_side else 1.0
    scale = min(scale, longest / max(source))
    rows, columns = (max(1, round(side * scale / multiple)) * multiple for side in source)
    return rows, columns


def _lerp(maps: NDArray[np.float32], axis: int, places: NDArray[np.float64]) -> NDArray[np.float32]:
    """Interpolate along one axis at fractional places."""
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
