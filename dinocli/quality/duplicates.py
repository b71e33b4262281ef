"""Near-duplicates: every pair of images above a cosine threshold, exact, in bounded memory; groups of duplicates.

Shapes: N images, D width, P pairs, A B rows of two blocks.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dinocli.errors import DataError
from dinocli.quality.compared_pairs import components
from dinocli.quality.copy_threshold import BORDERLINE, CopyThreshold
from dinocli.quality.cosine import unit_rows

MAX_PAIRS = 1_000_000
"""Maximum number of pairs: a thousand copies of one image already make half a million."""

SAME_COSINE = 0.99
"""Cosine from which two images count as one: frames of a video, parts from one mould. Reached by 1 pair of 1,124 chest
x-rays, and by 125 pairs of 2,624 solar cells."""

_BLOCK_ROWS = 2048  # 16 MiB of cosines a block, which fit into the processor's cache
_SLACK = 1e-5  # ten times the float32 error of a dot product of 384 values; such pairs are decided in float64
_ROUNDING = 1e-12  # float64 error: copies must count at a threshold of exactly 1
_REFINED_PAIRS = 4096  # pairs whose cosine is computed in float64 at once


class SamePair(NamedTuple):
    """A pair of duplicates, first < second.

    Args:
        first: Row of the first image.
        second: Row of the second image.
        cosine: Cosine of their features.
        exact: Their files are byte-identical.
        likeness: Correlation of their aligned pixels; NaN if pixels were not compared.
    """

    first: int
    second: int
    cosine: float
    exact: bool = False
    likeness: float = float("nan")


class DuplicateGroup(NamedTuple):
    """A group of duplicates.

    Args:
        rows: Rows, the one to keep first.
        identical: Whether the file of each row is byte-identical to the one to keep.
        cosines: Cosine of each row to the one to keep; NaN if only other images connect the two.
    """

    rows: list[int]
    identical: list[bool]
    cosines: list[float]

    @property
    def exact(self) -> bool:
        """Return whether all files are byte-identical."""
        return all(self.identical)


def near_duplicates(
    features_ND: NDArray[np.floating], threshold: float
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Find every pair of images with a cosine of at least the threshold.

    All pairs are compared, so the time grows with the square of N: 20,000 images take seconds, a million take hours
    (pass one cluster at a time). Memory does not grow with N, and a memory-mapped file is never loaded as a whole.

    Args:
        features_ND: Finite features. A row of zeros has cosine 0 to every row.
        threshold: Smallest cosine that counts, above 0 and up to 1.

    Returns:
        Sorted pairs (i, j) with i < j, shape (P, 2), and their float64 cosines, shape (P,), independent of the number
        of threads.

    Raises:
        DataError: There are more than `MAX_PAIRS` pairs.
    """
    pairs: list[NDArray[np.int64]] = [np.empty((0, 2), np.int64)]
    cosines: list[NDArray[np.float64]] = [np.empty(0)]
    count = 0
    for pairs_P2 in _candidates(features_ND, threshold - _SLACK):
        cosine_P = _cosines(features_ND, pairs_P2)
        near_P = cosine_P >= threshold - _ROUNDING
        pairs.append(pairs_P2[near_P])
        cosines.append(cosine_P[near_P])
        count += int(near_P.sum())
        if count > MAX_PAIRS:
            _give_up(threshold)
    pairs_P2, cosine_P = np.concatenate(pairs), np.concatenate(cosines)
    order_P = np.lexsort((pairs_P2[:, 1], pairs_P2[:, 0]))
    return pairs_P2[order_P], cosine_P[order_P].astype(np.float32)


def count_distinct(features_ND: NDArray[np.floating], threshold: float) -> int:
    """Count images without near-duplicates: those that are not within the threshold of an earlier one.

    Args:
        features_ND: Finite features in random order: in a slow video every frame but the first is near an earlier one.
        threshold: Smallest cosine of two images that count as one.

    Returns:
        1 to N; 0 without images.

    Raises:
        DataError: There are more than `MAX_PAIRS` pairs.
    """
    pairs_P2, _ = near_duplicates(features_ND, threshold)
    return len(features_ND) - len(np.unique(pairs_P2[:, 1]))


