"""Active learning: suggest uncertain, diverse images to label next.

Shapes: N images, D width, C classes, U uncertain images.
"""

import warnings

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning

from dinocli.quality.normalized_features import NormalizedFeatures

PRESELECTED = 10
"""Number of uncertain images to cluster per suggestion."""

_STARTS, _MIN_WEIGHT = 3, 1e-3


def margins(probability_NC: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the margin between the two most probable classes, (N,), 0 to 1."""
    two_N2 = np.partition(probability_NC, -2, axis=1)[:, -2:]
    return np.asarray(two_N2[:, 1] - two_N2[:, 0], np.float64)


def suggest(
    rows: NormalizedFeatures,
    probability_NC: NDArray[np.floating],
    unlabelled_N: NDArray[np.bool_],
    count: int,
    *,
    seed: int = 0,
) -> list[int]:
    """Cluster the images with the smallest margins by weighted k-means, and suggest the most central image of each.

    Args:
        rows: Features of the images.
        probability_NC: Calibrated probabilities.
        unlabelled_N: Whether an image is unlabelled; only these are suggested.
        count: Number of suggestions; fewer if fewer are unlabelled.
        seed: Seed of k-means.

    Returns:
        Rows, smallest margin first.

    Source: Zhdanov 2019, arXiv:1901.05954 (diverse mini-batch active learning).
    """
    margin_N = margins(probability_NC)
    rows_U = np.flatnonzero(unlabelled_N)
    rows_U = rows_U[np.argsort(margin_N[rows_U], kind="stable")[: PRESELECTED * count]]
    if len(rows_U) <= count:
        return rows_U.tolist()
    units_UD = rows.take(rows_U)
    weight_U = 1 - margin_N[rows_U] + _MIN_WEIGHT
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # copies give fewer clusters than requested
        groups = KMeans(count, n_init=_STARTS, random_state=seed).fit(units_UD, sample_weight=weight_U)
    typical = rows_U[groups.transform(units_UD).argmin(axis=0)].tolist()
    chosen = list(dict.fromkeys([*typical, *rows_U.tolist()]))[:count]
    return sorted(chosen, key=lambda row: float(margin_N[row]))
