"""Image-level scores of anomaly detection: AUROC, F1, and share of good images with an empty mask.

Shapes: N images.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dinocli.quality.bootstrap import ScoreInterval, bootstrap

TOP_FRACTION = 0.01
"""Fraction of the highest values of an anomaly map whose mean is the image score."""

_DRAWS = 300


class Confusion(NamedTuple):
    """Counts of images; a positive is an image that was predicted defective."""

    true_positive: int
    false_positive: int
    false_negative: int
    true_negative: int


def image_score(map_hw: NDArray[np.floating]) -> float:
    """Return the mean of the highest `TOP_FRACTION` of a map, at least one value: the maximum alone can be noise."""
    flat = map_hw.reshape(-1)
    count = top_count(flat.size)
    return float(np.partition(flat, flat.size - count)[-count:].mean())


def top_count(size: int) -> int:
    """Return the number of values that make the score of a map of that many."""
    return max(1, round(TOP_FRACTION * size))


def confusion(defective_N: Sequence[bool], flagged_N: Sequence[bool]) -> Confusion:
    """Count images by ground truth and prediction.

    Args:
        defective_N: Ground truth.
        flagged_N: Prediction.
    """
    pairs = list(zip(defective_N, flagged_N, strict=True))
    return Confusion(*(pairs.count(pair) for pair in ((True, True), (False, True), (True, False), (False, False))))


def image_scores(
    score_N: Sequence[float], defective_N: Sequence[bool], flagged_N: Sequence[bool]
) -> dict[str, ScoreInterval]:
    """Score predictions of defective images against the ground truth.

    Args:
        score_N: Anomaly score; higher is more defective.
        defective_N: Ground truth.
        flagged_N: Prediction: the mask is not empty.

    Returns:
        Image AUROC, F1 of the defective images, and the fraction of good images with an empty mask (specificity), each
        with a 95 % interval; NaN where one of the classes has no image.
    """
    from sklearn.metrics import roc_auc_score  # loads for two seconds, and only a ground truth needs it

    score, defective, flagged = (np.asarray(values) for values in (score_N, defective_N, flagged_N))

    def auroc(weights_N: NDArray[np.float64]) -> float:
        drawn = weights_N > 0
        if len(np.unique(defective[drawn])) < 2:
            return float("nan")
        return float(roc_auc_score(defective[drawn], score[drawn], sample_weight=weights_N[drawn]))

    def f1(weights_N: NDArray[np.float64]) -> float:
        both = float(weights_N[defective & flagged].sum())
        below = float(weights_N[defective].sum() + weights_N[flagged].sum())
        return 2 * both / below if below else float("nan")

    def empty(weights_N: NDArray[np.float64]) -> float:
        good = float(weights_N[~defective].sum())
        return float(weights_N[~defective & ~flagged].sum()) / good if good else float("nan")

    measured = {"image AUROC": auroc, "image F1": f1, "good images empty": empty}
    return {name: bootstrap(statistic, len(score), draws=_DRAWS) for name, statistic in measured.items()}
