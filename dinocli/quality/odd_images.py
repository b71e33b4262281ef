"""Outlier scores of images: distance to neighbours in whitened features, joined with image statistics.

In hundreds of directions all neighbours are about equally far, and a network maps what it never learnt to the middle of
all features. So the distance is measured in the few directions in which the folder varies most, each scaled to the same
spread, and joined with the distance of the image's statistics from those of the folder.

Shapes: N images, D width, P directions, S sampled images, T statistics.
"""

import warnings

import numpy as np
from numpy.typing import NDArray
from sklearn.covariance import MinCovDet

from dinocli.quality.image_statistics import APPEARANCE, ImageStatistics, robust_scores
from dinocli.quality.normalized_features import NormalizedFeatures, fit_projection

DIRECTIONS, NEIGHBOURS, NEIGHBOUR_ROWS = 8, 10, 4096

_FIT_ROWS, _LIMIT, _JITTER = 2000, 6.0, 0.05


def feature_distance(rows: NormalizedFeatures, *, seed: int = 0) -> NDArray[np.float64]:
    """Return the mean squared distance of each image to its 10 nearest others in whitened main directions, (N,).

    Args:
        rows: Of the images, without a projection.
        seed: Of the sample of neighbours, where there are more than 4,096 images.

    Source: Ramaswamy et al. 2000, outliers by the distance to the nearest neighbours; whitened as for Mahalanobis'.
    """
    if len(rows) < 3:
        return np.ones(len(rows))
    projection = fit_projection(rows, DIRECTIONS, seed=seed)
    chosen_S = rows.sample(NEIGHBOUR_ROWS, seed)
    sampled_SP = projection(rows.take(chosen_S))
    spread_P = np.maximum(sampled_SP.std(axis=0), 1e-6)
    sampled_SP = sampled_SP / spread_P
    count = min(NEIGHBOURS, len(chosen_S) - 1)

    def far(part: slice, units_RD: NDArray[np.float32]) -> NDArray[np.float64]:
        white_RP = projection(units_RD) / spread_P
        squared_RS = (white_RP**2).sum(1)[:, None] - 2 * white_RP @ sampled_SP.T + (sampled_SP**2).sum(1)
        own_S = (chosen_S >= part.start) & (chosen_S < part.stop)
        squared_RS[chosen_S[own_S] - part.start, np.flatnonzero(own_S)] = np.inf
        squared_RS.partition(count - 1, axis=1)
        return np.asarray(squared_RS[:, :count].mean(axis=1), np.float64)

    return np.asarray(np.maximum(np.concatenate(list(rows.map(far))), 1e-12), np.float64)


def appearance_distance(statistics_N: list[ImageStatistics], *, seed: int = 0) -> NDArray[np.float64]:
    """Return the squared Mahalanobis distance of each image's statistics from those of most images, (N,).

    Args:
        statistics_N: Of the images.
        seed: Of the fit.

    Source: Rousseeuw and Van Driessen 1999, the minimum covariance determinant: odd images do not widen the middle.
    """
    table_NT = np.array([[getattr(one, name) for name in APPEARANCE] for one in statistics_N])
    score_NT = np.stack([robust_scores(column_N) for column_N in table_NT.T], axis=1).clip(-_LIMIT, _LIMIT)
    random = np.random.default_rng(seed)
    # A little noise, so that statistics that depend on each other in this folder (grey images) can be fitted.
    noisy_NT = score_NT + _JITTER * random.standard_normal(score_NT.shape)
    if len(noisy_NT) < 5 * len(APPEARANCE):
        return np.asarray((score_NT**2).sum(axis=1), np.float64)
    chosen = random.permutation(len(noisy_NT))[:_FIT_ROWS]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a determinant that rises by rounding
        fitted = MinCovDet(random_state=seed, support_fraction=0.75).fit(noisy_NT[chosen])
    return np.asarray(fitted.mahalanobis(noisy_NT), np.float64)


def joined_oddness(*distances: NDArray[np.floating]) -> NDArray[np.float32]:
    """Join distances of the same images to one score: the mean of their logarithms in standard deviations, 0 usual."""
    logs = [np.log(np.maximum(distance_N, 1e-12)) for distance_N in distances]
    scores = [(log_N - np.median(log_N)) / max(float(log_N.std()), 1e-9) for log_N in logs]
    return np.asarray(np.mean(scores, axis=0), np.float32)
