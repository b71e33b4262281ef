"""All pairwise cosine similarities, in blocks of rows.

Shapes: Q queries, N images, D width, R rows of one block.
"""

from collections.abc import Iterator
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T", bound=np.floating)

# 64 MiB in float32: the matrix product runs at full speed, and a block is small compared with the features.
_BLOCK_VALUES = 1 << 24
_SAFE = 1e-140, 1e140  # values whose squares are exact in float64


def unit_rows(features_ND: NDArray[np.floating]) -> NDArray[np.float64]:
    """L2-normalise rows in float64.

    A row of zeros stays zero: its cosine to any row is 0 instead of NaN.

    Args:
        features_ND: Finite features.

    Returns:
        Rows of length 1 (or 0), shape (N, D).
    """
    rows_ND = features_ND.astype(np.float64)
    if features_ND.dtype == np.float64:  # squares of narrower types neither overflow nor underflow
        rows_ND = safe_rows(rows_ND, *_SAFE)
    lengths_N1 = np.linalg.norm(rows_ND, axis=1, keepdims=True)
    return rows_ND / np.where(lengths_N1 > 0, lengths_N1, 1.0)


def scaled_rows(rows_ND: NDArray[T]) -> NDArray[T]:
    """Divide rows by their largest absolute value, so that squares of huge or tiny values can be added.

    A row of zeros stays zero, and one with infinite values is not finite after it either.
    """
    largest_N1 = np.abs(rows_ND).max(axis=1, keepdims=True, initial=0)
    return np.asarray(rows_ND / np.where(largest_N1 > 0, largest_N1, 1), rows_ND.dtype)


def safe_rows(rows_ND: NDArray[T], smallest: float, largest: float) -> NDArray[T]:
    """Return the rows, those whose largest absolute value is outside a range scaled to 1; others keep their bits."""
    largest_N = np.abs(rows_ND).max(axis=1, initial=0)
    outside_N = (largest_N > largest) | (largest_N < smallest)
    return np.where(outside_N[:, None], scaled_rows(rows_ND), rows_ND) if outside_N.any() else rows_ND


def mean_cosine(features_ND: NDArray[np.floating]) -> float:
    """Return the mean cosine between all pairs of rows, each with itself included, 0 to 1.

    Non-finite rows are left out; without any other row the result is 0.
    """
    units_ND = unit_rows(features_ND[np.isfinite(features_ND).all(axis=1)])
    return float(np.clip((units_ND.mean(axis=0) ** 2).sum(), 0, 1)) if len(units_ND) else 0.0


def similarity_blocks(queries_QD: NDArray[T], gallery_ND: NDArray[T]) -> Iterator[tuple[NDArray[np.intp], NDArray[T]]]:
    """Yield the cosines of consecutive queries to the whole gallery.

    The full (Q, N) matrix of 50,000 images would take 10 GB; a block has at most 16.8 million values.

    Args:
        queries_QD: Rows of length 1.
        gallery_ND: Rows of length 1, same dtype.

    Yields:
        Query indices (R,) and cosines (R, N), which the caller may overwrite.
    """
    rows = max(1, _BLOCK_VALUES // len(gallery_ND))
    for first in range(0, len(queries_QD), rows):
        index_R = np.arange(first, min(first + rows, len(queries_QD)))
        yield index_R, queries_QD[index_R] @ gallery_ND.T


def pair_cosine(features_ND: NDArray[np.floating], first: int, second: int) -> float:
    """Return the cosine of two rows; 0 if one is zero."""
    first_D, second_D = unit_rows(np.asarray(features_ND[[first, second]]))
    return float(first_D @ second_D)
