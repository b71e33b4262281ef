"""Bootstrap of classification scores that are not means over images, such as macro F1.

Images with the same label and the same two predictions are interchangeable for every score here. So the bootstrap draws
their counts instead of the images, and two thousand draws cost as much as one.

Shapes: N images, S draws, K kinds of image, U groups.
"""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dinocli.quality.compare import Difference

Statistic = Literal["balanced accuracy", "macro F1"]


def bootstrap_predictions(
    labels_N: NDArray[Any],
    start_N: NDArray[Any],
    end_N: NDArray[Any],
    statistic: Statistic,
    *,
    groups_N: NDArray[Any] | None = None,
    draws: int = 2000,
    seed: int = 0,
) -> Difference:
    """Estimate the difference of a score between two sets of predictions and how sure it is.

    Args:
        labels_N: One label per image.
        start_N: Predictions of the one.
        end_N: Predictions of the other, the same images in the same order.
        statistic: The score.
        groups_N: One group per image (a part, a slide, a patient): whole groups are drawn.
        draws: Resampled sets of images.
        seed: Of the drawing.

    Returns:
        Score of end - score of start, and the 2.5 and 97.5 percentiles of the resampled differences.

    Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 13 (percentile interval).
    """
    names, code = np.unique(np.concatenate([labels_N, start_N, end_N]), return_inverse=True)
    kinds_K3, kind_N = np.unique(code.reshape(3, -1).T, axis=0, return_inverse=True)
    counts_1K = np.bincount(kind_N)[None]
    counts_SK = _draw(kind_N, groups_N, draws, np.random.default_rng(seed))

    def change(counts: NDArray[np.integer]) -> NDArray[np.float64]:
        start, end = (_score(counts, kinds_K3[:, 0], kinds_K3[:, side], len(names), statistic) for side in (1, 2))
        return end - start

    low, high = np.percentile(change(counts_SK), [2.5, 97.5])
    return Difference(float(change(counts_1K)[0]), float(low), float(high))


def _draw(
    kind_N: NDArray[np.intp], groups_N: NDArray[Any] | None, draws: int, random: np.random.Generator
) -> NDArray[np.integer]:
    """Return how many images of each kind a resampled set has, shape (S, K)."""
    if groups_N is None:
        return random.multinomial(len(kind_N), np.bincount(kind_N) / len(kind_N), draws)
    group_N = np.unique(groups_N, return_inverse=True)[1]
    table_UK = np.zeros((group_N.max() + 1, kind_N.max() + 1), np.int64)
    np.add.at(table_UK, (group_N, kind_N), 1)
    units = len(table_UK)
    return np.stack([table_UK[random.integers(0, units, units)].sum(axis=0) for _ in range(draws)])


def _score(
    counts_SK: NDArray[np.integer],
    label_K: NDArray[np.intp],
    predicted_K: NDArray[np.intp],
    classes: int,
    statistic: Statistic,
) -> NDArray[np.float64]:
    """Return the score of each draw; a class that a draw lacks does not count in it."""
    right, labelled, predicted = (
        np.stack([counts_SK[:, kinds == number].sum(axis=1) for number in range(classes)])
        for kinds in (np.where(label_K == predicted_K, label_K, -1), label_K, predicted_K)
    )
    whole = labelled if statistic == "balanced accuracy" else (labelled + predicted) / 2
    share = np.divide(right, whole, out=np.full(right.shape, np.nan), where=whole > 0)
    return np.asarray(np.nanmean(share, axis=0))
