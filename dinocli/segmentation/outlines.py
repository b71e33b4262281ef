"""A mask as run lengths and as polygons, the two forms that annotation tools exchange.

Shapes: H W pixels, V corners of one polygon.
Convention: a pixel is the square from (x, y) to (x + 1, y + 1), so outlines run along pixel edges, have whole numbers
as corners, and enclose exactly the pixels of the mask.
"""

import numpy as np
from numpy.typing import NDArray

Polygon = NDArray[np.int64]
"""(V, 2): x, y of the corners, clockwise as seen on a screen, the first one not repeated."""

_STEPS = ((1, 0), (0, 1), (-1, 0), (0, -1))  # x, y along the four directions: right, down, left, up


def run_lengths(
    mask_hw: NDArray[np.bool_], *, offset: tuple[int, int] = (0, 0), shape: tuple[int, int] | None = None
) -> list[int]:
    """Return the lengths of the runs of equal pixels, column by column, the first run outside the mask.

    This is COCO's uncompressed RLE: ``{"size": [H, W], "counts": ...}``. A mask that begins at once has a first run of
    length 0.

    Args:
        mask_hw: A mask, or the part of it that is not empty.
        offset: Row and column of that part in the image.
        shape: (H, W) of the image; that of the mask itself without it.
    """
    height, width = shape or mask_hw.shape
    # With an empty pixel at both ends of each column, a run begins and ends in its own column.
    edges = np.diff(np.pad(mask_hw, ((1, 1), (0, 0))).astype(np.int8), axis=0).T
    columns, rows = np.nonzero(edges)
    places = (columns + offset[1]) * height + rows + offset[0]
    # A run that ends at the foot of a column and one that begins at the head of the next are one.
    doubled = np.flatnonzero(np.diff(places) == 0)
    places = np.delete(places, np.concatenate([doubled, doubled + 1]))
    runs: list[int] = np.diff(np.concatenate([[0], places, [height * width]])).tolist()
    return runs if runs[-1] or len(runs) == 1 else runs[:-1]


def polygons(mask_HW: NDArray[np.bool_]) -> list[Polygon]:
    """Return the outer outlines of a mask, one for each part that hangs together.

    Pixels that touch at a corner alone are parts of their own. Holes are left out, as COCO's and YOLO's polygons have
    no way to say them: a filled outline covers its holes. Run lengths are exact.
    """
    return [corners for corners in _loops(mask_HW) if _doubled_area(corners) > 0]


def _doubled_area(corners: Polygon) -> int:
    """Return twice the signed area: positive for clockwise, which is the outside; holes run the other way."""
    x, y = corners.T
    return int(x @ np.roll(y, -1) - y @ np.roll(x, -1))


def _loops(mask_HW: NDArray[np.bool_]) -> list[Polygon]:
    """Follow the edges between inside and outside until each was taken once; only turns become corners."""
    leaving = _edges(mask_HW)
    left = dict.fromkeys((corner, direction) for corner, directions in leaving.items() for direction in directions)
    loops = []
    while left:
        start = edge = next(iter(left))
        corners = []
        while True:
            del left[edge]
            (x, y), direction = edge
            corner = (x + _STEPS[direction][0], y + _STEPS[direction][1])
            # Where two pixels touch at a corner, two edges leave it: the right turn stays with the pixel at hand.
            turned = next(turn % 4 for turn in (direction + 1, direction, direction + 3) if turn % 4 in leaving[corner])
            if turned != direction:
                corners.append(corner)
            edge = (corner, turned)
            if edge == start:
                break
        loops.append(np.array(corners, dtype=np.int64))
    return loops


def _edges(mask_HW: NDArray[np.bool_]) -> dict[tuple[int, int], list[int]]:
    """Return the directions in which edges leave each corner of the pixel grid, the mask on their right."""
    padded = np.pad(mask_HW, 1)
    inside = padded[1:-1, 1:-1]
    # The neighbour across each side of a pixel, and the corner where that side begins: top, right, bottom, left.
    sides = (
        (padded[:-2, 1:-1], (0, 0)),
        (padded[1:-1, 2:], (1, 0)),
        (padded[2:, 1:-1], (1, 1)),
        (padded[1:-1, :-2], (0, 1)),
    )
    leaving: dict[tuple[int, int], list[int]] = {}
    for direction, (neighbour, (right, down)) in enumerate(sides):
        rows, columns = np.nonzero(inside & ~neighbour)
        for corner in zip((columns + right).tolist(), (rows + down).tolist(), strict=True):
            leaving.setdefault(corner, []).append(direction)
    return leaving
