"""Selective classification: a confidence threshold with a guaranteed precision.

Shapes: M labelled images, N images of a folder, C classes.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc

SIGNIFICANCE = 0.05
"""Significance level: probability that the true precision is below the requested one."""

REJECT_ALL = 2.0
"""A threshold above every confidence: no prediction is accepted."""

_EM_STEPS, _EM_TOLERANCE = 500, 1e-6


def precision_threshold(
    confidence_M: NDArray[np.floating],
    right_M: NDArray[np.bool_],
    precision: float,
    weight_M: NDArray[np.floating] | None = None,
) -> float:
    """Return the smallest confidence from which predictions have the requested precision; `REJECT_ALL` if none has.

    The labelled images are sorted by confidence. A threshold is valid if a lower precision would give as few errors
    above it with a probability of at most `SIGNIFICANCE` (one-sided binomial test). So a few labels guarantee nothing:
    see `min_labels`.

    Args:
        confidence_M: Out-of-fold confidence of each labelled image.
        right_M: Whether the prediction is correct.
        precision: Requested share of correct predictions among the accepted, 0 to 1.
        weight_M: Importance weight of each labelled image, up to a factor; None for equal weights. The test uses the
            effective sample size.

    Source: Geifman and El-Yaniv 2017, arXiv:1705.08500 (selective classification with guaranteed risk). Departs: the
        exact binomial tail at each rank, without their correction for the number of thresholds; weights.
    """
    order = np.argsort(-confidence_M, kind="stable")
    weight_M = np.ones(len(order)) if weight_M is None else weight_M[order]
    sum_M = np.cumsum(weight_M)
    count_M = np.square(sum_M) / np.cumsum(np.square(weight_M))
    errors_M = count_M * np.cumsum(weight_M * ~right_M[order]) / sum_M
    # P(at most e errors of n) at precision p, for any real e and n.
    tail_M = betainc(np.maximum(count_M - errors_M, 1e-9), errors_M + 1, precision)
    ranked_M = confidence_M[order]
    last_M = np.append(ranked_M[1:] < ranked_M[:-1], True)  # ties are accepted together
    kept = np.flatnonzero((tail_M <= SIGNIFICANCE) & last_M)
    return float(ranked_M[kept[-1]]) if len(kept) else REJECT_ALL


def min_labels(precision: float) -> int:
    """Return the number of labelled images needed to guarantee a precision if all are predicted correctly."""
    return math.ceil(math.log(SIGNIFICANCE) / math.log(precision))


def class_shares(probability_NC: NDArray[np.floating], known_C: NDArray[np.floating]) -> NDArray[np.float64]:
    """Estimate the class priors of a folder whose class distribution differs from that of the labelled images.

    Args:
        probability_NC: Calibrated probabilities of the images of the folder.
        known_C: Class priors of the labelled images.

    Source: Saerens et al. 2002, Neural Computation 14(1) (expectation maximisation of the prior).
    """
    share_C = np.asarray(known_C, np.float64)
    for _ in range(_EM_STEPS):
        adjusted_NC = probability_NC * (share_C / known_C)
        before_C, share_C = share_C, (adjusted_NC / adjusted_NC.sum(axis=1, keepdims=True)).mean(axis=0)
        if np.abs(share_C - before_C).max() < _EM_TOLERANCE:
            break
    return share_C
