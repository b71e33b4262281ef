"""Calibration of confidences: reliability diagram and expected calibration error.

Shapes: N predictions, B bins.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

BINS = 10


class Reliability(NamedTuple):
    """Confidence against accuracy, in bins of equal width.

    Args:
        counts_B: Number of predictions in each bin.
        confidence_B: Mean confidence of each bin; NaN if empty.
        accuracy_B: Accuracy of each bin; NaN if empty.
        error: Expected calibration error, 0 to 1: mean absolute difference of confidence and accuracy, weighted by the
            counts.
    """

    counts_B: NDArray[np.intp]
    confidence_B: NDArray[np.float64]
    accuracy_B: NDArray[np.float64]
    error: float


def reliability(confidence_N: NDArray[np.floating], right_N: NDArray[np.bool_]) -> Reliability:
    """Compare confidence with accuracy in bins.

    Args:
        confidence_N: Confidence of each prediction, 0 to 1.
        right_N: Whether the prediction is correct.

    Source: Guo et al. 2017, arXiv:1706.04599, section 2, equation 3. Departs: a bin includes its lower edge.
    """
    bin_N = np.minimum((confidence_N * BINS).astype(np.intp), BINS - 1)
    counts_B = np.bincount(bin_N, minlength=BINS)
    with np.errstate(invalid="ignore"):
        confidence_B = np.bincount(bin_N, confidence_N, BINS) / counts_B
        accuracy_B = np.bincount(bin_N, right_N, BINS) / counts_B
    error = float(np.nansum(np.abs(confidence_B - accuracy_B) * counts_B) / max(len(bin_N), 1))
    return Reliability(counts_B, confidence_B, accuracy_B, error)
