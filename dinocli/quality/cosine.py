"""All pairwise cosine similarities, in blocks of rows.

Shapes: Q queries, N images, D width, R rows of one block.
"""

from collections.abc import Iterator
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T", bound=np.floating)

# 64 MiB in float32: large enough for the matrix product to run at full speed, small beside the features themselves.
_BLOCK_VALUES = 1 << 24


def unit_rows(features_ND: NDArray[np.floating]) -> NDArray[np.float64]:
    """Scale every row to length 1, in float64.

    A row of zeros stays zero, so that a dead image is similar to nothing instead of not a number.

    Args:
        features_ND: Finite features.

    Returns:
        Rows of length 1 (or 0), shape (N, D).
    """
    rows_ND = features_ND.astype(np.float64)
    lengths_N1 = np.linalg.norm(rows_ND, axis=1, keepdims=True)
    return rows_ND / np.where(lengths_N1 > 0, lengths_N1, 1.0)


def similarity_blocks(queries_QD: NDArray[T], gallery_ND: NDArray[T]) -> Iterator[tuple[NDArray[np.intp], NDArray[T]]]:
    """Yield the similarities of consecutive queries to the whole gallery.

    The full (Q, N) matrix of 50,000 images would take 10 GB; a block never takes more than 16.8 million values.

    Args:
        queries_QD: Rows of length 1.
        gallery_ND: Rows of length 1, of the same type.

    Yields:
        The numbers of the block's queries, shape (R,), and their cosines, shape (R, N), which the caller may overwrite.
    """
    rows = max(1, _BLOCK_VALUES // len(gallery_ND))
    for first in range(0, len(queries_QD), rows):
        index_R = np.arange(first, min(first + rows, len(queries_QD)))
        yield index_R, queries_QD[index_R] @ gallery_ND.T
