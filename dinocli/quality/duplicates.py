"""Pictures that are almost the same: every pair above a cosine, found exactly and in bounded memory.

Shapes: N images, D width, P pairs, A B rows of two blocks.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from dinocli.errors import DataError
from dinocli.quality.cosine import unit_rows

MOST_PAIRS = 1_000_000

SAME = 0.99
"""Cosine from which two images count as one: frames of a video, parts from one mould. It is one pair of 1,124 chest
x-rays, and 125 pairs of 2,624 solar cells."""

_ROWS = 2048  # 16 MiB of cosines a block: it stays near the processor while it is searched
_SLACK = 1e-5  # ten times what float32 loses in a product of 384 values; what lies closer is decided in float64
_ROUNDING = 1e-12  # of float64: a copy has to count at a threshold of exactly 1
_REFINED = 4096  # pairs that are computed again at once


def near_duplicates(
    features_ND: NDArray[np.floating], threshold: float, *, most: int = MOST_PAIRS
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Find every pair of images whose features point in almost the same direction.

    All pairs are looked at, so the time grows with the square of N: 20,000 images take seconds, a million take hours
    (give it one cluster at a time). Memory does not grow with N, and a memory-mapped file is never loaded as a whole.

    Args:
        features_ND: Finite features. A row of zeros is like nothing, not even like another one.
        threshold: Smallest cosine that counts, above 0 and up to 1.
        most: Pairs after which it gives up: a thousand copies of one picture already make half a million.

    Returns:
        Pairs (i, j) with i < j, sorted, shape (P, 2), and their cosines, shape (P,), computed in float64 and therefore
        the same whatever the number of threads.

    Raises:
        DataError: There are more pairs than `most`.
    """
    found: list[NDArray[np.int64]] = [np.empty((0, 2), np.int64)]
    cosines: list[NDArray[np.float64]] = [np.empty(0)]
    count = 0
    for pairs_P2 in _candidates(features_ND, threshold - _SLACK, most):
        cosine_P = _cosines(features_ND, pairs_P2)
        near_P = cosine_P >= threshold - _ROUNDING
        found.append(pairs_P2[near_P])
        cosines.append(cosine_P[near_P])
        count += int(near_P.sum())
        if count > most:
            _give_up(threshold, most)
    pairs_P2, cosine_P = np.concatenate(found), np.concatenate(cosines)
    order_P = np.lexsort((pairs_P2[:, 1], pairs_P2[:, 0]))
    return pairs_P2[order_P], cosine_P[order_P].astype(np.float32)


def count_distinct(features_ND: NDArray[np.floating], threshold: float) -> int:
    """Count images, near-copies once: those that are not within the threshold of an earlier one.

    Args:
        features_ND: As `near_duplicates` takes them, in an order of chance: of a slow film every frame but the first is
            near an earlier one.
        threshold: Smallest cosine of two images that count as one.

    Returns:
        1 to N; 0 for no image.

    Raises:
        DataError: As `near_duplicates`.
    """
    pairs_P2, _ = near_duplicates(features_ND, threshold)
    return len(features_ND) - len(np.unique(pairs_P2[:, 1]))


def _candidates(features_ND: NDArray[np.floating], threshold: float, most: int) -> Iterator[NDArray[np.int64]]:
    """Yield the pairs above a cosine, as float32 sees them, block by block of the upper triangle."""
    starts = range(0, len(features_ND), _ROWS)
    for first in starts:
        rows_AD = _block(features_ND, first)
        for second in starts[first // _ROWS :]:
            near_AB = rows_AD @ _block(features_ND, second).T >= threshold
            if first == second:
                near_AB = np.triu(near_AB, 1)
            if np.count_nonzero(near_AB) > 2 * most:  # the slack of the threshold cannot explain that many
                _give_up(threshold + _SLACK, most)
            yield np.argwhere(near_AB) + np.array([first, second])


def _block(features_ND: NDArray[np.floating], first: int) -> NDArray[np.float32]:
    return unit_rows(features_ND[first : first + _ROWS]).astype(np.float32)


def _cosines(features_ND: NDArray[np.floating], pairs_P2: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the cosines of pairs, in float64."""
    cosine_P = np.empty(len(pairs_P2))
    for first in range(0, len(pairs_P2), _REFINED):
        part = slice(first, first + _REFINED)
        left_PD, right_PD = (unit_rows(features_ND[pairs_P2[part, side]]) for side in (0, 1))
        cosine_P[part] = np.einsum("pd,pd->p", left_PD, right_PD)
    return np.minimum(cosine_P, 1.0)


def _give_up(threshold: float, most: int) -> None:
    raise DataError(
        f"more than {most:,} pairs of images have a cosine of {threshold:g} or more; "
        "raise the threshold, or leave out the copies first"
    )