def outlying_pairs(near: Sequence[SamePair], bulk: CopyThreshold) -> list[SamePair]:
    """Return the pairs with an outlying cosine, and mutual nearest neighbours.

    Args:
        near: Pairs, highest cosine first.
        bulk: Distribution of the nearest-neighbour cosines of the folder.
    """
    best: dict[int, SamePair] = {}
    for pair in near:
        best.setdefault(pair.first, pair)
        best.setdefault(pair.second, pair)
    far_P = bulk.deviations(np.array([pair.cosine for pair in near])) >= BORDERLINE
    return [pair for pair, far in zip(near, far_P, strict=True) if far or best[pair.first] is pair is best[pair.second]]


def duplicate_groups(pairs: Sequence[SamePair], images: int, keep_order: Callable[[int], Any]) -> list[DuplicateGroup]:
    """Return the connected components of the pairs, largest first.

    Args:
        pairs: Pairs of duplicates.
        images: Number of images.
        keep_order: Sort key of a row; the smallest of a group is the one to keep.
    """
    if not pairs:
        return []
    edges = [pair[:2] for pair in pairs]
    label_N = components(edges, images)
    groups: dict[int, list[int]] = {}
    for row in np.unique(edges).tolist():
        groups.setdefault(int(label_N[row]), []).append(row)
    original = {pair.second: pair.first for pair in pairs if pair.exact}  # each copy is paired with the first one
    cosine = {frozenset((pair.first, pair.second)): pair.cosine for pair in pairs}

    def group_of(rows: list[int]) -> DuplicateGroup:
        files = [original.get(row, row) for row in rows]
        identical = [file == files[0] for file in files]
        near = [cosine.get(frozenset((files[0], file)), float("nan")) for file in files]
        cosines = [1.0 if same else value for same, value in zip(identical, near, strict=True)]
        return DuplicateGroup(rows, identical, cosines)

    ordered = (group_of(sorted(rows, key=keep_order)) for rows in groups.values())
    return sorted(ordered, key=lambda group: (-len(group.rows), group.rows[0]))


def _candidates(features_ND: NDArray[np.floating], threshold: float) -> Iterator[NDArray[np.int64]]:
    """Yield the pairs above a cosine in float32, block by block of the upper triangle."""
    starts = range(0, len(features_ND), _BLOCK_ROWS)
    for first in starts:
        rows_AD = _block(features_ND, first)
        for second in starts[first // _BLOCK_ROWS :]:
            near_AB = rows_AD @ _block(features_ND, second).T >= threshold
            if first == second:
                near_AB = np.triu(near_AB, 1)
            if np.count_nonzero(near_AB) > 2 * MAX_PAIRS:  # more than the slack of the threshold explains
                _give_up(threshold + _SLACK)
            yield np.argwhere(near_AB) + np.array([first, second])


def _block(features_ND: NDArray[np.floating], first: int) -> NDArray[np.float32]:
    return unit_rows(features_ND[first : first + _BLOCK_ROWS]).astype(np.float32)


def _cosines(features_ND: NDArray[np.floating], pairs_P2: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the cosines of pairs, in float64."""
    cosine_P = np.empty(len(pairs_P2))
    for first in range(0, len(pairs_P2), _REFINED_PAIRS):
        part = slice(first, first + _REFINED_PAIRS)
        left_PD, right_PD = (unit_rows(features_ND[pairs_P2[part, side]]) for side in (0, 1))
        cosine_P[part] = np.einsum("pd,pd->p", left_PD, right_PD)
    return np.minimum(cosine_P, 1.0)


def _give_up(threshold: float) -> None:
    raise DataError(
        f"more than {MAX_PAIRS:,} pairs of images have a cosine of {threshold:g} or more; "
        "raise the threshold, or leave out the copies first"
    )
