"""Numbers of groups that stay the same from one run to the next.

Shapes: N images, K groups.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from dinocli.quality.grouping import NONE


def stable_ids(before: dict[str, int], names: list[str], label_N: NDArray[np.intp], groups: int) -> list[int]:
    """Give each group the earlier number with which it shares the most images, and new numbers to the others.

    Args:
        before: Earlier group of images, by name.
        names: Names of the images now.
        label_N: Their groups now, -1 for none.
        groups: How many there are.

    Returns:
        The number of each group, shape (K,), all different.
    """
    known = sorted(set(before.values()))
    column = {number: place for place, number in enumerate(known)}
    shared_KB = np.zeros((groups, len(known)), np.int64)
    for name, label in zip(names, label_N.tolist(), strict=True):
        if label != NONE and name in before:
            shared_KB[label, column[before[name]]] += 1
    ids = dict.fromkeys(range(groups), NONE)
    for group, place in zip(*linear_sum_assignment(-shared_KB), strict=True):
        if shared_KB[group, place]:
            ids[int(group)] = known[place]
    free = max(known, default=-1) + 1
    for group, number in ids.items():
        if number == NONE:
            ids[group], free = free, free + 1
    return list(ids.values())
