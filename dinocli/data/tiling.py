"""Overlapping tiles of a large image: separate images (`tile_boxes`), or blended into one feature grid (`grid_tiles`).

Convention: tiles that are blended are in cells of the grid, (rows, columns), and begin on a cell.
Legend: T tiles along one axis, L cells along it, h w cells, D width.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dinocli.errors import UsageError

DROPPED_FRACTION = 0.25
"""Share of an overlap, at a tile's edge, that is not used: there the network saw its own padding, not the image."""


@dataclass(frozen=True)
class Tiling:
    """A parsed ``--tile``.

    Args:
        size: Pixels of a tile's sides.
        overlap: Pixels that neighbours share at least.
    """

    size: int
    overlap: int


class GridTile(NamedTuple):
    """One tile.

    Args:
        row: First cell.
        column: First column of its cells.
        weights_hw: Share of each of its cells in the blend, (rows, columns) of the tile.
    """

    row: int
    column: int
    weights_hw: NDArray[np.float32]


def parse_tiling(text: str) -> Tiling:
    """Parse ``SIZE`` or ``SIZE:OVERLAP``, pixels; without an overlap an eighth of the size.

    Raises:
        UsageError: Not that, or more overlap than half a tile.
    """
    size_text, colon, overlap_text = text.partition(":")
    try:
        size = int(size_text)
        overlap = int(overlap_text) if colon else size // 8
    except ValueError:
        size = overlap = -1
    if size < 1 or overlap < 0:
        raise UsageError(f"--tile {text!r} is not SIZE or SIZE:OVERLAP in pixels; for example 512:64")
    if 2 * overlap > size:
        raise UsageError(
            f"--tile {text}: an overlap of {overlap} px is more than half of {size}; use {size // 2} or less"
        )
    return Tiling(size, overlap)


def tile_boxes(height: int, width: int, tiling: Tiling) -> list[tuple[int, int, int, int]]:
    """Cut an image into tiles, row by row from the top left.

    All tiles have the full size: the last one of a row or column is moved back until it ends with the image, and so
    overlaps more. A side shorter than a tile is one tile.

    Returns:
        (left, top, width, height) of each tile, pixels.
    """
    size, overlap = tiling.size, tiling.overlap
    tops, lefts = _starts(height, size, overlap), _starts(width, size, overlap)
    return [(left, top, min(size, width), min(size, height)) for top in tops for left in lefts]


def _starts(length: int, size: int, overlap: int) -> list[int]:
    if length <= size:
        return [0]
    step = size - overlap
    count = 1 + math.ceil((length - size) / step)
    return [min(number * step, length - size) for number in range(count)]


def grid_tiles(grid: tuple[int, int], tile: tuple[int, int], overlap: int, *, align: int = 1) -> Iterator[GridTile]:
    """Yield the tiles of a grid, row by row, evenly spread.

    Args:
        grid: Cells of the whole image.
        tile: Cells of a tile, at most those of the image.
        overlap: Cells that neighbours share at least, at most half a tile.
        align: Every tile begins on a multiple of `align` cells: a convnet gives shifted pixels the same features only
            when the shift is a multiple of its largest stride. The rest of the image beside a tile has to be such a
            multiple.
    """
    rows, columns = (list(_along(*sizes, overlap, align)) for sizes in zip(grid, tile, strict=True))
    for row, weights_h in rows:
        for column, weights_w in columns:
            yield GridTile(row, column, np.outer(weights_h, weights_w).astype(np.float32))


class Blend:
    """Adds up the tiles of an image.

    Args:
        grid: Cells of the whole image.
    """

    def __init__(self, grid: tuple[int, int]) -> None:
        self._grid = grid
        self._sum_hwD: NDArray[np.float32] | None = None

    def add(self, part: GridTile, values_hwD: NDArray[np.float32]) -> None:
        """Add the features of one tile."""
        if self._sum_hwD is None:
            self._sum_hwD = np.zeros((*self._grid, values_hwD.shape[-1]), np.float32)
        rows, columns = part.weights_hw.shape
        self._sum_hwD[part.row : part.row + rows, part.column : part.column + columns] += (
            part.weights_hw[..., None] * values_hwD
        )

    def result(self) -> NDArray[np.float32]:
        """Return the grid of the whole image, once every tile was added."""
        assert self._sum_hwD is not None
        return self._sum_hwD


def _along(length: int, tile: int, overlap: int, align: int) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """Yield where each tile begins along an axis, and its weights, which add up to 1 over all tiles."""
    widest = max(align, (tile - overlap) // align * align)
    count = 1 + -(-(length - tile) // widest)
    starts = [int(start) * align for start in np.linspace(0, (length - tile) // align, count).round()]
    windows_TL = np.zeros((count, length))
    for number, start in enumerate(starts):
        window = windows_TL[number, start : start + tile]
        window[:] = 1
        if number:
            shared = starts[number - 1] + tile - start
            window[:shared] *= _ramp(shared)
        if number + 1 < count:
            shared = start + tile - starts[number + 1]
            window[tile - shared :] *= _ramp(shared)[::-1]
    windows_TL /= windows_TL.sum(axis=0)  # where three tiles meet, ramps alone add up to less
    for start, window in zip(starts, windows_TL, strict=True):
        yield start, window[start : start + tile]


def _ramp(shared: int) -> NDArray[np.float64]:
    """Return the rising weights of shared cells: 0 at the edge, 1 where the neighbour's edge is near."""
    dropped = int(DROPPED_FRACTION * shared)
    inner = shared - 2 * dropped
    rising = (np.arange(inner) + 1) / (inner + 1)
    return np.concatenate([np.zeros(dropped), rising, np.ones(dropped)])
