"""Which images to label next: those that the classifier is unsure of, unlike each other.

Shapes: N images, D width, C classes, U unsure images.
"""

import warnings

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning

from dinocli.quality.normalized_features import NormalizedFeatures

PRESELECTED = 10
"""Unsure images that are looked at, for each one suggested."""

_STARTS, _LEAST_WEIGHT = 3, 1e-3


def margins(probability_NC: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return by how much the likeliest class leads the next one, 0 to 1."""
    two_N2 = np.partition(probability_NC, -2, axis=1)[:, -2:]
    return np.asarray(two_N2[:, 1] - two_N2[:, 0], np.float64)


def suggest(
    rows: NormalizedFeatures,
    probability_NC: NDArray[np.floating],
    open_N: NDArray[np.bool_],
    count: int,
    *,
    seed: int = 0,
) -> list[int]:
    """Choose images to label: the least sure ones are grouped, and each group gives its most typical image.

    Args:
        rows: Of the images.
        probability_NC: Calibrated.
        open_N: Images without a label; only they are suggested.
        count: Images wanted; fewer where fewer are open.
        seed: Of the groups.

    Returns:
        Rows, the least sure one first.

    Source: Zhdanov 2019, arXiv:1901.05954 (diverse mini-batch active learning).
    """
    margin_N = margins(probability_NC)
    rows_U = np.flatnonzero(open_N)
    rows_U = rows_U[np.argsort(margin_N[rows_U], kind="stable")[: PRESELECTED * count]]
    if len(rows_U) <= count:
        return rows_U.tolist()
    units_UD = rows.take(rows_U)
    unsure_U = 1 - margin_N[rows_U] + _LEAST_WEIGHT
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of copies there are fewer groups than asked for
        groups = KMeans(count, n_init=_STARTS, random_state=seed).fit(units_UD, sample_weight=unsure_U)
    typical = rows_U[groups.transform(units_UD).argmin(axis=0)].tolist()
    chosen = list(dict.fromkeys([*typical, *rows_U.tolist()]))[: max(count, len(set(typical)))]
    return sorted(chosen, key=lambda row: float(margin_N[row]))
