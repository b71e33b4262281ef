"""From which confidence a prediction is right often enough: a threshold with a promise.

Shapes: M labelled images, N images of a folder, C classes.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc

ERROR = 0.05
"""Probability that the promise does not hold."""

NEVER = 2.0
"""A threshold that no confidence reaches."""

_STEPS, _SETTLED = 500, 1e-6


def precision_threshold(
    confidence_M: NDArray[np.floating],
    right_M: NDArray[np.bool_],
    precision: float,
    weight_M: NDArray[np.floating] | None = None,
) -> float:
    """Return the smallest confidence from which predictions have a stated precision; `NEVER` where none is shown.

    The labelled images are ranked, the most confident first. A rank is good enough if a precision below the stated one
    would explain so few errors up to it with a probability of at most `ERROR` (one-sided binomial test). So a few
    labels promise nothing: see `least_labels`.

    Args:
        confidence_M: Of predictions for labelled images by a classifier that has not seen them.
        right_M: Whether the prediction was right.
        precision: Share of right ones among the accepted, 0 to 1.
        weight_M: How many images of the folder each labelled one stands for, up to a factor; all alike without it. The
            test then counts as many images as have the same variance.

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
    last_M = np.append(ranked_M[1:] < ranked_M[:-1], True)  # equal confidences are accepted together
    kept = np.flatnonzero((tail_M <= ERROR) & last_M)
    return float(ranked_M[kept[-1]]) if len(kept) else NEVER


def least_labels(precision: float) -> int:
    """Return how many labelled images, all of them predicted rightly, show a precision."""
    return math.ceil(math.log(ERROR) / math.log(precision))


def class_shares(probability_NC: NDArray[np.floating], known_C: NDArray[np.floating]) -> NDArray[np.float64]:
    """Estimate how frequent each class is in a folder, when the labels that were learnt from had other shares.

    Args:
        probability_NC: Calibrated, of the images of the folder.
        known_C: Shares among the labelled images.

    Source: Saerens et al. 2002, Neural Computation 14(1) (expectation maximisation of the prior).
    """
    share_C = np.asarray(known_C, np.float64)
    for _ in range(_STEPS):
        adjusted_NC = probability_NC * (share_C / known_C)
        before_C, share_C = share_C, (adjusted_NC / adjusted_NC.sum(axis=1, keepdims=True)).mean(axis=0)
        if np.abs(share_C - before_C).max() < _SETTLED:
            break
    return share_C
