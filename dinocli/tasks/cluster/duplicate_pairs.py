"""Images that are nearly, or exactly, the same."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dinocli.engine.progress import ProgressReporter
from dinocli.errors import DataError
from dinocli.quality.duplicates import near_duplicates
from dinocli.quality.grouping import Grouping
from dinocli.tasks.cluster.cluster_inputs import ClusterInputs

ALL_PAIRS_ROWS = 50_000
"""Above this many images only those of one group are compared with each other: the time grows with the square."""


class SamePair(NamedTuple):
    """Two rows, first < second; `exact` if their files hold the same bytes."""

    first: int
    second: int
    cosine: float
    exact: bool


class Same(NamedTuple):
    """What was found.

    Args:
        pairs: Closest first; of several copies of one file each is paired with the first, and all near ones are.
        near: Pairs above the cosine, or None where they were too many.
        copies: Images whose file is a copy of an earlier one.
    """

    pairs: list[SamePair]
    near: int | None
    copies: int


def find_same(members: ClusterInputs, grouping: Grouping, threshold: float, reporter: ProgressReporter) -> Same:
    """Find pairs above a cosine, and copies of files.

    Copies are found first, and only the first of them is compared with the other images: a thousand copies would
    otherwise be half a million pairs.

    Args:
        members: The images.
        grouping: Says where to look in a large set.
        threshold: Smallest cosine.
        reporter: Hears of what is left out.
    """
    copies = members.copies()
    exact = [SamePair(group[0], other, 1.0, True) for group in copies for other in group[1:]]
    again = np.zeros(len(members), bool)
    again[[pair.second for pair in exact]] = True
    near: list[SamePair] | None = []
    try:
        near = [pair for rows in _compared(grouping, ~again, reporter) for pair in _near(members, rows, threshold)]
    except DataError as error:
        reporter.warn(f"near-duplicates are not listed: {error}")
        near = None
    pairs = sorted([*exact, *(near or [])], key=lambda pair: (-pair.cosine, not pair.exact, pair.first, pair.second))
    return Same(pairs, None if near is None else len(near), len(exact))


def _compared(grouping: Grouping, wanted_N: NDArray[np.bool_], reporter: ProgressReporter) -> list[NDArray[np.intp]]:
    """Return the sets of rows in which all are compared with all."""
    if wanted_N.sum() <= ALL_PAIRS_ROWS:
        return [np.flatnonzero(wanted_N)]
    reporter.line(f"more than {ALL_PAIRS_ROWS:,} images: near-duplicates are looked for within each group")
    return [np.flatnonzero(wanted_N & (grouping.label_N == group)) for group in range(len(grouping.sizes_K))]


def _near(members: ClusterInputs, rows: NDArray[np.intp], threshold: float) -> list[SamePair]:
    pairs_P2, cosine_P = near_duplicates(members.features_ND[rows], threshold)
    together = zip(rows[pairs_P2].tolist(), cosine_P.tolist(), strict=True)
    return [SamePair(first, second, cosine, False) for (first, second), cosine in together]
