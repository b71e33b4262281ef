"""Cluster numbers that stay stable between two clusterings of mostly the same images.

Shapes: N images, K clusters, B earlier clusters.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from dinocli.quality.grouping import NO_CLUSTER


def stable_ids(before: dict[str, int], names: list[str], label_N: NDArray[np.intp], groups: int) -> list[int]:
    """Match clusters to earlier ones by the number of common images (Hungarian method); the rest get new numbers.

    Args:
        before: Earlier cluster of each image, by name.
        names: Names of the current images.
        label_N: Current cluster of each image; -1 for none.
        groups: Number of current clusters, K.

    Returns:
        Number of each cluster, K distinct integers.
    """
    known = sorted(set(before.values()))
    column = {number: place for place, number in enumerate(known)}
    shared_KB = np.zeros((groups, len(known)), np.int64)
    for name, label in zip(names, label_N.tolist(), strict=True):
        if label != NO_CLUSTER and name in before:
            shared_KB[label, column[before[name]]] += 1
    ids = dict.fromkeys(range(groups), NO_CLUSTER)
    for group, place in zip(*linear_sum_assignment(-shared_KB), strict=True):
        if shared_KB[group, place]:
            ids[int(group)] = known[place]
    free = max(known, default=-1) + 1
    for group, number in ids.items():
        if number == NO_CLUSTER:
            ids[group], free = free, free + 1
    return list(ids.values())
