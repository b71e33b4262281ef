"""Near-duplicate and byte-identical images: pairs, and groups with a file to keep.

Shapes: P pairs.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dinocli.artifacts.feature_file import FeatureFile
from dinocli.data.decode import image_size
from dinocli.data.file_copies import same_files
from dinocli.errors import DataError, counted
from dinocli.progress import ProgressReporter
from dinocli.quality.copy_threshold import CLEAR, MUTUAL, CopyThreshold, copy_threshold
from dinocli.quality.cosine import pair_cosine
from dinocli.quality.duplicates import DuplicateGroup, SamePair, duplicate_groups, near_duplicates
from dinocli.quality.grouping import Grouping
from dinocli.quality.nearest_rows import nearest_rows
from dinocli.quality.normalized_features import block_threads
from dinocli.tasks.cluster.cluster_options import AUTO_DUPLICATES
from dinocli.tasks.cluster.confirmed_pairs import confirmed_pairs
from dinocli.tasks.cluster.pixel_pairs import covered_copies

ALL_PAIRS_ROWS = 50_000
"""With more images, only those in the same group are compared: the time grows with the square of their number."""

_BULK_ROWS = 2000
_MIN_EQUAL_COSINE = 0.99  # features of equal files; rare ones of an image in its own bank differ by less
_MIN_MUTUAL_COSINE = 0.9  # mutual nearest neighbours from this cosine are candidates even if every image has a copy


class Same(NamedTuple):
    """Result of the duplicate search.

    Args:
        pairs: Highest cosine first. Each copy of a file is paired with the first copy; of near-duplicates all pairs are
            listed.
        near: Number of near-duplicate pairs; None without a search, or if there were too many.
        copies: Number of images whose file is a copy of an earlier one.
        groups: The pairs as groups, largest first; of a group the file to keep is first: that of most pixels, then the
            largest, then by name.
        threshold: Cosine from which features alone make a pair; 1 without a search.
        reason: Source of the threshold; empty without a search.
    """

    pairs: list[SamePair]
    near: int | None
    copies: int
    groups: list[DuplicateGroup]
    threshold: float = 1.0
    reason: str = ""


def find_same(
    members: FeatureFile,
    grouping: Grouping,
    threshold: float,
    reporter: ProgressReporter,
    seed: int = 0,
    codes_NT: NDArray[np.int64] | None = None,
    plain_N: NDArray[np.bool_] | None = None,
) -> Same:
    """Find near-duplicates and byte-identical files.

    Copies are found first, and only the first copy is compared with other images: a thousand copies would otherwise
    give half a million pairs.

    Args:
        members: The images.
        grouping: Groups, within which a large dataset is searched.
        threshold: Minimum cosine; `AUTO_DUPLICATES` estimates it from the images and compares pixels, 0 finds nothing.
        reporter: Receives notes on pairs that are not searched or listed.
        seed: Random seed of sampled rows and unrelated pairs.
        codes_NT: `block_codes` of each image, by which `AUTO_DUPLICATES` finds covered copies; None without them.
        plain_N: Images without structure, which `AUTO_DUPLICATES` leaves out; None if it is not known.
    """
    if not threshold:
        return Same([], None, 0, [])
    root, boxes = members.root, members.boxes
    copies = same_files([str(root / name) for name in members.names]) if root and boxes is None else []
    exact = [SamePair(group[0], other, 1.0, True) for group in copies for other in group[1:]]
    if changed := _changed(members, exact):
        first = changed[0]
        names = f"{members.names[first.first]} and {members.names[first.second]}"
        reporter.warn(
            f"{counted(len(changed), 'pair')} of equal files, such as {names}, with different features: images were "
            "replaced since they were embedded; embed the folder again"
        )
    is_copy_N = np.zeros(len(members), bool)
    is_copy_N[[pair.second for pair in exact]] = True
    searched_N = ~is_copy_N
    if threshold == AUTO_DUPLICATES and plain_N is not None:
        searched_N &= ~plain_N
    bulk = _bulk(members, np.flatnonzero(searched_N), seed) if threshold == AUTO_DUPLICATES else None
    least = min(bulk.cosine(MUTUAL), _MIN_MUTUAL_COSINE) if bulk else threshold
    near: list[SamePair] | None = []
    try:
        near = [pair for rows in _row_sets(grouping, searched_N, reporter) for pair in _near(members, rows, least)]
    except DataError as error:
        reporter.warn(f"near-duplicates are not listed: {error}")
        near = None
    reason = f"cosine of {threshold:g} or more, as given"
    if bulk:
        threshold = bulk.cosine(CLEAR)
        reason = f"nearest neighbours usually have a cosine of {bulk.cosine(0):.3f}, copies from {threshold:.3f}"
        if not bulk.measured:
            reason = "no image has a neighbour with other features"
        near = near and confirmed_pairs(members, near, bulk, reporter, seed)
        if near is not None and codes_NT is not None:
            near += covered_copies(members, np.flatnonzero(searched_N), codes_NT, near, reporter, seed)
        reporter.line(f"duplicates: {reason}; pixels decide from {least:.3f}")
    pairs = sorted([*exact, *(near or [])], key=lambda pair: (-pair.cosine, not pair.exact, pair.first, pair.second))
    groups = duplicate_groups(pairs, len(members), lambda row: _keep_order(members, row))
    return Same(pairs, None if near is None else len(near), len(exact), groups, threshold, reason)


def _changed(members: FeatureFile, exact: Sequence[SamePair]) -> list[SamePair]:
    """Return the pairs of equal files whose features differ by more than rounding."""
    cosine = (pair_cosine(members.pooled_ND, pair.first, pair.second) for pair in exact)
    return [pair for pair, value in zip(exact, cosine, strict=True) if value < _MIN_EQUAL_COSINE]


def _keep_order(members: FeatureFile, row: int) -> tuple[int, int, str]:
    """Return a sort key: most pixels, then largest file, then name."""
    if members.root is None:
        return 0, 0, members.names[row]
    path = members.root / members.names[row]
    try:
        height, width = image_size(path)
        return -height * width, -path.stat().st_size, members.names[row]
    except (DataError, OSError):
        return 0, 0, members.names[row]


def _bulk(members: FeatureFile, rows: NDArray[np.intp], seed: int) -> CopyThreshold:
    """Fit the distribution of nearest-neighbour cosines on a sample."""
    if not len(rows):
        return copy_threshold(np.empty(0))
    chosen = np.random.default_rng(seed).permutation(len(rows))[:_BULK_ROWS]
    features_ND = np.asarray(members.pooled_ND[rows], np.float32)
    nearest = nearest_rows(features_ND[chosen], features_ND, 1, leave_out=chosen, threads=block_threads())
    cosine_QK = nearest.cosine_QK
    return copy_threshold(cosine_QK[:, 0] if cosine_QK.shape[1] else np.empty(0))


def _row_sets(grouping: Grouping, wanted_N: NDArray[np.bool_], reporter: ProgressReporter) -> list[NDArray[np.intp]]:
    """Return sets of rows within which all pairs are compared."""
    if wanted_N.sum() <= ALL_PAIRS_ROWS:
        return [np.flatnonzero(wanted_N)]
    reporter.line(f"more than {ALL_PAIRS_ROWS:,} images: near-duplicates are searched within each group")
    return [np.flatnonzero(wanted_N & (grouping.label_N == group)) for group in range(len(grouping.sizes_K))]


def _near(members: FeatureFile, rows: NDArray[np.intp], threshold: float) -> list[SamePair]:
    pairs_P2, cosine_P = near_duplicates(members.pooled_ND[rows], threshold)
    pairs = zip(rows[pairs_P2].tolist(), cosine_P.tolist(), strict=True)
    return [SamePair(first, second, cosine, False) for (first, second), cosine in pairs]
