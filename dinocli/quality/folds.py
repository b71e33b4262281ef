"""Stratified folds for cross-validation, with no group in two folds.

Shapes: N images.
"""

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold


def folds(
    labels_N: NDArray[Any], groups_N: NDArray[Any] | None, count: int, *, seed: int = 0
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Yield the training and test indices of each fold; every image is tested once.

    Args:
        labels_N: One class per image.
        groups_N: One group per image (a part, a slide, a patient); without it every image is its own.
        count: Number of folds, at least 2; fewer where there are fewer groups.
        seed: Seed of the shuffling.

    Yields:
        Two index arrays, which together hold every image once.
    """
    units = len(labels_N) if groups_N is None else len(np.unique(groups_N))
    count = max(2, min(count, units))
    # scikit-learn allows at most as many folds as the largest class has images.
    count = min(count, int(np.unique(labels_N, return_counts=True)[1].max()))
    kind = StratifiedKFold if groups_N is None else StratifiedGroupKFold
    split = kind(count, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)  # absent from some folds
        warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)  # few images a class
        yield from split.split(np.zeros(len(labels_N)), labels_N, groups_N)
