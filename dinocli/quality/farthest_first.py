"""Select diverse images: farthest-first traversal (greedy k-centre), without labels.

Shapes: N images, D width, S sampled images.
"""

import numpy as np
from numpy.typing import NDArray

from dinocli.quality.normalized_features import NormalizedFeatures

SELECT_ROWS = 50_000


def diverse(rows: NormalizedFeatures, count: int, *, closest: float, seed: int = 0) -> list[int]:
    """Select images by farthest-first traversal, starting with the image nearest to the mean direction.

    It needs no number of clusters, selects outliers early, and every prefix of the selection is a valid selection. The
    covering radius is at most twice the optimum.

    Args:
        rows: Features of the images; above 50,000, a sample of them.
        count: Number of images to select.
        closest: Cosine from which two images count as duplicates, of which at most one is selected.
        seed: Seed of the sample.

    Returns:
        Rows in the order of selection; fewer than `count` if all others are duplicates of selected ones.
    """
    from_S = rows.sample(SELECT_ROWS, seed)
    units_SD = rows.take(from_S)
    typical = int((units_SD @ units_SD.mean(axis=0)).argmax())
    chosen, gaps = farthest_first(units_SD, min(count, len(from_S)), first=typical)
    # For unit rows the squared distance is 2 - 2 cosine.
    return [int(from_S[place]) for place, gap in zip(chosen, gaps, strict=True) if gap > 2 - 2 * closest]


def farthest_first(rows_ND: NDArray[np.float32], count: int, *, first: int) -> tuple[list[int], list[float]]:
    """Select rows by farthest-first traversal: each next row is the farthest from those already selected.

    Args:
        rows_ND: At least `count` rows.
        count: Number of rows to select.
        first: Index of the first row.

    Returns:
        Indices in the order of selection, and the squared distance of each row to the nearest one selected before it:
        non-increasing, infinite for the first.

    Source: Gonzalez 1985 (greedy k-centre; also the coreset of PatchCore).
    """
    length_N = np.einsum("nd,nd->n", rows_ND, rows_ND)
    chosen, gaps = [first], [float("inf")]
    nearest_N = _squared_distance_to(rows_ND, length_N, first)
    while len(chosen) < count:
        farthest = int(nearest_N.argmax())
        chosen.append(farthest)
        gaps.append(float(nearest_N[farthest]))
        np.minimum(nearest_N, _squared_distance_to(rows_ND, length_N, farthest), out=nearest_N)
    return chosen, gaps


def _squared_distance_to(rows_ND: NDArray[np.float32], length_N: NDArray[np.float32], row: int) -> NDArray[np.float32]:
    """Return the squared distance of all rows to one row, (N,); `length_N` are squared norms."""
    return np.asarray(length_N + length_N[row] - 2 * (rows_ND @ rows_ND[row]), np.float32)
