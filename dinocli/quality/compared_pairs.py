"""Which pairs of images are compared if not all can be, and what the compared ones tell about the others.

Shapes: N images, P pairs.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

Pair = tuple[int, int]


def nearest_first(pairs: Sequence[Pair]) -> list[int]:
    """Return the order in which pairs are compared if not all can be: the nearest pairs of each image first.

    Connected images take turns, so that neither a clump of hundreds of similar images nor its images far from each
    other come before the only pair of another image.

    Args:
        pairs: Nearest first.
    """
    if not pairs:
        return []
    seen: Counter[int] = Counter()
    round_P = []
    for pair in pairs:
        round_P.append(min(seen[row] for row in pair))
        seen.update(pair)
    order = np.argsort(round_P, kind="stable").tolist()
    label_N = components(pairs, max(seen) + 1)
    taken: Counter[int] = Counter()
    turn_P = []
    for place in order:
        component = int(label_N[pairs[place][0]])
        turn_P.append(taken[component])
        taken[component] += 1
    return [order[place] for place in np.argsort(turn_P, kind="stable").tolist()]


def implied_pairs(rest: Sequence[Pair], compared: Sequence[Pair], confirmed: Sequence[Pair]) -> list[bool]:
    """Return whether each further pair is one of copies, as far as compared pairs tell.

    Two images that were compared are copies if confirmed pairs connect them. Another pair follows the majority of the
    compared ones.

    Args:
        rest: Pairs that were not compared.
        compared: Pairs that were compared.
        confirmed: The copies among them.
    """
    known = {row for pair in compared for row in pair}
    rows = [row for pair in [*rest, *compared] for row in pair]
    label_N = components(confirmed, max(rows, default=0) + 1)
    most = 2 * len(confirmed) >= len(compared)
    return [bool(label_N[first] == label_N[second]) if {first, second} <= known else most for first, second in rest]


def components(pairs: Sequence[Pair], images: int) -> NDArray[np.int32]:
    """Return the connected component of each image, (N,)."""
    edges_P2 = np.array(pairs, np.intp).reshape(-1, 2)
    graph = coo_matrix((np.ones(len(edges_P2)), (edges_P2[:, 0], edges_P2[:, 1])), shape=(images, images))
    return np.asarray(connected_components(graph, directed=False)[1], np.int32)
