"""Overlapping tiles of a large image: separate images (`tile_boxes`), or blended into one feature grid (`grid_tiles`).

Convention: blended tiles are in cells of the feature grid, (rows, columns).
Legend: T tiles along one axis, L cells along it, h w cells, D feature width.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dinocli.errors import UsageError

DROPPED_FRACTION = 0.25
"""Fraction of an overlap, at the edge of a tile, that is discarded: padding of the network affects its features."""


@dataclass(frozen=True)
class Tiling:
    """A parsed ``--tile``.

    Args:
        size: Side of a tile, pixels.
        overlap: Minimum overlap of neighbouring tiles, pixels.
    """

    size: int
    overlap: int


class GridTile(NamedTuple):
    """One tile of a feature grid.

    Args:
        row: First row of cells.
        column: First column of cells.
        weights_hw: Blending weight of each cell of the tile.
    """

    row: int
    column: int
    weights_hw: NDArray[np.float32]


def parse_tiling(text: str) -> Tiling | None:
    """Parse ``SIZE`` or ``SIZE:OVERLAP`` in pixels; the default overlap is an eighth of the size. None for no text.

    Raises:
        UsageError: Invalid numbers, or an overlap of more than half a tile.
    """
    if not text:
        return None
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
    """Divide an image into tiles, row by row from the top left.

    All tiles have the full size: the last tile of a row or column ends at the image border, and so overlaps more. An
    image side shorter than a tile gives one tile of that length.

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


def grid_tiles(grid: tuple[int, int], tile: tuple[int, int], overlap: int, *, align: int) -> Iterator[GridTile]:
    """Yield the tiles of a feature grid, row by row, evenly spaced.

    Args:
        grid: (rows, columns) of the whole image, cells.
        tile: (rows, columns) of a tile, cells; at most `grid`.
        overlap: Minimum overlap of neighbouring tiles, cells; at most half a tile.
        align: Tiles start at multiples of `align` cells, since a convnet gives shifted pixels the same features only if
            the shift is a multiple of its largest stride. `grid` - `tile` has to be a multiple of `align`.
    """
    rows, columns = (list(_along(*sizes, overlap, align)) for sizes in zip(grid, tile, strict=True))
    for row, weights_h in rows:
        for column, weights_w in columns:
            yield GridTile(row, column, np.outer(weights_h, weights_w).astype(np.float32))


class Blend:
    """Weighted sum of the tiles of an image.

    Args:
        grid: (rows, columns) of the whole image, cells.
    """

    def __init__(self, grid: tuple[int, int]) -> None:
        self._grid = grid
        self._sum_hwD: NDArray[np.float32] | None = None

    def add(self, tile: GridTile, values_hwD: NDArray[np.float32]) -> None:
        """Add the features of one tile."""
        if self._sum_hwD is None:
            self._sum_hwD = np.zeros((*self._grid, values_hwD.shape[-1]), np.float32)
        rows, columns = tile.weights_hw.shape
        self._sum_hwD[tile.row : tile.row + rows, tile.column : tile.column + columns] += (
            tile.weights_hw[..., None] * values_hwD
        )

    def result(self) -> NDArray[np.float32]:
        """Return the features of the whole image, (rows, columns, D), after all tiles were added."""
        assert self._sum_hwD is not None
        return self._sum_hwD


def _along(length: int, tile: int, overlap: int, align: int) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """Yield start and weights of each tile along one axis; the weights of all tiles sum to 1 in each cell."""
    max_step = max(align, (tile - overlap) // align * align)
    count = 1 + -(-(length - tile) // max_step)
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
    windows_TL /= windows_TL.sum(axis=0)  # where three tiles overlap, the ramps alone sum to less than 1
    for start, window in zip(starts, windows_TL, strict=True):
        yield start, window[start : start + tile]


def _ramp(shared: int) -> NDArray[np.float64]:
    """Return the rising weights of the shared cells: 0 at this tile's edge, 1 at the edge of its neighbour."""
    dropped = int(DROPPED_FRACTION * shared)
    inner = shared - 2 * dropped
    rising = (np.arange(inner) + 1) / (inner + 1)
    return np.concatenate([np.zeros(dropped), rising, np.ones(dropped)])
