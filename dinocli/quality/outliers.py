"""Select a few images that cover a folder: farthest-first traversal, without labels.

Shapes: N images, D width, S sampled images.
"""

import numpy as np
from numpy.typing import NDArray

from dinocli.quality.normalized_features import NormalizedFeatures

SELECT_ROWS = 50_000


def diverse(rows: NormalizedFeatures, count: int, *, closest: float, seed: int = 0) -> list[int]:
    """Choose few images that cover all: each next one is the farthest from those already chosen.

    The first is the most typical one (nearest to the mean direction). So the choice needs no number of groups, takes
    odd images early, and any first part of it is a good choice too. No image is farther from a chosen one than twice
    what the best possible choice reaches.

    Args:
        rows: Of the images; above 50,000 a sample of them is chosen from.
        count: Images wanted.
        closest: Cosine from which two images count as duplicates: only one of them is ever chosen.
        seed: Of the sample.

    Returns:
        Row numbers in the order of choice; fewer than wanted where all others are duplicates of chosen ones.

    """
    from_S = rows.sample(SELECT_ROWS, seed)
    units_SD = rows.take(from_S)
    typical = int((units_SD @ units_SD.mean(axis=0)).argmax())
    chosen, gaps = farthest_first(units_SD, min(count, len(from_S)), first=typical)
    # Of unit rows the squared distance is 2 - 2 cosine.
    return [int(from_S[place]) for place, gap in zip(chosen, gaps, strict=True) if gap > 2 - 2 * closest]


def farthest_first(rows_ND: NDArray[np.float32], count: int, *, first: int) -> tuple[list[int], list[float]]:
    """Choose rows that cover all: each next one is the farthest from those already chosen.

    Args:
        rows_ND: At least `count`.
        count: Rows wanted.
        first: Number of the first one.

    Returns:
        Row numbers in the order of choice, and the squared distance of each to the rows before it, which never grows;
        infinite for the first.

    Source: Gonzalez 1985, farthest-first traversal (greedy k-centre, the coreset of PatchCore).
    """
    length_N = np.einsum("nd,nd->n", rows_ND, rows_ND)
    chosen, gaps = [first], [float("inf")]
    nearest_N = _squared_to(rows_ND, length_N, first)
    while len(chosen) < count:
        farthest = int(nearest_N.argmax())
        chosen.append(farthest)
        gaps.append(float(nearest_N[farthest]))
        np.minimum(nearest_N, _squared_to(rows_ND, length_N, farthest), out=nearest_N)
    return chosen, gaps


def _squared_to(rows_ND: NDArray[np.float32], length_N: NDArray[np.float32], row: int) -> NDArray[np.float32]:
    return np.asarray(length_N + length_N[row] - 2 * (rows_ND @ rows_ND[row]), np.float32)
