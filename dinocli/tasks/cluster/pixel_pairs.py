"""Pairs of images compared by their pixels: any two images, and the search for copies with a covered part.

Shapes: P pairs, T codes of an image.
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from dinocli.artifacts.feature_file import FeatureFile
from dinocli.data.parallel import in_order, thread_count
from dinocli.progress import ProgressReporter
from dinocli.quality.aligned_similarity import structure
from dinocli.quality.compared_pairs import Pair, nearest_first
from dinocli.quality.copy_threshold import UNRELATED_QUANTILE
from dinocli.quality.cosine import pair_cosine
from dinocli.quality.duplicates import SamePair
from dinocli.quality.nearest_rows import nearest_rows
from dinocli.quality.normalized_features import block_threads
from dinocli.quality.partial_copies import MAX_USUAL, MIN_SIMILARITY, block_similarity, equal_codes
from dinocli.report.thumbnails import Thumbnails

COMPARED_PAIRS = 500
"""Pairs whose pixels are compared (`nearest_first`); takes half a minute."""

UNRELATED_PAIRS = 40
"""Random pairs that show how similar unrelated images of the folder are."""

_SIDE = 128
_NEIGHBOURS = 5

Compare = Callable[[NDArray[np.float32], NDArray[np.float32]], float]


class Structures:
    """The `structure` of images, each decoded once.

    Args:
        members: The images.
    """

    def __init__(self, members: FeatureFile) -> None:
        self._thumbnails = Thumbnails(members, _SIDE)
        self._known: dict[int, NDArray[np.float32]] = {}

    def of(self, rows: Iterable[int]) -> dict[int, NDArray[np.float32]]:
        """Return the structure of rows."""
        new = sorted({*rows} - self._known.keys())
        self._known.update(zip(new, map(structure, self._thumbnails.small(new)), strict=True))
        return self._known

    def compared(self, pairs: Sequence[Pair], compare: Compare) -> NDArray[np.float64]:
        """Return the similarity of each pair, (P,)."""
        pictures = self.of(row for pair in pairs for row in pair)
        similarities = in_order(lambda pair: compare(pictures[pair[0]], pictures[pair[1]]), pairs, thread_count("auto"))
        return np.array(list(similarities), np.float64)


def covered_copies(
    members: FeatureFile,
    rows: NDArray[np.intp],
    codes_NT: NDArray[np.int64],
    known: Sequence[SamePair],
    reporter: ProgressReporter,
    seed: int,
) -> list[SamePair]:
    """Find pairs that are equal but for a covered part, also where their features differ.

    Args:
        members: The images.
        rows: Sorted rows to compare.
        codes_NT: `block_codes` of each image.
        known: Pairs that are found already.
        reporter: Receives a note if there are too many candidates.
        seed: Random seed of unrelated pairs.

    Returns:
        The pairs that are not known; none where unrelated images, or an image and its neighbours, are equal too.
    """
    found = {(pair.first, pair.second) for pair in known}
    equal: list[Pair] = [(a, b) for a, b in rows[equal_codes(codes_NT[rows])].tolist() if (a, b) not in found]
    pairs = [equal[place] for place in nearest_first(equal)[:COMPARED_PAIRS]]
    if len(pairs) < len(equal):
        reporter.line(f"of {len(equal):,} pairs with equal blocks, {len(pairs):,} are compared for covered parts")
    structures = Structures(members)
    drawn = np.random.default_rng(seed).choice(rows, (UNRELATED_PAIRS if pairs else 0, 2)).tolist()
    unrelated_P = structures.compared([(a, b) for a, b in drawn if a != b], block_similarity)
    if not len(unrelated_P) or np.quantile(unrelated_P, UNRELATED_QUANTILE) > MAX_USUAL:
        return []
    similarity = dict(zip(pairs, structures.compared(pairs, block_similarity), strict=True))
    usual = _neighbour_similarities(
        members, structures, rows, [pair for pair in pairs if similarity[pair] >= MIN_SIMILARITY]
    )
    copies = [pair for pair, near in usual.items() if not near or np.median(near) <= MAX_USUAL]
    return [SamePair(*pair, pair_cosine(members.pooled_ND, *pair), likeness=float(similarity[pair])) for pair in copies]


def _neighbour_similarities(
    members: FeatureFile, structures: Structures, rows: NDArray[np.intp], pairs: Sequence[Pair]
) -> dict[Pair, list[float]]:
    """Return for each pair how similar its two images are to their other neighbours by features."""
    asked = sorted({row for pair in pairs for row in pair})
    if not asked:
        return {}
    features_ND, place = np.asarray(members.pooled_ND[rows], np.float32), np.searchsorted(rows, asked)
    nearest = nearest_rows(features_ND[place], features_ND, _NEIGHBOURS, leave_out=place, threads=block_threads())
    neighbours = dict(zip(asked, rows[nearest.rows_QK].tolist(), strict=True))
    others = {pair: [(row, other) for row in pair for other in neighbours[row] if other not in pair] for pair in pairs}
    similarity = iter(structures.compared([one for listed in others.values() for one in listed], block_similarity))
    return {pair: [float(next(similarity)) for _ in listed] for pair, listed in others.items()}
