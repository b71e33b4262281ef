"""Near-copies confirmed by pixels: candidate pairs by features, of which a limited number is compared.

Shapes: N images, P pairs.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from dinocli.artifacts.feature_file import FeatureFile
from dinocli.progress import ProgressReporter
from dinocli.quality.aligned_similarity import aligned_similarity, is_plain
from dinocli.quality.compared_pairs import implied_pairs, nearest_first
from dinocli.quality.copy_threshold import CLEAR, CopyThreshold
from dinocli.quality.duplicates import SamePair, outlying_pairs
from dinocli.tasks.cluster.pixel_pairs import COMPARED_PAIRS, UNRELATED_PAIRS, Structures


def confirmed_pairs(
    members: FeatureFile, near: Sequence[SamePair], bulk: CopyThreshold, reporter: ProgressReporter, seed: int
) -> list[SamePair]:
    """Return the pairs confirmed by features and pixels; without pixels, those whose cosine is a clear outlier.

    Images without structure are in no pair: nothing tells a copy of a blank image from another one. Of more than
    `COMPARED_PAIRS` pairs, the others need a clearly outlying cosine and must agree with the compared ones
    (`implied_pairs`).

    Args:
        members: The images.
        near: Candidate pairs.
        bulk: Distribution of the nearest-neighbour cosines of the folder.
        reporter: Receives a note if not all pairs are compared.
        seed: Random seed of unrelated pairs.
    """
    near = sorted(near, key=lambda pair: -pair.cosine)
    if members.root is None:
        return [pair for pair in outlying_pairs(near, bulk) if _is_clear(pair, bulk)]
    structures = Structures(members)
    plain = _plain_rows(structures, outlying_pairs(near, bulk))
    near = outlying_pairs([pair for pair in near if plain.isdisjoint(pair[:2])], bulk)
    order = nearest_first([pair[:2] for pair in near])
    first = [near[place] for place in sorted(order[:COMPARED_PAIRS])]
    rest = [near[place] for place in sorted(order[COMPARED_PAIRS:])]
    confirmed = _compared(members, structures, first, bulk, seed)
    if not rest:
        return confirmed
    reporter.line(
        f"the pixels of {len(first):,} of {len(near):,} pairs are compared, each image with its nearest first; "
        "the others follow from these and their cosine"
    )
    clear, likely, compared = ([pair for pair in pairs if _is_clear(pair, bulk)] for pairs in (rest, confirmed, first))
    implied = implied_pairs(*([pair[:2] for pair in pairs] for pairs in (clear, compared, likely)))
    return [*confirmed, *(pair for pair, same in zip(clear, implied, strict=True) if same)]


def _is_clear(pair: SamePair, bulk: CopyThreshold) -> bool:
    return bool(bulk.deviations(np.array([pair.cosine]))[0] >= CLEAR)


def _plain_rows(structures: Structures, near: Sequence[SamePair]) -> set[int]:
    """Return the images without structure among candidates; of many, among those in the most pairs."""
    count = Counter(row for pair in near for row in pair[:2])
    rows = [row for row, _ in count.most_common(2 * COMPARED_PAIRS)]
    pictures = structures.of(rows)
    return {row for row in rows if is_plain(pictures[row])}


def _compared(
    members: FeatureFile, structures: Structures, pairs: Sequence[SamePair], bulk: CopyThreshold, seed: int
) -> list[SamePair]:
    """Return the pairs whose pixels are similar enough."""
    drawn = np.random.default_rng(seed).integers(0, len(members), (UNRELATED_PAIRS if pairs else 0, 2))
    both = [*(pair[:2] for pair in pairs), *map(tuple, drawn.tolist())]
    likeness_P = structures.compared(both, aligned_similarity)
    unrelated = likeness_P[len(pairs) :][drawn[:, 0] != drawn[:, 1]]
    needed_P = bulk.needed(np.array([pair.cosine for pair in pairs]), unrelated)
    return [
        pair._replace(likeness=float(likeness))
        for pair, likeness, needed in zip(pairs, likeness_P, needed_P, strict=False)
        if likeness >= needed
    ]
