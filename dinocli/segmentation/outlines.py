"""Conversion of masks to COCO run lengths and to polygons.

Shapes: H W pixels, V vertices of one polygon.
Convention: a pixel is the square from (x, y) to (x + 1, y + 1), so polygons run along pixel edges, have integer
vertices and enclose exactly the pixels of the mask.
"""

import numpy as np
from numpy.typing import NDArray

Polygon = NDArray[np.int64]
"""(V, 2): x, y of the vertices, clockwise on screen; the first vertex is not repeated."""

_STEPS = ((1, 0), (0, 1), (-1, 0), (0, -1))  # x, y per direction: right, down, left, up


def run_lengths(
    mask_hw: NDArray[np.bool_], *, offset: tuple[int, int] = (0, 0), shape: tuple[int, int] | None = None
) -> list[int]:
    """Return the run lengths of a mask in column-major order, starting with a run of background.

    These are the counts of COCO's uncompressed RLE: ``{"size": [H, W], "counts": ...}``. If the first pixel is
    foreground, the first run has length 0.

    Args:
        mask_hw: The mask, or a crop that contains its foreground.
        offset: Row and column of the crop in the image.
        shape: (H, W) of the image; default: that of `mask_hw`.
    """
    height, width = shape or mask_hw.shape
    # With a background pixel at both ends of each column, every run starts and ends within one column.
    edges = np.diff(np.pad(mask_hw, ((1, 1), (0, 0))).astype(np.int8), axis=0).T
    columns, rows = np.nonzero(edges)
    places = (columns + offset[1]) * height + rows + offset[0]
    # Merge a run that ends at the bottom of a column with one that starts at the top of the next.
    adjacent = np.flatnonzero(np.diff(places) == 0)
    places = np.delete(places, np.concatenate([adjacent, adjacent + 1]))
    runs: list[int] = np.diff(np.concatenate([[0], places, [height * width]])).tolist()
    return runs if runs[-1] or len(runs) == 1 else runs[:-1]


def polygons(mask_HW: NDArray[np.bool_]) -> list[Polygon]:
    """Return the outer contour of each 4-connected component of a mask.

    Holes are dropped, because COCO and YOLO polygons cannot represent them: a filled polygon covers its holes. Run
    lengths are exact.
    """
    return [corners for corners in _loops(mask_HW) if _doubled_area(corners) > 0]


def _doubled_area(corners: Polygon) -> int:
    """Return twice the signed area: positive for clockwise outer contours, negative for holes."""
    x, y = corners.T
    return int(x @ np.roll(y, -1) - y @ np.roll(x, -1))


def _loops(mask_HW: NDArray[np.bool_]) -> list[Polygon]:
    """Trace the closed contours along pixel edges, each edge once; only turns become vertices."""
    leaving = _edges(mask_HW)
    remaining = dict.fromkeys((corner, direction) for corner, directions in leaving.items() for direction in directions)
    loops = []
    while remaining:
        start = edge = next(iter(remaining))
        corners = []
        while True:
            del remaining[edge]
            (x, y), direction = edge
            corner = (x + _STEPS[direction][0], y + _STEPS[direction][1])
            # Where two pixels touch at a corner only, two edges leave it; the right turn stays on the same pixel.
            turned = next(turn % 4 for turn in (direction + 1, direction, direction + 3) if turn % 4 in leaving[corner])
            if turned != direction:
                corners.append(corner)
            edge = (corner, turned)
            if edge == start:
                break
        loops.append(np.array(corners, dtype=np.int64))
    return loops


def _edges(mask_HW: NDArray[np.bool_]) -> dict[tuple[int, int], list[int]]:
    """Return the directions of the edges that start at each corner of the pixel grid, with the mask on their right."""
    padded = np.pad(mask_HW, 1)
    inside = padded[1:-1, 1:-1]
    # Neighbour across each side of a pixel, and offset of the corner where that side starts: top, right, bottom, left.
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
